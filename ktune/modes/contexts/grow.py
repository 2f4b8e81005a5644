"""Grows the decision tree of an adaptive policy from fingerprints with known contexts. Pure.

Classification and regression trees (Breiman, Friedman, Olshen and Stone, 1984): Gini impurity,
thresholds half-way between neighbouring values, whole numbers. Small by construction (three
questions deep, four leaves), and a question must pay for itself.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ktune.policy.tree import MAX_DEPTH, MAX_LEAVES, Question, Tree, choose, leaves

MIN_GAIN = 0.02
"""A question must lower the impurity of all samples by so much: none for a stray sample."""
_FOLDS = 5


@dataclass(frozen=True)
class Sample:
    """One fingerprint and the context in which it was taken."""

    context: str
    features: Mapping[str, int]


@dataclass(frozen=True)
class Grown:
    """The tree, and by context the share of held-out samples that it took for another."""

    tree: Tree
    errors: Mapping[str, float]

    @property
    def worst_error(self) -> float:
        return max(self.errors.values(), default=0.0)


@dataclass(frozen=True)
class _Split:
    feature: str
    threshold: int
    gain: float
    """Decrease of the impurity, as a share of all samples."""
    gap: float
    """Relative gap around the threshold: the wider, the safer."""


def grow(samples: Sequence[Sample], *, seed: int) -> Grown:
    """The tree of all samples; its errors are cross-validated in folds that keep the contexts'
    shares.

    Raises:
        ValueError: no samples, or more contexts than leaves are allowed.
    """
    contexts = sorted({sample.context for sample in samples})
    if not contexts or len(contexts) > MAX_LEAVES:
        raise ValueError(f"from 1 to {MAX_LEAVES} contexts, got {len(contexts)}")
    wrong: Counter[str] = Counter()
    for held_out in _folds(samples, seed):
        tree = _tree([samples[i] for i in range(len(samples)) if i not in held_out])
        held = (samples[i] for i in held_out)
        wrong.update(s.context for s in held if choose(tree, s.features) != s.context)
    total = Counter(sample.context for sample in samples)
    return Grown(_tree(samples), {name: wrong[name] / total[name] for name in contexts})


def _tree(samples: Sequence[Sample]) -> Tree:
    """Best first: the question that helps most is asked first, wherever in the tree it stands."""
    budget = MAX_LEAVES
    tree, _ = _node(samples, len(samples), MAX_DEPTH, budget)
    return _merged(tree)


def _node(samples: Sequence[Sample], total: int, depth: int, budget: int) -> tuple[Tree, int]:
    """(subtree, leaves it uses)."""
    split = _best_split(samples, total) if depth and budget > 1 else None
    if split is None:
        return _majority(samples), 1
    yes = [s for s in samples if s.features[split.feature] >= split.threshold]
    no = [s for s in samples if s.features[split.feature] < split.threshold]
    then, used = _node(yes, total, depth - 1, budget - 1)
    otherwise, more = _node(no, total, depth - 1, budget - used)
    return Question(split.feature, split.threshold, then, otherwise), used + more


def _best_split(samples: Sequence[Sample], total: int) -> _Split | None:
    impurity = _gini(samples)
    if impurity == 0:
        return None
    best: _Split | None = None
    for feature in sorted(samples[0].features):
        for low, high in _neighbours(samples, feature):
            threshold = low + math.ceil((high - low) / 2)
            yes = [s for s in samples if s.features[feature] >= threshold]
            no = [s for s in samples if s.features[feature] < threshold]
            left = (len(yes) * _gini(yes) + len(no) * _gini(no)) / len(samples)
            gain = (impurity - left) * len(samples) / total
            split = _Split(feature, threshold, gain, (high - low) / (high + 1))
            if gain >= MIN_GAIN and (best is None or _better(split, best)):
                best = split
    return best


def _better(one: _Split, other: _Split) -> bool:
    if abs(one.gain - other.gain) > 1e-9:
        return one.gain > other.gain
    return one.gap > other.gap


def _neighbours(samples: Sequence[Sample], feature: str) -> list[tuple[int, int]]:
    values = sorted({sample.features[feature] for sample in samples})
    return list(pairwise(values))


def _gini(samples: Sequence[Sample]) -> float:
    if not samples:
        return 0.0
    counts = Counter(sample.context for sample in samples)
    return 1.0 - sum((count / len(samples)) ** 2 for count in counts.values())


def _majority(samples: Sequence[Sample]) -> str:
    counts = Counter(sample.context for sample in samples)
    return min(counts, key=lambda name: (-counts[name], name))


def _merged(tree: Tree) -> Tree:
    """A question whose answers lead to the same leaf is none."""
    if isinstance(tree, str):
        return tree
    then, otherwise = _merged(tree.then), _merged(tree.otherwise)
    same = leaves(then) == leaves(otherwise) and len(leaves(then)) == 1
    return then if same else Question(tree.feature, tree.threshold, then, otherwise)


def _folds(samples: Sequence[Sample], seed: int) -> list[frozenset[int]]:
    """Places of the samples of each fold."""
    chooser = random.Random(seed)
    folds: list[set[int]] = [set() for _ in range(_FOLDS)]
    for context in sorted({sample.context for sample in samples}):
        own = [place for place, sample in enumerate(samples) if sample.context == context]
        chooser.shuffle(own)
        for index, place in enumerate(own):
            folds[index % _FOLDS].add(place)
    return [frozenset(fold) for fold in folds if 0 < len(fold) < len(samples)]

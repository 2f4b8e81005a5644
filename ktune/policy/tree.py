"""The decision tree of an adaptive policy: small, readable, whole numbers only. Pure.

    when: read_kib_per_request >= 64
    then: scan
    else: {when: packets >= 5000, then: serving, else: random}

Each question compares one feature with one whole number. Near the threshold the answer stays what
it was (hysteresis), so that noise does not switch to and fro.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ktune.profile.features import FEATURES

MAX_DEPTH = 3
MAX_LEAVES = 4
_QUESTION = re.compile(r"([a-z_]+) >= ([0-9]{1,12})\Z")


class TreeError(ValueError):
    """The text is no tree of ours; `path` leads to the place."""

    def __init__(self, message: str, path: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.path = path


@dataclass(frozen=True)
class Question:
    """`feature >= threshold`: yes leads to `then`."""

    feature: str
    threshold: int
    then: Question | str
    otherwise: Question | str

    def to_plain(self) -> dict[str, object]:
        """As it stands in the policy."""
        return {
            "when": f"{self.feature} >= {self.threshold}",
            "then": self.then if isinstance(self.then, str) else self.then.to_plain(),
            "else": self.otherwise
            if isinstance(self.otherwise, str)
            else self.otherwise.to_plain(),
        }


Tree = Question | str
"""A tree, or the name of the only leaf."""


def parse_tree(raw: object, path: tuple[str, ...] = ()) -> Tree:
    """The tree of a policy.

    Raises:
        TreeError: not of this form, an unknown feature, deeper or wider than allowed.
    """
    tree = _parse(raw, path)
    if depth(tree) > MAX_DEPTH:
        raise TreeError(f"deeper than {MAX_DEPTH} questions", path)
    if len(leaves(tree)) > MAX_LEAVES:
        raise TreeError(f"more than {MAX_LEAVES} leaves", path)
    return tree


def depth(tree: Tree) -> int:
    """How many questions at most lead to a leaf."""
    return 0 if isinstance(tree, str) else 1 + max(depth(tree.then), depth(tree.otherwise))


def leaves(tree: Tree) -> tuple[str, ...]:
    """The names of the leaves, each once, in the order of the tree."""
    return tuple(dict.fromkeys(_leaves(tree)))


def features(tree: Tree) -> tuple[str, ...]:
    """The features that the tree asks for, each once."""
    return tuple(dict.fromkeys(_features(tree)))


def choose(
    tree: Tree, found: Mapping[str, int], *, now: str | None = None, hysteresis: float = 0.0
) -> str:
    """The leaf for the features `found`.

    `now`: the leaf in force; a question on the way to it keeps its answer until the feature is off
    the threshold by the share `hysteresis`.
    """
    while not isinstance(tree, str):
        value, threshold = found[tree.feature], float(tree.threshold)
        if now is not None:
            in_then, in_else = now in _leaves(tree.then), now in _leaves(tree.otherwise)
            if in_then and not in_else:
                threshold *= 1 - hysteresis
            elif in_else and not in_then:
                threshold *= 1 + hysteresis
        tree = tree.then if value >= threshold else tree.otherwise
    return tree


@dataclass(frozen=True)
class Switching:
    """How quickly a policy may change its mind."""

    dwell_s: float = 30.0
    """At least so long in one leaf."""
    looks: int = 3
    """The tree must have said so at so many looks in a row."""
    hysteresis: float = 0.1


@dataclass(frozen=True)
class Chosen:
    """The leaf in force, since when (monotonic seconds), and what speaks for another."""

    leaf: str
    since_s: float
    wanted: str | None = None
    times: int = 0


def follow(
    chosen: Chosen, tree: Tree, found: Mapping[str, int], now_s: float, switching: Switching
) -> Chosen:
    """The state after one more look; a new leaf only after the dwell and enough looks."""
    wanted = choose(tree, found, now=chosen.leaf, hysteresis=switching.hysteresis)
    if wanted == chosen.leaf:
        return Chosen(chosen.leaf, chosen.since_s)
    times = chosen.times + 1 if wanted == chosen.wanted else 1
    if times >= switching.looks and now_s - chosen.since_s >= switching.dwell_s:
        return Chosen(wanted, now_s)
    return Chosen(chosen.leaf, chosen.since_s, wanted, times)


def _parse(raw: object, path: tuple[str, ...]) -> Tree:
    if isinstance(raw, str):
        return raw
    if not isinstance(raw, Mapping) or set(raw) != {"when", "then", "else"}:
        raise TreeError("expected the name of a leaf, or a mapping of when, then and else", path)
    if len(path) > 2 * MAX_DEPTH:
        raise TreeError(f"deeper than {MAX_DEPTH} questions", path)
    match = _QUESTION.match(str(raw["when"]))
    if match is None:
        raise TreeError("expected `FEATURE >= NUMBER` with a whole number", (*path, "when"))
    if match[1] not in FEATURES:
        raise TreeError(
            f"unknown feature {match[1]}; known: {', '.join(FEATURES)}", (*path, "when")
        )
    return Question(
        match[1],
        int(match[2]),
        _parse(raw["then"], (*path, "then")),
        _parse(raw["else"], (*path, "else")),
    )


def _leaves(tree: Tree) -> Iterator[str]:
    if isinstance(tree, str):
        yield tree
    else:
        yield from _leaves(tree.then)
        yield from _leaves(tree.otherwise)


def _features(tree: Tree) -> Iterator[str]:
    if not isinstance(tree, str):
        yield tree.feature
        yield from _features(tree.then)
        yield from _features(tree.otherwise)

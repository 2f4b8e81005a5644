"""The learner: finds what separates, refuses to find anything in noise."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ktune.modes.contexts.grow import Sample, grow
from ktune.policy.tree import choose, depth, leaves
from ktune.profile.features import FEATURES


def noisy(chooser: random.Random, **known: int) -> dict[str, int]:
    return {name: chooser.randrange(100) for name in FEATURES} | known


@settings(max_examples=15, deadline=None)
@given(
    st.integers(0, 10**6),
    st.sampled_from(sorted(FEATURES)),
    st.lists(st.integers(0, 50), min_size=2, max_size=4, unique=True),
)
def test_contexts_that_one_feature_tells_apart_are_all_found(
    seed: int, feature: str, places: list[int]
) -> None:
    chooser = random.Random(seed)
    samples = [
        Sample(f"c{number}", noisy(chooser, **{feature: 1000 * place + chooser.randrange(100)}))
        for number, place in enumerate(places)
        for _ in range(12)
    ]
    grown = grow(samples, seed=seed)
    assert grown.worst_error <= 0.25
    assert set(leaves(grown.tree)) == {f"c{number}" for number in range(len(places))}
    assert depth(grown.tree) <= 3
    assert all(choose(grown.tree, sample.features) == sample.context for sample in samples)


@pytest.mark.parametrize("seed", range(5))
def test_noise_has_an_error_far_above_any_limit(seed: int) -> None:
    chooser = random.Random(seed)
    samples = [Sample(f"c{n % 2}", noisy(chooser)) for n in range(60)]
    assert grow(samples, seed=seed).worst_error > 0.2


def test_the_same_samples_give_the_same_tree() -> None:
    chooser = random.Random(3)
    samples = [Sample(f"c{n % 2}", noisy(chooser, packets=500 * (n % 2))) for n in range(30)]
    assert grow(samples, seed=1) == grow(samples, seed=1)


def test_of_two_questions_as_good_the_one_with_the_wider_gap_is_asked() -> None:
    samples = [
        Sample(name, {"packets": packets, "forks": forks})
        for name, packets, forks in (("a", 10, 10), ("b", 11, 5000))
        for _ in range(10)
    ]
    tree = grow(samples, seed=1).tree
    assert not isinstance(tree, str)
    assert (tree.feature, tree.threshold) == ("forks", 2505)


def test_too_many_contexts_are_refused() -> None:
    with pytest.raises(ValueError, match="from 1 to 4"):
        grow([Sample(f"c{n}", {"packets": n}) for n in range(5)], seed=1)
    with pytest.raises(ValueError, match="from 1 to 4"):
        grow([], seed=1)

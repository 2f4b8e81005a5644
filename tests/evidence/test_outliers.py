"""Outliers are named; what is named does not depend on units."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktune.evidence.coin import Order
from ktune.evidence.outliers import far_pairs, outliers
from ktune.evidence.pairs import PairResult, PairState
from tests.evidence.simulated import measured

values = st.lists(st.integers(-1000, 1000), max_size=40)


def test_a_pair_far_out_is_named_by_its_draw() -> None:
    pairs = measured([0.01, 0.02, -0.01, 0.0, 1.5, 0.015, 0.005])
    lost = PairResult(99, Order.BASELINE_FIRST, PairState.LOST)
    assert far_pairs([lost, *pairs]) == (4,)


def test_equal_values_and_a_few_others() -> None:
    assert outliers([1.0] * 20) == ()
    assert outliers([1.0] * 19 + [1.5]) == (19,)
    assert outliers([0.0, 0.0, 0.0, 9.0]) == (), "of four values nobody can say"


@given(values, st.sampled_from([0.25, 2.0, 8.0]), st.integers(-5, 5))
def test_neither_unit_nor_zero_point_matters(found: list[int], scale: float, shift: int) -> None:
    assert outliers([scale * x + shift for x in found]) == outliers([float(x) for x in found])


@given(values)
def test_most_values_are_never_far_out(found: list[int]) -> None:
    assert 2 * len(outliers([float(x) for x in found])) < max(1, len(found))


@pytest.mark.parametrize(("count", "share"), [(10, 0.014), (30, 0.004)])
def test_few_gaussian_values_are_called_so(count: int, share: float) -> None:
    rng = random.Random(7)
    runs = 600
    found = sum(len(outliers([rng.gauss(0, 1) for _ in range(count)])) for _ in range(runs))
    assert share / 2 < found / (runs * count) < share * 2

"""From looks to numbers: properties."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktune.measure.attach.observe import (
    Counted,
    Level,
    Logged,
    histogram_quantile,
    rate,
    reduced,
)
from ktune.measure.attach.specs import MissingData, Reduction

COUNTS = st.lists(st.integers(0, 1000), min_size=2, max_size=6)


@given(COUNTS, st.floats(0.01, 100))
def test_a_rate_is_the_whole_increase_over_the_whole_time(steps: list[int], gap_s: float) -> None:
    total, looks = 0, []
    for number, step in enumerate(steps):
        total += step
        looks.append(Counted(number * gap_s, {"": float(total)}))

    assert rate(looks) == pytest.approx(sum(steps[1:]) / ((len(steps) - 1) * gap_s))


@given(COUNTS, st.data())
def test_a_counter_that_goes_backwards_is_never_a_number(steps: list[int], data) -> None:
    at = data.draw(st.integers(1, len(steps) - 1))
    looks = [Counted(float(n), {"": 1e6 + n - 1e4 * (n >= at)}) for n in range(len(steps))]

    with pytest.raises(MissingData, match="backwards"):
        rate(looks)


def test_a_process_that_ends_counts_to_its_last_look_and_a_new_one_from_zero() -> None:
    looks = [
        Counted(0.0, {"old": 100.0}, may_end=True),
        Counted(1.0, {"old": 110.0, "new": 3.0}, may_end=True),
        Counted(2.0, {"new": 5.0}, may_end=True),
    ]

    assert rate(looks) == 7.5


def test_a_series_that_disappears_is_missing_data() -> None:
    with pytest.raises(MissingData, match="disappeared"):
        rate([Counted(0.0, {"a": 1.0, "b": 1.0}), Counted(1.0, {"a": 2.0})])


BUCKETS = st.lists(st.integers(0, 50), min_size=2, max_size=8)


@given(BUCKETS, BUCKETS, st.floats(0.01, 0.99))
def test_a_quantile_lies_in_the_bucket_that_holds_it(
    before: list[int], added: list[int], quantile: float
) -> None:
    size = min(len(before), len(added))
    bounds = [float(n + 1) for n in range(size - 1)] + [math.inf]

    def cumulative(counts: list[int]) -> dict[float, float]:
        return {bound: float(sum(counts[: n + 1])) for n, bound in enumerate(bounds)}

    added = added[:size]
    added[-1] = 0  # nothing beyond the last bound
    first = cumulative(before[:size])
    last = {bound: first[bound] + count for bound, count in cumulative(added).items()}
    if not sum(added):
        with pytest.raises(MissingData):
            histogram_quantile(quantile, first, last)
        return

    found = histogram_quantile(quantile, first, last)

    rank = quantile * sum(added)
    holds = next(n for n in range(size) if sum(added[: n + 1]) >= rank)
    assert (bounds[holds - 1] if holds else 0.0) <= found <= bounds[holds]


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=300))
def test_p99_of_a_log_is_a_number_that_was_there(values: list[float]) -> None:
    looks = [Logged(0.0, 0), Logged(1.0, len(values), tuple(values))]

    found = reduced(looks, Reduction.P99)

    assert found in values
    assert sum(value <= found for value in values) >= 0.99 * len(values)


@given(st.lists(st.floats(-1e9, 1e9), min_size=2, max_size=9))
def test_a_gauge_is_within_its_samples(values: list[float]) -> None:
    found = reduced([Level(float(n), value) for n, value in enumerate(values)], None)

    assert min(values) - 1e-3 <= found <= max(values) + 1e-3


def test_one_look_is_no_window() -> None:
    with pytest.raises(MissingData):
        reduced([Level(0.0, 1.0)], None)

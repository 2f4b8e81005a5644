"""Histograms of durations: buckets, percentiles, what a slice of time stands for."""

from __future__ import annotations

import math
import re
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktune.kernel.bpf import histogram
from ktune.kernel.bpf.histogram import SLOTS, Histogram, Tally, bounds_ns, bucket_of, empty

DURATIONS = st.integers(0, (1 << 42) - 1)
HEADER = Path(histogram.__file__).with_name("programs") / "sensor.bpf.h"


def filled(durations: list[int]) -> Histogram:
    slots = [0.0] * SLOTS
    for duration in durations:
        slots[bucket_of(duration)] += 1
    return Histogram(tuple(slots), float(sum(durations)))


def true_quantile(durations: list[int], quantile: float) -> int:
    """The smallest duration that at least this share does not exceed."""
    return sorted(durations)[max(math.ceil(quantile * len(durations)) - 1, 0)]


def test_the_kernel_s_side_has_the_same_shape() -> None:
    defined = dict(
        re.findall(r"#define (SUB_BITS|SLOTS) (\d+)", HEADER.read_text().replace("\t", " "))
    )
    assert defined == {"SUB_BITS": str(histogram.SUB_BITS), "SLOTS": str(SLOTS)}


@given(DURATIONS)
def test_a_duration_lies_within_its_bucket(duration: int) -> None:
    low, high = bounds_ns(bucket_of(duration))
    assert low <= duration < high
    assert duration < 8 or (high - low) * 8 <= low


def test_buckets_leave_no_gap_and_do_not_overlap() -> None:
    bounds = [bounds_ns(bucket) for bucket in range(SLOTS)]
    assert bounds[0][0] == 0
    assert all(one[1] == two[0] for one, two in pairwise(bounds))


def test_what_is_longer_than_everything_is_in_the_last_bucket() -> None:
    assert bucket_of(1 << 60) == SLOTS - 1
    assert filled([1 << 60]).quantile_ns(0.5) == bounds_ns(SLOTS - 1)[0]


@given(st.lists(DURATIONS, min_size=1, max_size=200), st.floats(0, 1))
def test_a_percentile_is_in_the_bucket_of_the_true_one(durations: list[int], share: float) -> None:
    low, high = bounds_ns(bucket_of(true_quantile(durations, share)))
    # a share that ends exactly between two durations may fall on either side by rounding
    near = {true_quantile(durations, min(max(share + step, 0), 1)) for step in (-1e-9, 1e-9)}
    found = filled(durations).quantile_ns(share)
    assert low <= found <= high or any(
        bounds_ns(bucket_of(one))[0] <= found <= bounds_ns(bucket_of(one))[1] for one in near
    )


@given(st.lists(DURATIONS, min_size=1, max_size=100), st.floats(0, 1), st.floats(0, 1))
def test_percentiles_are_ordered(durations: list[int], one: float, two: float) -> None:
    seen = filled(durations)
    assert seen.quantile_ns(min(one, two)) <= seen.quantile_ns(max(one, two))


@given(st.lists(DURATIONS, min_size=1, max_size=100))
def test_the_mean_is_exact(durations: list[int]) -> None:
    assert filled(durations).mean_ns == pytest.approx(sum(durations) / len(durations))


@given(st.lists(DURATIONS, max_size=50), st.lists(DURATIONS, max_size=50))
def test_a_window_is_the_difference_of_two_readings(before: list[int], within: list[int]) -> None:
    start = Tally(len(before), filled(before))
    end = start.plus(Tally(len(within), filled(within)))
    assert end.minus(start) == Tally(len(within), filled(within))


@given(st.lists(DURATIONS, min_size=1, max_size=50), st.integers(1, 64))
def test_a_weight_changes_counts_and_no_percentile(durations: list[int], weight: int) -> None:
    whole = Tally(len(durations), filled(durations))
    weighted = empty(timed=True).plus(whole, weight)
    assert weighted.events == weight * len(durations)
    assert weighted.histogram is not None
    assert weighted.histogram.mean_ns == pytest.approx(filled(durations).mean_ns)
    assert weighted.histogram.quantile_ns(0.99) == pytest.approx(
        filled(durations).quantile_ns(0.99)
    )


def test_nothing_observed_is_no_number() -> None:
    with pytest.raises(ValueError, match="nothing was observed"):
        filled([]).quantile_ns(0.5)

"""Histograms of durations with eight buckets an octave, as the sensors fill them. Pure functions.

Buckets: 0 to 7 ns have one each; from 8 ns on each power of two is cut into eight of equal width
(the layout of HdrHistogram and of fio's latency logs). The last bucket has no upper end. No bucket
is wider than an eighth of its lower bound, and a percentile is known to within that: the true one
and the one given here, interpolated linearly within the bucket, lie inside the same bounds, so they
differ by less than 12.5 %. Plain powers of two would know it to a factor of two only and cost the
same: what is dear is that a program is called at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

SUB_BITS = 3
SLOTS = 320
"""Both as in programs/sensor.bpf.h."""


class SensorStatistic(StrEnum):
    """What becomes of the events of a window."""

    P50 = "p50"
    P90 = "p90"
    P99 = "p99"
    P999 = "p999"
    MEAN = "mean"
    TOTAL = "total"
    """All durations added up; 0 where nothing happened."""
    COUNT = "count"
    RATE = "rate"
    """Events per second."""

    @property
    def is_time(self) -> bool:
        """Whether it is a duration."""
        return self not in (SensorStatistic.COUNT, SensorStatistic.RATE)


def bucket_of(duration_ns: int) -> int:
    """Number of the bucket that holds a duration.

    >>> [bucket_of(value) for value in (0, 7, 8, 15, 16, 17, 18)]
    [0, 7, 8, 15, 16, 16, 17]
    """
    if duration_ns < 1 << SUB_BITS:
        return duration_ns
    shift = duration_ns.bit_length() - 1 - SUB_BITS
    return min((shift << SUB_BITS) + (duration_ns >> shift), SLOTS - 1)


def bounds_ns(bucket: int) -> tuple[int, int]:
    """Lowest duration of a bucket and the lowest of the next one.

    >>> bounds_ns(16), bounds_ns(17)
    ((16, 18), (18, 20))
    """
    if bucket < 1 << SUB_BITS:
        return bucket, bucket + 1
    shift = (bucket >> SUB_BITS) - 1
    low = (bucket - (shift << SUB_BITS)) << shift
    return low, low + (1 << shift)


@dataclass(frozen=True)
class Histogram:
    """How many durations fell into each bucket (`SLOTS` of them), and what they add up to.

    Counts may be fractions: those of a slice of time stand for the time around it.
    """

    slots: tuple[float, ...]
    sum_ns: float

    @property
    def count(self) -> float:
        """How many durations."""
        return sum(self.slots)

    @property
    def mean_ns(self) -> float:
        """Exact: from the sum, not from the buckets. Raises ValueError for an empty one."""
        return self.sum_ns / _some(self.count)

    def quantile_ns(self, quantile: float) -> float:
        """The duration that a share `quantile` (0 to 1) of the durations does not exceed.

        Linear within its bucket; in the last one, which has no end, its lower bound.
        Raises ValueError for an empty histogram.
        """
        left = quantile * _some(self.count)
        last = 0
        for bucket, count in enumerate(self.slots):
            if not count:
                continue
            low, high = bounds_ns(bucket)
            if left <= count:
                share = max(left, 0.0) / count
                return low if bucket == SLOTS - 1 else low + (high - low) * share
            left -= count
            last = bucket
        return bounds_ns(last)[1]  # only rounding is left


@dataclass(frozen=True)
class Tally:
    """What a sensor has seen: events and, where they last, how long."""

    events: float
    histogram: Histogram | None = None

    def plus(self, other: Tally, weight: float = 1.0) -> Tally:
        """Both together, the other one so many times."""
        return self._with(other, weight)

    def minus(self, earlier: Tally) -> Tally:
        """What came since."""
        return self._with(earlier, -1.0)

    def _with(self, other: Tally, weight: float) -> Tally:
        one, two = self.histogram, other.histogram
        merged = None
        if one is not None and two is not None:
            merged = Histogram(
                tuple(a + weight * b for a, b in zip(one.slots, two.slots, strict=True)),
                one.sum_ns + weight * two.sum_ns,
            )
        return Tally(self.events + weight * other.events, merged)


def empty(*, timed: bool) -> Tally:
    """Nothing seen so far."""
    return Tally(0.0, Histogram((0.0,) * SLOTS, 0.0) if timed else None)


def of_numbers(numbers: Sequence[int], *, timed: bool) -> Tally:
    """From what a program wrote: the sum and the slots, or a single counter."""
    if not timed:
        return Tally(float(numbers[0]))
    slots = tuple(map(float, numbers[1:]))
    return Tally(sum(slots), Histogram(slots, float(numbers[0])))


def _some(count: float) -> float:
    if count <= 0:
        raise ValueError("nothing was observed")
    return count

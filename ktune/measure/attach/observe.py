"""What one look at a source gives, and how the looks of a window become a number. Pure functions.

Missing data is never turned into a number: MissingData voids the window. A number that the service
did give but that can't be scored (beyond the last bucket) is a MetricError, the candidate's.

Sources: Prometheus' histogram_quantile (promql/quantile.go: linear within a bucket, on the
difference of the cumulative buckets), its treatment of counters that go backwards as restarts.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from ktune.kernel.bpf.histogram import Tally
from ktune.measure.attach.specs import MissingData, Reduction
from ktune.measure.metrics import MetricError
from ktune.measure.sensing import NothingSensed, SensorNumber, number_of


@dataclass(frozen=True)
class Counted:
    """Cumulative counts by series at a moment (CLOCK_MONOTONIC).

    `may_end`: a series may disappear (a process ended: it counts up to its last look); elsewhere
    that is a source that lost its data. One that appears counts from zero. `stamps`: the times that
    the source itself gives, by series.
    """

    at_s: float
    totals: Mapping[str, float]
    may_end: bool = False
    stamps: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Level:
    """A value as it stood at a moment."""

    at_s: float
    value: float
    stamp: float | None = None


@dataclass(frozen=True)
class Bucketed:
    """Cumulative histogram: count by upper bound (inf among them)."""

    at_s: float
    counts: Mapping[float, float]


@dataclass(frozen=True)
class Logged:
    """What came since the look before: how many lines matched, and their captured numbers."""

    at_s: float
    lines: int
    values: tuple[float, ...] = ()


@dataclass(frozen=True)
class Sensed:
    """What a sensor has seen up to a moment."""

    at_s: float
    seen: Tally


Observation = Counted | Level | Bucketed | Logged | Sensed


def reduced(
    observations: Sequence[Observation], how: Reduction | None, quantile: float | None = None
) -> float:
    """The number of a window from its looks, oldest first (at least two).

    Raises MissingData, MetricError.
    """
    if len(observations) < 2:
        raise MissingData("there is only one sample")
    kinds = {type(item) for item in observations}
    if len(kinds) != 1:
        raise MissingData("the source changed its kind within the window")
    first, last = observations[0], observations[-1]
    if isinstance(first, Counted) and isinstance(last, Counted):
        counted = [item for item in observations if isinstance(item, Counted)]
        per_second = rate(counted)
        return per_second * (last.at_s - first.at_s) if how is Reduction.TOTAL else per_second
    if isinstance(first, Bucketed) and isinstance(last, Bucketed):
        if quantile is None:
            raise MissingData("a histogram needs a quantile")
        return histogram_quantile(quantile, first.counts, last.counts)
    if isinstance(first, Level):
        return mean_level([item for item in observations if isinstance(item, Level)])
    return of_lines(
        [item for item in observations if isinstance(item, Logged)], how or Reduction.RATE
    )


def sensed(number: SensorNumber, observations: Sequence[Observation]) -> float:
    """The number of a sensor from the first look to the last. Raises MissingData."""
    looks = [item for item in observations if isinstance(item, Sensed)]
    if len(looks) < 2:
        raise MissingData("there is only one sample")
    first, last = looks[0], looks[-1]
    try:
        return number_of(number, last.seen.minus(first.seen), last.at_s - first.at_s)
    except NothingSensed as nothing:
        raise MissingData(str(nothing)) from None


def rate(looks: Sequence[Counted]) -> float:
    """Increase per second over all series. Raises MissingData.

    >>> rate([Counted(0.0, {"a": 10}), Counted(2.0, {"a": 16})])
    3.0
    """
    elapsed_s = looks[-1].at_s - looks[0].at_s
    if elapsed_s <= 0:
        raise MissingData("the clock did not move")
    first, last = looks[0].stamps, looks[-1].stamps
    if last and all(first.get(series) == stamp for series, stamp in last.items()):
        raise MissingData("its own timestamp did not move: the source is frozen")
    total = 0.0
    for before, after in pairwise(looks):
        total += _increase(before, after)
    return total / elapsed_s


def _increase(before: Counted, after: Counted) -> float:
    gone = before.totals.keys() - after.totals.keys()
    if gone and not after.may_end:
        raise MissingData(f"{len(gone)} series disappeared")
    total = 0.0
    for series, now in after.totals.items():
        then = before.totals.get(series, 0.0)
        if not (math.isfinite(now) and math.isfinite(then)):
            raise MissingData(f"a counter is {now}")
        if now < then:
            raise MissingData(f"a counter went backwards ({then:g} to {now:g}): restarted?")
        total += now - then
    return total


def mean_level(looks: Sequence[Level]) -> float:
    """Mean of the samples. Raises MissingData."""
    stamps = [look.stamp for look in looks]
    if stamps[0] is not None and stamps[0] == stamps[-1]:
        raise MissingData("its own timestamp did not move: the source is frozen")
    values = [look.value for look in looks]
    bad = next((value for value in values if not math.isfinite(value)), None)
    if bad is not None:
        raise MissingData(f"the value is {bad}")
    return statistics.fmean(values)


def histogram_quantile(
    quantile: float, before: Mapping[float, float], after: Mapping[float, float]
) -> float:
    """A quantile of what was added between two looks at cumulative buckets.

    Raises MissingData (nothing was added, the buckets changed), MetricError (beyond the last
    finite bound: all that is known is that it is larger).

    >>> histogram_quantile(0.5, {1.0: 0, 2.0: 0, math.inf: 0}, {1.0: 10, 2.0: 20, math.inf: 20})
    1.0
    """
    if before.keys() != after.keys():
        raise MissingData("the buckets of the histogram changed")
    bounds = sorted(after)
    if not bounds or bounds[-1] != math.inf:
        raise MissingData("the histogram has no bucket without end (le=+Inf)")
    added = [after[bound] - before[bound] for bound in bounds]
    if any(not math.isfinite(count) or count < 0 for count in added):
        raise MissingData("a bucket went backwards: restarted?")
    if any(low > high for low, high in pairwise(added)):
        raise MissingData("the buckets are not cumulative")
    if added[-1] == 0:
        raise MissingData("nothing was observed in the window")
    rank = quantile * added[-1]
    index = next(number for number, count in enumerate(added) if count >= rank)
    if bounds[index] == math.inf:
        largest = f"{bounds[-2]:g}" if len(bounds) > 1 else "any bound"
        raise MetricError(f"the quantile {quantile:g} lies beyond the largest bucket ({largest})")
    lower = bounds[index - 1] if index else min(0.0, bounds[0])
    below = added[index - 1] if index else 0.0
    return lower + (bounds[index] - lower) * (rank - below) / (added[index] - below)


def of_lines(looks: Sequence[Logged], how: Reduction) -> float:
    """Matching lines per second, or a statistic of their numbers. The first look only opens the
    window. Raises MissingData."""
    values = [value for look in looks[1:] for value in look.values]
    if how is Reduction.RATE:
        elapsed_s = looks[-1].at_s - looks[0].at_s
        if elapsed_s <= 0:
            raise MissingData("the clock did not move")
        return sum(look.lines for look in looks[1:]) / elapsed_s
    if not values:
        raise MissingData("no line of the log matched")
    match how:
        case Reduction.MEDIAN:
            return statistics.median(values)
        case Reduction.P99:
            # nearest rank: a number that was really there
            return sorted(values)[math.ceil(0.99 * len(values)) - 1]
        case _:
            return statistics.fmean(values)

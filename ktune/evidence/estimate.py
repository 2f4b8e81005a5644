"""The reported gain: from the pairs after the decision, and from nothing else.

An effect estimated at the moment of stopping is biased upward (true 3 % at a pair sd of 7.1 %
reads 5.0 %, and naive 95 % intervals cover 85-94 %); ten or more further pairs read 3.0 %
(simulated: docs/statistics.md). Their number is fixed beforehand, so the textbook interval is
right: Student's t on the log ratios. Beside it stands an interval for the median by order
statistics, which assumes no distribution at all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from ktune.evidence.binomial import at_least, median_rank
from ktune.evidence.pairs import Direction, PairResult, PairState, change_of
from ktune.evidence.student import t_quantile

MINIMUM_PAIRS = 10
"""Fewest pairs after the decision that a gain may be reported from."""


class Method(StrEnum):
    """How an interval was made."""

    STUDENT_T = "student-t"
    ORDER_STATISTICS = "order-statistics"


@dataclass(frozen=True)
class Interval:
    """A gain as a fraction better (0.061 = 6.1 %), with its two-sided interval.

    `level` is the exact coverage for order statistics (they come in steps), the nominal one for t.
    `low` is -1 (a metric to maximise) or -inf when the candidate's failures leave no lower end.
    """

    method: Method
    gain: float
    low: float
    high: float
    level: float


@dataclass(frozen=True)
class Estimate:
    """The gain from the pairs after the decision.

    `main` is the t interval, or that of the median when the candidate lost a pair (a lost pair
    has no number, only a rank: the worst). `sd_log` is the sd of the pair log ratio.
    """

    main: Interval
    robust: Interval
    pairs: int
    lost: int
    mean_log: float | None
    sd_log: float | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Bound:
    """A constraint after the decision: upper one-sided limit of the worsening against its margin.

    All as fractions of the baseline's value (0.05 = 5 % worse); negative = better. One look at a
    fixed number of pairs, so the one-sided t limit at alpha is the test of non-inferiority.
    """

    metric: str
    method: Method
    change: float
    upper: float
    margin: float
    alpha: float
    held: bool


def estimate_gain(
    pairs: Sequence[PairResult], direction: Direction = Direction.MAXIMIZE, level: float = 0.95
) -> Estimate:
    """The gain and its intervals; void pairs are left out.

    Raises:
        ValueError: fewer than ten pairs, or a level outside 0.5 to 0.99.
    """
    if not 0.5 <= level <= 0.99:
        raise ValueError(f"a level lies between 0.5 and 0.99, got {level}")
    measured, lost = _values(
        [pair.gain for pair in pairs if pair.state is PairState.MEASURED], pairs
    )
    n = len(measured) + lost
    robust = _median(sorted(measured), lost, direction, level)
    notes: list[str] = []
    mean = sd = None
    main = robust
    if lost:
        notes.append(f"the candidate failed in {lost} of {n} pairs: the interval is the median's")
    else:
        mean, sd = _moments(measured)
        half = t_quantile((1 + level) / 2, n - 1) * sd / math.sqrt(n)
        main = Interval(
            Method.STUDENT_T,
            change_of(mean, direction),
            change_of(mean - half, direction),
            change_of(mean + half, direction),
            level,
        )
        if sd == 0:
            notes.append(
                "all pairs gave exactly the same ratio: the interval has no width because the "
                "metric does not vary between windows, not because the gain is known exactly"
            )
    return Estimate(main, robust, n, lost, mean, sd, tuple(notes))


def bound_constraint(
    pairs: Sequence[PairResult],
    metric: str,
    margin: float,
    direction: Direction,
    alpha: float = 0.05,
) -> Bound:
    """Upper limit of a metric's worsening; `margin` is the log ratio (`pairs.log_margin_of`).

    With a lost pair the limit is the median's by order statistics, a loss being the worst value.
    The constraint holds when the limit is at or below the margin.
    """
    worsenings = [pair.worsening.get(metric) for pair in pairs if pair.state is PairState.MEASURED]
    measured, lost = _values(worsenings, pairs)
    n = len(measured) + lost
    if lost:
        method = Method.ORDER_STATISTICS
        ranked = [*sorted(measured), *[math.inf] * lost]
        middle = (ranked[(n - 1) // 2] + ranked[n // 2]) / 2
        rank = max(k for k in range(1, n + 1) if at_least(n - k + 1, n, 0.5) <= alpha)
        upper = ranked[n - rank]
    else:
        method = Method.STUDENT_T
        middle, sd = _moments(measured)
        upper = middle + t_quantile(1 - alpha, n - 1) * sd / math.sqrt(n)
    return Bound(
        metric,
        method,
        change=_worsening(middle, direction),
        upper=_worsening(upper, direction),
        margin=_worsening(margin, direction),
        alpha=alpha,
        held=upper <= margin,
    )


def _values(
    numbers: Sequence[float | None], pairs: Sequence[PairResult]
) -> tuple[list[float], int]:
    """The numbers and the count of lost pairs; refuses too few."""
    measured = [number for number in numbers if number is not None]
    if len(measured) != len(numbers):
        raise ValueError("a measured pair lacks the value asked for")
    lost = sum(pair.state is PairState.LOST for pair in pairs)
    if len(measured) + lost < MINIMUM_PAIRS:
        raise ValueError(
            f"a gain needs {MINIMUM_PAIRS} pairs after the decision, got {len(measured) + lost}"
        )
    return measured, lost


def _moments(values: Sequence[float]) -> tuple[float, float]:
    n = len(values)
    if min(values) == max(values):
        return values[0], 0.0
    mean = math.fsum(values) / n
    return mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))


def _median(values: Sequence[float], lost: int, direction: Direction, level: float) -> Interval:
    """The median and its interval; a lost pair ranks below every measured one."""
    ranked = [*[-math.inf] * lost, *values]
    n = len(ranked)
    found = median_rank(n, level)
    low, high, covers = (
        (ranked[found[0] - 1], ranked[n - found[0]], found[1])
        if found
        else (-math.inf, math.inf, 1.0)
    )
    below, above = ranked[(n - 1) // 2], ranked[n // 2]
    return Interval(
        Method.ORDER_STATISTICS,
        change_of((below + above) / 2, direction),
        change_of(low, direction),
        change_of(high, direction),
        covers,
    )


def _worsening(log_ratio: float, direction: Direction) -> float:
    """A worsening in log ratio as a fraction of the baseline's value."""
    if direction is Direction.MINIMIZE:
        return math.expm1(log_ratio)
    return -math.expm1(-log_ratio)

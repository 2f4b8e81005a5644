"""Pairs of windows and the one number that each yields: the log ratio, positive when better.

A pair is two windows back to back, one of the baseline and one of the candidate, in the order of
a coin (`coin.py`). Ratios cancel the drift that both windows share (duet benchmarking, Bulej et
al., arXiv 2001.05811); logarithms make +x and -x the same size of change. Every "sd" in this
package is the standard deviation of the *pair log ratio*, about 1.41 times the window's own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from ktune.evidence.coin import Order


class Direction(StrEnum):
    """Which way a metric is better."""

    MAXIMIZE = "maximize"
    MINIMIZE = "minimize"


class Arm(StrEnum):
    """Which of the two assignments a window ran under."""

    BASELINE = "baseline"
    CANDIDATE = "candidate"


class PairState(StrEnum):
    """What became of a pair."""

    MEASURED = "measured"
    """Both windows gave plausible numbers."""
    LOST = "lost"
    """The candidate crashed, hung or gave an implausible number: a loss for it."""
    VOID = "void"
    """Disturbed from outside (or the baseline failed): not counted, redrawn with a new coin."""


@dataclass(frozen=True)
class PairResult:
    """One pair, as it enters the decision.

    `gain` is the log ratio (weighted over the objectives), above 0 when the candidate is better.
    `worsening` holds, by constrained metric, the log ratio that is above 0 when the candidate is
    *worse*. Both are present exactly for measured pairs. `draw` numbers every toss of this
    finalist, void pairs included.
    """

    draw: int
    order: Order
    state: PairState
    gain: float | None = None
    worsening: Mapping[str, float] = field(default_factory=dict)
    void_arm: Arm | None = None
    reason: str = ""

    def __post_init__(self) -> None:
        measured = self.state is PairState.MEASURED
        if measured and (self.gain is None or not math.isfinite(self.gain)):
            raise ValueError(f"a measured pair needs a finite gain, got {self.gain!r}")
        if not measured and (self.gain is not None or self.worsening):
            raise ValueError(f"a {self.state.value} pair has no numbers")
        if not all(math.isfinite(value) for value in self.worsening.values()):
            raise ValueError(f"a measured pair needs finite worsenings, got {self.worsening!r}")


def log_ratio(baseline: float, candidate: float, direction: Direction) -> float:
    """Log ratio of two values of one metric, above 0 when the candidate is better.

    Raises:
        ValueError: a value is not a finite positive number (a ratio means nothing then: give the
            metric a plausible minimum above 0).
    """
    for value in (baseline, candidate):
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"a log ratio needs finite positive values, got {value!r}")
    gain = math.log(candidate) - math.log(baseline)
    return gain if direction is Direction.MAXIMIZE else -gain


def of_metric(pairs: Iterable[PairResult], metric: str) -> list[PairResult]:
    """The same pairs with one metric's log ratio (its worsening turned round) as their gain."""
    return [
        replace(pair, gain=-pair.worsening[metric]) if pair.state is PairState.MEASURED else pair
        for pair in pairs
    ]


def weighted_gain(gains: Mapping[str, float], weights: Mapping[str, float]) -> float:
    """Several objectives as one log ratio: the mean of their log ratios by weight.

    Weights are divided by their sum, so the result stays readable as one change (the weighted
    geometric mean of the improvements).
    """
    total = math.fsum(weights.values())
    if not gains or gains.keys() != weights.keys() or total <= 0 or min(weights.values()) < 0:
        raise ValueError(f"gains {sorted(gains)} need weights >= 0 of their own, got {weights!r}")
    return math.fsum(weights[name] * gain for name, gain in gains.items()) / total


def change_of(log_gain: float, direction: Direction = Direction.MAXIMIZE) -> float:
    """A log gain as a fraction of the baseline's value: `+0.1` = 10 % better.

    For a metric to maximise, 10 % better means 1.1 times the value; for one to minimise, 0.9
    times. Several objectives combined read as MAXIMIZE.
    """
    return math.expm1(log_gain) if direction is Direction.MAXIMIZE else -math.expm1(-log_gain)


def log_gain_of(change: float, direction: Direction = Direction.MAXIMIZE) -> float:
    """The log gain of a change given as a fraction better; inverse of `change_of`.

    This is how `mei: 2%` becomes a threshold.
    """
    if direction is Direction.MAXIMIZE:
        return math.log1p(change)
    return -math.log1p(-change)


def log_margin_of(worse_by: float, direction: Direction) -> float:
    """The log ratio of `worse_by_at_most` as a fraction (0.05 = 5 %); above 0.

    Worse means larger for a metric to minimise (1.05 times), smaller for one to maximise (0.95
    times).
    """
    if not 0 <= worse_by < 1:
        raise ValueError(f"a margin is a fraction from 0 to below 1, got {worse_by!r}")
    return math.log1p(worse_by) if direction is Direction.MINIMIZE else -math.log1p(-worse_by)

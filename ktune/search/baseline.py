"""Scores against the neighbouring baselines, so that drift cancels; pure.

Rule: the baseline is measured first and again every few trials. The value a candidate is compared
with is interpolated, in the logarithm and linearly in time, between the last baseline before it
and the first one after it. Until that later one is measured the one before stands alone, and the
score is revised when it comes (`Search.revise`); `is_final` says which of the two it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ktune.evidence.pairs import Direction, log_ratio, weighted_gain


@dataclass(frozen=True)
class BaselineWindow:
    """A window of the baseline: its middle in seconds of a steady clock, and its metrics."""

    at_s: float
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Goal:
    """An objective: what to improve, which way, how much it weighs."""

    metric: str
    direction: Direction
    weight: float = 1.0


def is_final(baselines: Sequence[BaselineWindow], at_s: float) -> bool:
    """Whether a baseline after this time is there already."""
    return any(window.at_s > at_s for window in baselines)


def reference(baselines: Sequence[BaselineWindow], at_s: float, metric: str) -> float:
    """What the baseline would have measured at that time.

    Raises:
        ValueError: no baseline measured, or a value that has no logarithm.

    >>> windows = [BaselineWindow(0, {"tps": 100.0}), BaselineWindow(10, {"tps": 121.0})]
    >>> round(reference(windows, 5, "tps"), 6)
    110.0
    """
    if not baselines:
        raise ValueError("a score needs a baseline window")
    ordered = sorted(baselines, key=lambda window: window.at_s)
    before = [window for window in ordered if window.at_s <= at_s]
    after = [window for window in ordered if window.at_s > at_s]
    left = before[-1] if before else after[0]
    right = after[0] if after else before[-1]
    values = (left.metrics[metric], right.metrics[metric])
    if not all(math.isfinite(value) and value > 0 for value in values):
        raise ValueError(f"{metric} of a baseline is not a finite positive number: {values}")
    if right.at_s <= left.at_s:
        return values[0]
    share = (at_s - left.at_s) / (right.at_s - left.at_s)
    return math.exp((1 - share) * math.log(values[0]) + share * math.log(values[1]))


def gains(
    metrics: Mapping[str, float],
    at_s: float,
    baselines: Sequence[BaselineWindow],
    goals: Sequence[Goal],
) -> dict[str, float]:
    """By objective its log ratio against the neighbouring baselines; above 0 is better."""
    return {
        goal.metric: log_ratio(
            reference(baselines, at_s, goal.metric), metrics[goal.metric], goal.direction
        )
        for goal in goals
    }


def score(
    metrics: Mapping[str, float],
    at_s: float,
    baselines: Sequence[BaselineWindow],
    goals: Sequence[Goal],
) -> float:
    """Log ratio against the neighbouring baselines, weighted over the goals; above 0 is better."""
    return weighted_gain(
        gains(metrics, at_s, baselines, goals), {goal.metric: goal.weight for goal in goals}
    )

"""The baseline's metrics at the time of a candidate, so that drift cancels in its score; pure.

Rule: the baseline is measured first and again every few trials. The value a candidate is compared
with is interpolated, in the logarithm and linearly in time, between the last baseline before it
and the first one after it. Until that later one is measured the one before stands alone, and the
score is revised when it comes (`Search.revise`); `is_final` says which of the two it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class BaselineWindow:
    """A valid window of the baseline: its middle in seconds of a steady clock, and its metrics."""

    at_s: float
    metrics: Mapping[str, float]


def is_final(baselines: Sequence[BaselineWindow], at_s: float) -> bool:
    """Whether a baseline after this time is there already."""
    return any(window.at_s > at_s for window in baselines)


def reference(baselines: Sequence[BaselineWindow], at_s: float) -> dict[str, float]:
    """What the baseline would have measured at that time: the metrics both neighbours have.

    A metric that is not above 0 on both sides has no logarithm and is interpolated as it is.

    Raises:
        ValueError: no baseline was measured.

    >>> windows = [BaselineWindow(0, {"tps": 100.0}), BaselineWindow(10, {"tps": 121.0})]
    >>> round(reference(windows, 5)["tps"], 6)
    110.0
    """
    if not baselines:
        raise ValueError("a score needs a baseline window")
    ordered = sorted(baselines, key=lambda window: window.at_s)
    before = [window for window in ordered if window.at_s <= at_s]
    after = [window for window in ordered if window.at_s > at_s]
    left = before[-1] if before else after[0]
    right = after[0] if after else before[-1]
    width = right.at_s - left.at_s
    share = (at_s - left.at_s) / width if width > 0 else 0.0
    return {
        metric: _between(value, right.metrics[metric], share)
        for metric, value in left.metrics.items()
        if metric in right.metrics
    }


def _between(left: float, right: float, share: float) -> float:
    if left > 0 and right > 0:
        return math.exp((1 - share) * math.log(left) + share * math.log(right))
    return (1 - share) * left + share * right

"""When requests are due, and what their latencies say: pure functions. Standard library only."""

from __future__ import annotations

import math
import random
from array import array
from collections.abc import Sequence
from enum import StrEnum

NS = 1_000_000_000


class Spacing(StrEnum):
    """How the requests of an open loop follow each other."""

    POISSON = "poisson"
    """Independent of each other, as those of many users: exponential gaps."""
    CONSTANT = "constant"
    """Evenly: no bursts, so less noise."""


def due_times_ns(requests: int, rate_per_s: float, spacing: Spacing, seed: int) -> array[int]:
    """When each request shall be sent, in ns from the start, in rising order.

    The same seed gives the same times: both sides of a pair get the same load.

    >>> list(due_times_ns(4, 1000.0, Spacing.CONSTANT, seed=1))
    [0, 1000000, 2000000, 3000000]
    """
    if spacing is Spacing.CONSTANT:
        return array("q", (round(number * NS / rate_per_s) for number in range(requests)))
    gap = random.Random(seed).expovariate
    times, at = array("q"), 0.0
    for _ in range(requests):
        times.append(round(at * NS))
        at += gap(rate_per_s)
    return times


def percentile(ordered: Sequence[int], share: float) -> int:
    """The nearest rank: the least value that at least this share of all values do not exceed.

    `ordered` rises and is not empty, 0 < share <= 1. A latency that really occurred, never one
    between two.

    >>> percentile([10, 20, 30, 40], 0.5), percentile([10, 20, 30, 40], 0.51)
    (20, 30)
    """
    if not ordered or not 0 < share <= 1:
        raise ValueError("expected values, and a share above 0 and at most 1")
    # The rounding takes back what a share such as 0.07 is off by as a binary fraction.
    return ordered[math.ceil(round(share * len(ordered), 6)) - 1]


def enough_for(share: float, count: int) -> bool:
    """Do so many values know this percentile? At least one lies beyond it."""
    return round(count * (1 - share), 6) >= 1

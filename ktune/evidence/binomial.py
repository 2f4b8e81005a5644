"""Exact binomial tails and limits: for order statistics, and to judge simulated error rates.

"Observed rate <= nominal" is no test: it fails 42 % of the time when the true rate equals a
nominal 1 %. The exact lower limit is compared with the nominal rate instead.
"""

from __future__ import annotations

import math


def at_least(successes: int, trials: int, probability: float) -> float:
    """P(X >= successes) for X binomial."""
    if successes <= 0:
        return 1.0
    if successes > trials or probability <= 0:
        return 0.0
    if probability >= 1:
        return 1.0
    yes, no = math.log(probability), math.log1p(-probability)
    return min(
        1.0,
        math.fsum(
            math.exp(_log_choose(trials, k) + k * yes + (trials - k) * no)
            for k in range(successes, trials + 1)
        ),
    )


def lower_limit(successes: int, trials: int, confidence: float = 0.95) -> float:
    """The exact one-sided lower limit for a rate (Clopper and Pearson, Biometrika 26, 1934).

    A true rate at or below a nominal one exceeds it by this limit with probability at most
    `1 - confidence`.
    """
    if successes <= 0:
        return 0.0
    low, high = 0.0, successes / trials
    for _ in range(100):
        middle = (low + high) / 2
        if at_least(successes, trials, middle) < 1 - confidence:
            low = middle
        else:
            high = middle
    return low


def median_rank(n: int, level: float) -> tuple[int, float] | None:
    """The largest k whose k-th smallest and k-th largest of n values hold the median.

    Returns k and the exact coverage 1 - 2 P(X < k), X binomial(n, 1/2), at least `level`; None
    where n is too small for that level (n < 6 at 95 %). Source: David and Nagaraja, Order
    Statistics, section 7.1.
    """
    best: tuple[int, float] | None = None
    for k in range(1, n // 2 + 1):
        coverage = 1 - 2 * at_least(n - k + 1, n, 0.5)
        if coverage < level:
            break
        best = (k, coverage)
    return best


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)

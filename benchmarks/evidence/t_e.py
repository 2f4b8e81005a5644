"""The t-e-process: a t test that may be looked at after every pair, where pairs are Gaussian.

ktune does not decide by it: its error rate is not the stated one where the coin alone decides
(docs/statistics.md). It is here to be compared with.
"""

from __future__ import annotations

import math
from collections.abc import Sequence


def t_statistic(xs: Sequence[float]) -> float:
    """Student's t of the mean against 0; infinite when all values are equal and not 0.

    Two values at least. All zero gives 0: no evidence either way.
    """
    n = len(xs)
    if n < 2:
        raise ValueError("a t statistic needs two values at least")
    mean = math.fsum(xs) / n
    variance = math.fsum((x - mean) ** 2 for x in xs) / (n - 1)
    if variance > 0:
        return mean / math.sqrt(variance / n)
    return math.copysign(math.inf, mean) if mean else 0.0


def log_t_e(xs: Sequence[float]) -> float:
    """Log of the t-e-process after the pairs `xs` (log ratios minus the hypothesised mean).

    Hypothesis: H0: mean = 0 with unknown variance; two-sided. Used one-sided by asking for t > 0
    as well, which halves the error at the same threshold: E >= 1/alpha and t > 0 has level
    alpha/2, because under H0 the two signs are equally likely. A mean below 0 makes it rarer still.
    Assumptions: independent Gaussian pairs of one variance. The test martingale is the Bayes
    factor under the right-Haar prior on the scale and a N(0, 1) prior on mean / sd.
    Formula: log E_n = -1/2 log(1+n) + n/2 [log(1 + t^2/(n-1)) - log(1 + t^2/((n-1)(1+n)))].
    Source: Wang and Ramdas, "Anytime-valid t-tests and confidence sequences for Gaussian means
    with unknown variance", arXiv 2310.03722 (theorem on the scale-invariant mixture).
    What breaks it: skewed pairs (a mean that differs from the median); autocorrelated pairs; equal
    |x| in all pairs, where the coin alone decides: six straight wins fire it at any level down to
    .008, and a coin gives them in .016 of runs.
    It is scale-free, and bounded by (1+n)^((n-1)/2): five pairs reach at most 36.
    """
    return log_t_e_of(t_statistic(xs), len(xs)) if len(xs) >= 2 else 0.0


def log_t_e_of(t: float, n: int) -> float:
    """The same from the t statistic of n >= 2 pairs (formula and assumptions: `log_t_e`)."""
    spread = math.log1p(n)
    if math.isinf(t):
        return (n - 1) / 2 * spread
    ratio = t * t / (n - 1)
    if math.isinf(ratio):
        return (n - 1) / 2 * spread
    return -spread / 2 + n / 2 * (math.log1p(ratio) - math.log1p(ratio / (1 + n)))

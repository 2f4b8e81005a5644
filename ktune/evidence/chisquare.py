"""The chi-square distribution for whole degrees of freedom, in the standard library's mathematics.

Own code because `scipy.stats` costs up to 2.8 s of start-up (tested against it).
"""

from __future__ import annotations

import math
from functools import lru_cache


def chi_square_above(x: float, freedom: int) -> float:
    """P(X > x) with `freedom` degrees of freedom.

    Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 26.4.4 and 26.4.5: finite
    sums, started from exp(-x/2) for even and from erfc(sqrt(x/2)) for odd degrees.
    """
    if freedom < 1:
        raise ValueError(f"degrees of freedom start at 1, got {freedom}")
    if x <= 0:
        return 1.0
    half = x / 2
    odd = freedom % 2
    total = math.erfc(math.sqrt(half)) if odd else math.exp(-half)
    # the density's terms half^k exp(-half) / gamma(k + 1), k up to freedom/2 - 1
    for step in range(0 if odd else 1, freedom // 2):
        k = step + 0.5 if odd else float(step)
        total += math.exp(k * math.log(half) - half - math.lgamma(k + 1))
    return min(1.0, total)


@lru_cache(maxsize=256)
def chi_square_quantile(probability: float, freedom: int) -> float:
    """The x with P(X <= x) = probability, by bisection (the tail is monotone)."""
    if not 0 < probability < 1:
        raise ValueError(f"a probability lies between 0 and 1, got {probability}")
    low, high = 0.0, float(freedom)
    while chi_square_above(high, freedom) > 1 - probability:
        low, high = high, high * 2
    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        if chi_square_above(middle, freedom) > 1 - probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2

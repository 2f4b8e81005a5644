"""Fisher's F distribution for any degrees of freedom, in the standard library's mathematics.

Own code because `scipy.stats` costs up to 2.8 s of start-up (tested against it).
"""

from __future__ import annotations

import math
from functools import lru_cache

from ktune.evidence.quantile import quantile_above_zero

_TINY = 1e-300


def f_cdf(x: float, above: float, below: float) -> float:
    """P(F <= x) with `above` and `below` degrees of freedom.

    Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 26.6.2: the incomplete beta
    function at above x / (above x + below).
    """
    if above <= 0 or below <= 0:
        raise ValueError("degrees of freedom are above 0")
    if x <= 0:
        return 0.0
    share = above * x / (above * x + below)
    a, b = above / 2, below / 2
    if share > (a + 1) / (a + b + 2):  # here the fraction converges slowly, its complement not
        return 1.0 - _beta(1 - share, b, a)
    return _beta(share, a, b)


@lru_cache(maxsize=256)
def f_quantile(probability: float, above: float, below: float) -> float:
    """The x with P(F <= x) = probability, by bisection on `f_cdf` (it is monotone)."""
    if not 0 < probability < 1:
        raise ValueError(f"a probability lies between 0 and 1, got {probability}")
    return quantile_above_zero(lambda x: f_cdf(x, above, below), probability)


def _beta(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function I_x(a, b), by its continued fraction.

    Source: Abramowitz and Stegun 26.5.8, evaluated by Lentz's method (Applied Optics 15, 1976).
    """
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )
    c, d = 1.0, 1.0 / _off_zero(1 - (a + b) * x / (a + 1))
    total = d
    for m in range(1, 500):
        for step in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1.0 / _off_zero(1 + step * d)
            c = _off_zero(1 + step / c)
            total *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return front * total / a


def _off_zero(x: float) -> float:
    return x if abs(x) > _TINY else _TINY

"""The quantile of a distribution above 0 from its cumulative function."""

from __future__ import annotations

from collections.abc import Callable


def quantile_above_zero(cdf: Callable[[float], float], probability: float) -> float:
    """The x > 0 with cdf(x) = probability, by bisection (`cdf` is monotone).

    Raises:
        ValueError: it lies beyond 1e12.
    """
    low, high = 0.0, 1.0
    while cdf(high) < probability:
        low, high = high, high * 2
        if high > 1e12:
            raise ValueError(f"probability {probability} is too close to 1")
    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        if cdf(middle) < probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2

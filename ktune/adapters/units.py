"""Units of numbers that tools report, and conversion within a dimension. Pure.

Sizes with an `i` count 1024, those without 1000 (IEC 80000-13); bits are decimal, as in tc(8).
Rates of bits and of bytes are one dimension.
"""

from __future__ import annotations

_TIME = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0}
_SIZE = {
    "B": 1.0,
    **{f"{letter}iB": 1024.0**power for power, letter in enumerate("KMGT", 1)},
    **{f"{letter}B": 1000.0**power for power, letter in enumerate("kMGT", 1)},
}
_BITS = {
    "bit/s": 1.0,
    **{f"{letter}bit/s": 1000.0**power for power, letter in enumerate("kMGT", 1)},
    "Kbit/s": 1000.0,
}
_DIMENSIONS: dict[str, dict[str, float]] = {
    "a time": _TIME,
    "a size": _SIZE,
    "a rate of data": {**_BITS, **{f"{unit}/s": 8 * factor for unit, factor in _SIZE.items()}},
    "a rate": {"1/s": 1.0, "k/s": 1e3, "1/min": 1 / 60},
    "a share": {"%": 1.0},
    "a count": {"": 1.0},
}


def dimension(unit: str) -> str | None:
    """What a unit measures, in words; None for an unknown one."""
    return next((name for name, known in _DIMENSIONS.items() if unit in known), None)


def alike(unit: str) -> list[str]:
    """The units of the same dimension."""
    return [name for known in _DIMENSIONS.values() if unit in known for name in known]


def converted(value: float, unit: str, into: str) -> float:
    """The same quantity in another unit. Raises ValueError between dimensions.

    >>> converted(1500, "us", "ms")
    1.5
    """
    if unit == into:
        return value
    for known in _DIMENSIONS.values():
        if unit in known and into in known:
            return value * known[unit] / known[into]
    raise ValueError(f"{into} is not {dimension(unit) or 'a known unit'} like {unit}")

"""Quantities as people write them, and what they mean to a knob.

Sizes are binary: `64M` = `64MiB` = 64 x 1024^2. Rates are decimal bits per second: `1Gbit` =
10^9 (tc(8)). Durations are seconds: `20ms` = 0.02. `5%` = 0.05 of whatever the field's
description names as its reference. Pure functions; all raise ValueError with a text for people.
"""

from __future__ import annotations

import re
from fractions import Fraction

_NUMBER = re.compile(r"([-+]?[0-9]+(?:\.[0-9]+)?)\s*([A-Za-z%/]*)\Z")
_SIZES: dict[str, int] = {letter: 1 << 10 * power for power, letter in enumerate("KMGTPE", 1)}
_DURATIONS = {
    "ns": Fraction(1, 10**9),
    "us": Fraction(1, 10**6),
    "ms": Fraction(1, 1000),
    "s": Fraction(1),
    "m": Fraction(60),
    "min": Fraction(60),
    "h": Fraction(3600),
    "d": Fraction(86400),
}
_RATES = {"bit": 1, "Kbit": 10**3, "Mbit": 10**6, "Gbit": 10**9}
_MAX_TEXT = 40

UNIT_NAMES = {
    "bytes": "B",
    "byte": "B",
    "b": "B",
    "kib": "KiB",
    "kb": "KiB",
    "mib": "MiB",
    "mb": "MiB",
    "pages": "page",
    "page": "page",
    "seconds": "s",
    "second": "s",
    "sec": "s",
    "s": "s",
    "milliseconds": "ms",
    "ms": "ms",
    "microseconds": "us",
    "us": "us",
    "nanoseconds": "ns",
    "ns": "ns",
}
"""Spellings of units in the catalog -> the unit that conversion knows."""


def split(text: str) -> tuple[Fraction, str]:
    """Number and suffix: `64M` -> (64, `M`). Raises ValueError."""
    match = _NUMBER.match(text.strip()) if len(text) <= _MAX_TEXT else None
    if not match:
        raise ValueError("expected a number with an optional unit, such as 4096, 64M or 2s")
    return Fraction(match[1]), match[2]


def size(text: str) -> int:
    """Bytes: `64M`, `64MiB`, `512`, `4096B`. Raises ValueError."""
    number, suffix = split(text)
    return _whole(number * _size_factor(suffix), text)


def duration(text: str) -> float:
    """Seconds: `20ms`, `2s`, `30m`, `1h`. Raises ValueError (a bare number has no unit)."""
    number, suffix = split(text)
    if suffix not in _DURATIONS:
        raise ValueError(f"expected a duration such as 20ms, 2s, 30m or 1h, found {text!r}")
    if number < 0:
        raise ValueError("a duration can't be negative")
    return float(number * _DURATIONS[suffix])


def rate(text: str) -> int:
    """Bits per second: `1Gbit`, `300Mbit`. Raises ValueError."""
    number, suffix = split(text)
    if suffix not in _RATES or number <= 0:
        raise ValueError(f"expected a rate such as 300Mbit or 1Gbit, found {text!r}")
    return _whole(number * _RATES[suffix], text)


def percent(text: str) -> float:
    """A fraction: `5%` -> 0.05. Raises ValueError."""
    number, suffix = split(text)
    if suffix != "%":
        raise ValueError(f"expected a percentage such as 5%, found {text!r}")
    return float(number / 100)


def for_knob(quantity: int | str, unit: str | None, *, page_bytes: int = 4096) -> int:
    """What a quantity means to a knob that counts `unit` (the catalog's word for it).

    A plain number is in the knob's own unit. `64M` is 64 x 1024^2 and is refused for knobs that
    count KiB, MiB or pages, where it could mean two things: `64MiB` is clear there.
    Raises ValueError.
    """
    if isinstance(quantity, int):
        return quantity
    number, suffix = split(quantity)
    known = "%" if (unit or "").startswith("%") else UNIT_NAMES.get((unit or "").lower())
    if not suffix:
        return _whole(number, quantity)
    if suffix == "%":
        if known != "%":
            raise ValueError(
                f"{quantity}: % of what? this knob counts {unit or 'no percentage'}; "
                "write a number, or a share of a host fact such as ${mem.total / 10}"
            )
        return _whole(number, quantity)
    if suffix in _DURATIONS:
        if known not in _DURATIONS:
            raise ValueError(f"{quantity} is a time, but this knob counts {unit or 'no unit'}")
        return _whole(number * _DURATIONS[suffix] / _DURATIONS[known], quantity)
    total = number * _size_factor(suffix)
    divisor = {"KiB": 1024, "MiB": 1024**2, "page": page_bytes}.get(known or "")
    if divisor is None:
        if known not in (None, "B") or (known is None and unit and suffix.endswith("B")):
            raise ValueError(f"{quantity} is a size, but this knob counts {unit}")
        return _whole(total, quantity)
    if len(suffix) == 1 and suffix != "B":
        raise ValueError(
            f"{quantity} could mean {quantity}iB or {quantity} x {unit}: this knob counts {unit}; "
            f"write {quantity}iB or a plain number"
        )
    return _whole(total / divisor, quantity)


def check_quantity(text: str) -> str:
    """Any quantity a knob may take, checked for its form only. Raises ValueError."""
    _, suffix = split(text)
    if suffix and suffix != "%" and suffix not in _DURATIONS:
        _size_factor(suffix)
    return text


def format_duration(seconds: float) -> str:
    """A time for people: 0.02 -> `20ms`, 135 -> `2m15s`, 4000 -> `1h06m`."""
    if seconds < 1:
        return f"{seconds * 1000:.3g}ms"
    if seconds < 60:
        return f"{seconds:.3g}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02d}s" if rest else f"{minutes}m"
    return f"{minutes // 60}h{minutes % 60:02d}m"


def _size_factor(suffix: str) -> int:
    letter = suffix.removesuffix("iB") if suffix.endswith("iB") else suffix
    if letter in ("", "B") and not suffix.endswith("iB"):
        return 1
    if letter in _SIZES:
        return _SIZES[letter]
    raise ValueError(
        f"unknown unit {suffix!r}; sizes are K, M, G, T (or KiB, MiB, ...; 1024-based), "
        "times ns, us, ms, s, m, h"
    )


def _whole(number: Fraction | int, text: str) -> int:
    if Fraction(number).denominator != 1:
        raise ValueError(f"{text} is no whole number of the unit that is counted here")
    return int(number)

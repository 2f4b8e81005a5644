"""Hard limits that scale with the machine: `mem.total_pages / 4`. Standard library only.

The catalog states them, the guardian enforces them; both evaluate the same text with the same
facts. Arithmetic is on integers (division rounds down), so both sides always agree.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence

from ktune.kernel.values import Value

Limit = int | str
"""An integer, or a text `FACT`, `FACT * NUMBER`, `FACT / NUMBER`."""

FACTS: Mapping[str, str] = {
    "mem.total_bytes": "memory the kernel manages (MemTotal), bytes",
    "mem.total_kib": "memory the kernel manages (MemTotal), KiB",
    "mem.total_pages": "memory the kernel manages (MemTotal), pages",
    "cpu.count": "CPUs that are online",
    "page.bytes": "size of a page, bytes",
}
"""Every fact a limit may name, with its unit."""

_FORMULA = re.compile(
    r"(?P<fact>[a-z]+\.[a-z_]+)(?: (?P<sign>[*/]) (?P<number>[1-9][0-9]{0,9}))?\Z"
)
_MEM_TOTAL = re.compile(r"^MemTotal:\s+([0-9]+) kB$", re.MULTILINE)


class LimitError(ValueError):
    """A limit is not an integer or a formula over a known fact."""


def evaluate(limit: Limit, facts: Mapping[str, int]) -> int:
    """The integer that `limit` means on a machine with `facts`.

    >>> evaluate("mem.total_pages / 4", {"mem.total_pages": 1001})
    250

    Raises:
        LimitError: not an integer or formula, or a fact that `facts` lacks.
    """
    if isinstance(limit, bool) or not isinstance(limit, int | str):
        raise LimitError(f"a limit is an integer or a formula, not {limit!r}")
    if isinstance(limit, int):
        return limit
    match = _FORMULA.match(limit)
    if not match:
        raise LimitError(f"{limit!r} is not FACT, FACT * NUMBER or FACT / NUMBER")
    fact = match["fact"]
    if fact not in facts:
        raise LimitError(f"{limit!r} names an unknown fact; known: {', '.join(sorted(facts))}")
    if match["sign"] is None:
        return facts[fact]
    number = int(match["number"])
    return facts[fact] * number if match["sign"] == "*" else facts[fact] // number


def evaluate_bound(
    bound: Limit | Sequence[Limit] | None, facts: Mapping[str, int]
) -> int | tuple[int, ...] | None:
    """Like `evaluate` for a bound that may be absent or hold one limit for each element."""
    if bound is None:
        return None
    if isinstance(bound, int | str):
        return evaluate(bound, facts)
    return tuple(evaluate(item, facts) for item in bound)


def within(value: Value, low: Value | None, high: Value | None) -> bool:
    """Whether a number, or each element of a vector, lies in its bounds; words always do.

    A single bound holds for every element; bounds of another length than the value never hold.
    """
    if isinstance(value, str):
        return True
    items = value if isinstance(value, tuple) else (value,)
    lows, highs = _for_each(low, len(items)), _for_each(high, len(items))
    if len(lows) != len(items) or len(highs) != len(items):
        return False
    return all(
        (least is None or item >= least) and (most is None or item <= most)
        for item, least, most in zip(items, lows, highs, strict=True)
    )


def host_facts() -> dict[str, int]:
    """The facts of this machine (MemTotal of /proc/meminfo, online CPUs, page size).

    Raises OSError without /proc, LimitError when /proc/meminfo has no MemTotal.
    """
    with open("/proc/meminfo", encoding="ascii") as file:
        match = _MEM_TOTAL.search(file.read(4096))
    if not match:
        raise LimitError("/proc/meminfo has no MemTotal")
    kib = int(match[1])
    page = os.sysconf("SC_PAGESIZE")
    return {
        "mem.total_bytes": kib * 1024,
        "mem.total_kib": kib,
        "mem.total_pages": kib * 1024 // page,
        "cpu.count": os.sysconf("SC_NPROCESSORS_ONLN"),
        "page.bytes": page,
    }


def _for_each(bound: Value | None, length: int) -> tuple[int | None, ...]:
    if isinstance(bound, tuple):
        return bound
    return (bound if isinstance(bound, int) else None,) * length

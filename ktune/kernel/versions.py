"""Versions of kernels and programs, and what a profile asks of them. Standard library only."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

_COMPARISON = re.compile(r"(<=|>=|==|!=|<|>)\s*(\S+)\Z")
OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


def comparisons(text: str) -> tuple[tuple[str, str], ...]:
    """`>= 6.1, < 6.13` -> ((`>=`, `6.1`), (`<`, `6.13`)). Raises ValueError."""
    found = []
    for part in text.split(","):
        match = _COMPARISON.match(part.strip())
        if not match:
            raise ValueError("expected comparisons joined by commas, such as '>= 6.1, < 6.13'")
        found.append((match[1], match[2]))
    return tuple(found)


def kernel_version(text: str) -> tuple[int, ...]:
    """`6.1.0-28-amd64` -> (6, 1, 0): numbers up to the first other character."""
    match = re.match(r"[0-9]+(\.[0-9]+)*", text)
    if not match or len(match[0]) > 32:
        raise ValueError(f"expected a kernel version such as 6.1, found {text!r}")
    return tuple(int(part) for part in match[0].split("."))


def version_holds(version: tuple[int, ...], op: str, right: str) -> bool:
    """Compares as far as the right side goes: 6.1.9 is `== 6.1` and not `> 6.1`."""
    wanted = kernel_version(right)
    padded = (*version, *([0] * len(wanted)))[: len(wanted)]
    return OPERATORS[op](padded, wanted)

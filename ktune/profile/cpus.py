"""The words by which a profile names CPUs: `[0, 2]`, `0-3,8` as the kernel lists them, `others`."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, WithJsonSchema

from ktune.profile.errors import shown
from ktune.profile.fields import wrong

MAX_CPU = 8191
"""The largest number of a CPU: NR_CPUS of the kernels that distributions build."""
OTHERS: Literal["others"] = "others"
_LIST = re.compile(r"[0-9]{1,5}(-[0-9]{1,5})?(,[0-9]{1,5}(-[0-9]{1,5})?)*\Z")
_LISTED = {
    "anyOf": [
        {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1},
        {"type": "string", "pattern": r"^[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*$"},
    ]
}


def parse_cpu_list(text: str) -> tuple[int, ...]:
    """`0-3,8` -> (0, 1, 2, 3, 8), as cpuset(7) writes it. Raises ValueError."""
    if not _LIST.match(text):
        raise ValueError("expected CPUs as [0, 2] or as a text such as 0-3,8")
    found: set[int] = set()
    for part in text.split(","):
        low, _, high = part.partition("-")
        first, last = int(low), int(high or low)
        if last < first or last > MAX_CPU:
            raise ValueError(f"{part} is no range of CPUs (0 to {MAX_CPU})")
        found.update(range(first, last + 1))
    return tuple(sorted(found))


def _cpus(value: object) -> tuple[int, ...]:
    if isinstance(value, int) and not isinstance(value, bool):
        value = [value]
    if isinstance(value, str):
        try:
            return parse_cpu_list(value)
        except ValueError as error:
            raise wrong(str(error)) from None
    if not isinstance(value, list | tuple) or not value:
        raise wrong("expected CPUs as [0, 2] or as a text such as 0-3,8")
    for index, item in enumerate(value):
        if isinstance(item, bool) or not isinstance(item, int) or not 0 <= item <= MAX_CPU:
            raise wrong(f"expected the number of a CPU, found {shown(item)}", at=(index,))
    if len(set(value)) != len(value):
        raise wrong("expected each CPU once")
    return tuple(sorted(value))


def _cpus_or_others(value: object) -> tuple[int, ...] | str:
    return OTHERS if value == OTHERS else _cpus(value)


Cpus = Annotated[tuple[int, ...], BeforeValidator(_cpus), WithJsonSchema(_LISTED)]
"""Numbers of CPUs, ascending."""

CpusOrOthers = Annotated[
    tuple[int, ...] | Literal["others"],
    BeforeValidator(_cpus_or_others),
    WithJsonSchema({"anyOf": [*_LISTED["anyOf"], {"const": OTHERS}]}),
]
"""... or those that no service has."""

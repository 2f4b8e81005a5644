"""The kernel module's allow-list as C: what of the tunable set a kernel thread can write.

A module writes with the kernel's own rights, so its list is compiled in, names are narrow patterns
(`*` is one component, see kt_matches in kmod/kt_text.h), and the catalog's hard limits go along.
What kernel_write() does not reach (debugfs, /proc/irq; kmod/kt_files.c) is left out.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence

from ktune.catalog.model import Bound, Kind, KnobEntry
from ktune.kernel.limits import Limit
from ktune.kernel.values import Value, ValueType

_HEAD = """\
/* SPDX-License-Identifier: GPL-2.0 */
/* Made from the catalog by `python -m ktune.catalog.generate`; not for editing. */
"""
_PLACEHOLDER = re.compile(r"\{[a-z_]+\}")
_SYSCTL = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+\Z")
_FILE = re.compile(r"/sys(/[A-Za-z0-9_.*-]+)+\Z")
_UNREACHABLE = ("/sys/kernel/debug/", "/proc/")
_FACTS = {
    "mem.total_bytes": "KT_MEM_BYTES",
    "mem.total_kib": "KT_MEM_KIB",
    "mem.total_pages": "KT_MEM_PAGES",
    "cpu.count": "KT_CPUS",
    "page.bytes": "KT_PAGE_BYTES",
}
_ROOTS = {Kind.SYSCTL: "KT_SYSCTL", Kind.SYSFS: "KT_SYSFS", Kind.CGROUP: "KT_CGROUP"}
_TEXT_MAX = 255
_WIDTH = 86


def reachable(entry: KnobEntry) -> bool:
    """Whether the module may own the knob: profiles may set it, and kernel_write() reaches it."""
    return entry.tunable and not entry.name.startswith(_UNREACHABLE)


def render(entries: Iterable[KnobEntry]) -> str:
    """The table's rows, in the order of names.

    Raises:
        ValueError: a name that is no safe pattern; nothing like it may be compiled in.
    """
    chosen = sorted(filter(reachable, entries), key=lambda entry: entry.name)
    return _HEAD + "".join(f"{_row(entry)}\n" for entry in chosen)


def pattern(name: str) -> str:
    """The rule's name: a placeholder becomes `*`.

    >>> pattern("/sys/block/{device}/queue/nr_requests")
    '/sys/block/*/queue/nr_requests'

    Raises:
        ValueError: not a safe pattern.
    """
    made = _PLACEHOLDER.sub("*", name)
    components = made.strip("/").split("/") if made.startswith("/") else made.split(".")
    good = bool((_FILE if made.startswith("/") else _SYSCTL).match(made))
    good = good and all(part == "*" or "*" not in part for part in components)
    if not good or ".." in components or "." in components or len(made) > 100:
        raise ValueError(f"{name}: not a safe name for the kernel's allow-list")
    return made


def _row(entry: KnobEntry) -> str:
    fields = [
        f'.name = "{pattern(entry.name)}"',
        f".type = KTUNE_{entry.type.value.upper()}",
        f".root = {_ROOTS[entry.kind]}",
    ]
    flags = [
        name
        for name, holds in (
            ("KTUNE_RULE_MOVES", entry.kernel_moves),
            ("KTUNE_RULE_NO_ZERO", entry.zero_unwritable),
        )
        if holds
    ]
    if flags:
        fields.append(f".flags = {' | '.join(flags)}")
    if entry.choices is not None:
        fields.append(f".choices = {_words(entry)}")
    if entry.minimum is not None and entry.maximum is not None:
        least, most = _bounds(entry.minimum), _bounds(entry.maximum)
        fields.append(f".elements = {len(least)}")
        fields.append(f".least = KT_BOUNDS({', '.join(least)})")
        fields.append(f".most = KT_BOUNDS({', '.join(most)})")
    elif entry.type in (ValueType.INT, ValueType.VECTOR):
        raise ValueError(f"{entry.name}: a number without limits")
    if entry.special:
        numbers = [_number(value) for value in entry.special]
        fields.append(f".specials = {len(numbers)}")
        fields.append(f".special = KT_SPECIAL({', '.join(numbers)})")
    if entry.length is not None:
        fields.append(f".length = {entry.length}")
    text = ", ".join(field.replace(" ", "\0").replace("\1", " ") for field in fields)
    lines = textwrap.wrap(text, _WIDTH, break_long_words=False, break_on_hyphens=False)
    return "{ " + "\n\t".join(lines).replace("\0", " ") + " },"


def _words(entry: KnobEntry) -> str:
    """String literals that C joins; a line may break between them (\\1)."""
    text = " ".join(entry.choices or ())
    if len(text) > _TEXT_MAX or not re.fullmatch(r"[A-Za-z0-9_.+ -]+", text):
        raise ValueError(f"{entry.name}: choices that the kernel's allow-list can't hold")
    return "\1".join(f'"{part}"' for part in re.findall(r".{1,60}(?: |\Z)", text))


def _bounds(bound: Bound) -> list[str]:
    items: Sequence[Limit] = bound if isinstance(bound, tuple) else (bound,)  # type: ignore[assignment]
    return [_bound(item) for item in items]


def _bound(limit: Limit) -> str:
    if isinstance(limit, int):
        return f"KT_N({_literal(limit)})"
    fact, _, rest = limit.partition(" ")
    sign, _, number = rest.partition(" ")
    if sign == "/":
        return f"KT_OVER({_FACTS[fact]}, {int(number)})"
    return f"KT_TIMES({_FACTS[fact]}, {int(number) if sign else 1})"


def _number(value: Value) -> str:
    if not isinstance(value, int):
        raise ValueError(f"{value!r}: a special value that is not a number")
    return _literal(value)


def _literal(number: int) -> str:
    if not -(2**63) < number < 2**63:
        raise ValueError(f"{number} does not fit 64 bits")
    return f"{number}LL" if abs(number) >= 2**31 else str(number)

"""The module's texts and restore plan, compiled for user space and called by ctypes."""

from __future__ import annotations

import ctypes as c
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from ktune.kernel.values import Value
from ktune.proxy.planner import Held, covers
from tests.kmod.core import HERE, KMOD, UBSAN, WARNINGS, compiler

_FLAGS = (
    *("readable", "at_original", "at_seen", "touched", "changed", "pending", "foreign", "moves"),
    *("no_zero", "original_zero", "live_one", "seen_zero", "unsure", "was_restoring", "listed"),
)
EITHER_OR, DRAGS = 1, 2
KINDS = {"either_or": EITHER_OR, "resets": DRAGS, "moves": DRAGS}
VERDICTS = ("nothing", "restore", "foreign", "gone")


class Item(c.Structure):
    _fields_ = (
        ("written", c.c_uint32),
        *((name, c.c_bool) for name in _FLAGS),
        ("verdict", c.c_uint8),
        ("blockers", c.c_uint16),
    )


class Pair(c.Structure):
    _fields_ = (("source", c.c_uint16), ("target", c.c_uint16), ("kind", c.c_uint8))


def built(folder: Path) -> c.CDLL:
    """Compile the headers with every warning an error, and load them."""
    target = folder / "plan.so"
    source = str(HERE / "plan_so.c")
    flags = [*WARNINGS, *UBSAN, "-O1", "-g", "-fPIC", "-shared", f"-I{KMOD}"]
    subprocess.run([compiler() or "cc", *flags, source, "-o", str(target)], check=True)
    lib = c.CDLL(str(target))
    sizes = (c.c_size_t * 2).in_dll(lib, "sizes")
    assert list(sizes) == [c.sizeof(Item), c.sizeof(Pair)]
    return lib


def items_of(
    held: Mapping[str, Held], live: Mapping[str, Value | None], written: Sequence[str]
) -> c.Array[Item]:
    """What kt_restore.c tells the plan of the same knobs."""
    made = (Item * len(held))()
    for item, (key, knob) in zip(made, held.items(), strict=True):
        now, seen = live[key], knob.observed
        item.written = written.index(key) + 1 if key in written else 0
        item.readable = now is not None
        item.at_original = now == knob.original
        item.at_seen = seen is not None and now == seen
        item.touched = seen is not None
        item.changed = seen is not None and seen != knob.original
        item.pending, item.foreign = knob.pending, knob.foreign
        item.moves, item.no_zero = knob.kernel_moves, knob.zero_unwritable
        item.original_zero = knob.original == 0
        item.live_one = now == 1
        item.seen_zero = seen == 0
    return made


def pairs_of(held: Mapping[str, Held]) -> list[Pair]:
    """The couplings as the guardian tells them."""
    keys = list(held)
    return [
        Pair(keys.index(source), keys.index(target), KINDS[coupling.kind])
        for source, knob in held.items()
        for coupling in knob.couplings
        if coupling.kind in KINDS
        for target in keys
        if target != source and covers(coupling.keys, target)
    ]

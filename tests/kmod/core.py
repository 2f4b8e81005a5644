"""The module's pure headers, compiled for user space and called by ctypes."""

from __future__ import annotations

import ctypes as c
import shutil
import subprocess
from enum import IntEnum, IntFlag
from pathlib import Path

KMOD = Path(__file__).parents[2] / "kmod"
HERE = Path(__file__).parent
WARNINGS = ("-std=gnu11", "-Wall", "-Wextra", "-Werror")
UBSAN = ("-fsanitize=undefined", "-fno-sanitize-recover=undefined")

NODES, LEAVES, LEAF, NO_LEAF = 7, 4, 0x80, 0xFF
WINDOWS_MAX = 4096

Mode = IntEnum("Mode", "IDLE LEARNING COLLABORATION RECOMMENDATION EMERGENCY", start=0)
Event = IntEnum(
    "Event",
    "STARTED FINALISTS NO_FINALIST CONFIRMED WATCH REGRESSED POLICY_GONE TRIPPED FOREIGN CRITICAL "
    "CLEARED CLOSED EXPIRED LOST QUIET",
    start=0,
)
Do = IntFlag(
    "Do",
    "RESTORE INFEASIBLE WAIT_QUIET SEARCH CONFIRM LOCK_OUT RETURN VOID RESTART APPLY KEEP ALERT "
    "REFUSE END",
)
Write = IntEnum("Write", "RESTORE CANDIDATE POLICY HOLDBACK", start=0)
TreeFault = IntEnum(
    "TreeFault",
    "GOOD UNKNOWN_VERSION BAD_SIZE BAD_PACE BAD_PADDING BAD_REFERENCE TOO_DEEP LOOSE_END "
    "BAD_THRESHOLD BAD_FEATURE UNREACHABLE",
    start=0,
)
ScheduleFault = IntEnum(
    "ScheduleFault",
    "GOOD UNKNOWN_VERSION BAD_SIZE BAD_PACE BAD_SLOT BAD_PADDING ONE_SIDED",
    start=0,
)
Turn = IntEnum("Turn", "WAIT SWITCH OVER", start=0)
Stamped = IntFlag("Stamped", "LATE FAILED CUT")
Counter = IntEnum(
    "Counter",
    "cpu_all cpu_busy cpu_stalled_us memory_stalled_us io_stalled_us disk_reads disk_read_sectors "
    "disk_writes disk_write_sectors pgmajfault pgpgin packets net_bytes ctxt processes",
    start=0,
)


class Conduct(c.Structure):
    _fields_ = (("max_trips", c.c_uint32), ("stays", c.c_bool), ("reapplies", c.c_bool))


class State(c.Structure):
    _fields_ = (
        ("mode", c.c_int),
        ("trips", c.c_uint32),
        ("unguarded", c.c_bool),
        ("conduct", Conduct),
    )


class RawNode(c.Structure):
    _fields_ = (
        ("threshold", c.c_uint64),
        ("stay_then", c.c_uint64),
        ("stay_otherwise", c.c_uint64),
        ("feature", c.c_uint8),
        ("then", c.c_uint8),
        ("otherwise", c.c_uint8),
        ("pad", c.c_uint8 * 5),
    )


class RawTree(c.Structure):
    _fields_ = (
        ("version", c.c_uint32),
        ("sample_ms", c.c_uint32),
        ("dwell_ms", c.c_uint32),
        ("looks", c.c_uint32),
        ("nodes", c.c_uint8),
        ("leaves", c.c_uint8),
        ("root", c.c_uint8),
        ("first", c.c_uint8),
        ("keeps", c.c_uint8),
        ("pad", c.c_uint8 * 3),
        ("node", RawNode * NODES),
    )


class Node(c.Structure):
    _fields_ = (
        ("threshold", c.c_uint64),
        ("stay_then", c.c_uint64),
        ("stay_otherwise", c.c_uint64),
        ("feature", c.c_uint8),
        ("then", c.c_uint8),
        ("otherwise", c.c_uint8),
        ("under_then", c.c_uint8),
        ("under_otherwise", c.c_uint8),
    )


class Tree(c.Structure):
    _fields_ = (
        ("dwell_ns", c.c_uint64),
        ("sample_ms", c.c_uint32),
        ("looks", c.c_uint32),
        ("features", c.c_uint32),
        ("nodes", c.c_uint8),
        ("leaves", c.c_uint8),
        ("root", c.c_uint8),
        ("first", c.c_uint8),
        ("keeps", c.c_uint8),
        ("node", Node * NODES),
    )


class Choice(c.Structure):
    _fields_ = (
        ("since_ns", c.c_uint64),
        ("times", c.c_uint32),
        ("leaf", c.c_uint8),
        ("wanted", c.c_uint8),
        ("free", c.c_bool),
    )


class Reading(c.Structure):
    _fields_ = (("at_ns", c.c_uint64), ("value", c.c_uint64 * len(Counter)))


class RawSchedule(c.Structure):
    _fields_ = (
        ("version", c.c_uint32),
        ("windows", c.c_uint32),
        ("window_ms", c.c_uint32),
        ("slot", c.c_uint32),
        ("bits", c.c_uint64 * (WINDOWS_MAX // 64)),
    )


class Schedule(c.Structure):
    _fields_ = (
        ("window_ns", c.c_uint64),
        ("due_ns", c.c_uint64),
        ("windows", c.c_uint32),
        ("window", c.c_uint32),
        ("slot", c.c_uint32),
        ("started", c.c_bool),
        ("over", c.c_bool),
        ("bits", c.c_uint64 * (WINDOWS_MAX // 64)),
    )


class Stamp(c.Structure):
    _fields_ = (
        ("asked_ns", c.c_uint64),
        ("begun_ns", c.c_uint64),
        ("ended_ns", c.c_uint64),
        ("window", c.c_uint32),
        ("arm", c.c_uint8),
        ("flags", c.c_uint8),
        ("pad", c.c_uint8 * 2),
    )


_CHECKED = (State, Tree, Choice, Reading, Schedule, RawTree, RawSchedule, Stamp)
Found = c.c_uint64 * 14

_SIGNATURES: dict[str, tuple[object, ...]] = {
    "core_step": (c.POINTER(State), c.c_int, c.POINTER(c.c_uint32)),
    "core_may": (c.POINTER(State), c.c_int),
    "tree_check": (c.POINTER(RawTree), c.c_uint32, c.POINTER(Tree)),
    "tree_choose": (c.POINTER(Tree), Found, c.c_int),
    "tree_begin": (c.POINTER(Tree), c.POINTER(Choice)),
    "tree_follow": (c.POINTER(Tree), c.POINTER(Choice), Found, c.c_uint64),
    "features_between": (c.POINTER(Reading), c.POINTER(Reading), c.POINTER(c.c_uint64)),
    "features_of": (c.c_uint32,),
    "is_disk": (c.c_char_p, c.c_uint32),
    "lines_fed": (c.c_int, c.c_char_p, c.c_size_t, c.c_size_t, c.POINTER(c.c_uint64)),
    "schedule_check": (c.POINTER(RawSchedule), c.POINTER(Schedule)),
    "schedule_turn": (c.POINTER(Schedule), c.POINTER(Stamp), c.c_uint64),
    "schedule_began": (c.POINTER(Schedule), c.POINTER(Stamp), c.c_uint64, c.c_int),
    "schedule_cut": (c.POINTER(Schedule), c.POINTER(Stamp), c.c_uint64),
}


def compiler() -> str | None:
    """The C compiler, or None."""
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


def built(folder: Path) -> c.CDLL:
    """The shared object: warnings are errors, and undefined behaviour ends the process."""
    target = folder / "core.so"
    command = [compiler() or "cc", *WARNINGS, *UBSAN, "-O1", "-g", "-fPIC", "-shared"]
    subprocess.run(
        [*command, f"-I{KMOD}", "-o", str(target), str(HERE / "core_so.c")],
        check=True,
        timeout=60,
    )
    library = c.CDLL(str(target))
    for name, arguments in _SIGNATURES.items():
        getattr(library, name).argtypes = arguments
    sizes = (c.c_size_t * len(_CHECKED)).in_dll(library, "sizes")
    wrong = [
        kind.__name__ for kind, size in zip(_CHECKED, sizes, strict=True) if c.sizeof(kind) != size
    ]
    assert not wrong, f"another layout than in C: {wrong}"
    return library

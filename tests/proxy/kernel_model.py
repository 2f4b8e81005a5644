"""A small kernel for unit tests of ordering and restore: the couplings of the real one, no files.

Either-or pairs as mm/page-writeback.c, low <= high pairs as net/ipv4/ip_fragment.c, a scheduler
that resets its queue as block/elevator.c, a knob kept in units of four, one that the kernel moves.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable
from typing import Any

from ktune.kernel.tunable import Outcome, Tunable, WriteResult
from ktune.kernel.values import Value
from ktune.proxy.allowlist import Allowlist

RATIO, BYTES = "model.ratio", "model.bytes"
LOW, MIDDLE, HIGH = "model.low", "model.middle", "model.high"
SCHEDULER, DEPTH, BATCH = "model.scheduler", "model.depth", "model.batch"
ROUNDED, PLAIN, OTHER = "model.rounded", "model.plain", "model.other"
HUGE, RESERVE = "model.huge", "model.reserve"
KEYS = (
    *(RATIO, BYTES, LOW, MIDDLE, HIGH, SCHEDULER, DEPTH, BATCH),
    *(ROUNDED, PLAIN, OTHER, HUGE, RESERVE),
)
COUPLED: dict[str, tuple[str, ...]] = {
    RATIO: (BYTES,),
    BYTES: (RATIO,),
    LOW: (MIDDLE, HIGH),
    MIDDLE: (LOW, HIGH),
    HIGH: (MIDDLE, LOW),
    SCHEDULER: (DEPTH, BATCH),
    HUGE: (RESERVE,),
}
"""What an administrator's write of a knob may drag along."""
_COUPLINGS: dict[str, list[tuple[str, str]]] = {
    RATIO: [("either_or", BYTES)],
    BYTES: [("either_or", RATIO)],
    LOW: [("not_above", MIDDLE)],
    MIDDLE: [("not_below", LOW), ("not_above", HIGH)],
    HIGH: [("not_below", MIDDLE)],
    SCHEDULER: [("resets", DEPTH), ("resets", BATCH)],
    HUGE: [("moves", RESERVE)],
}
DEFAULT_DEPTH, DEFAULT_BATCH, MOVED_RESERVE = 128, 16, 555


class Killed(BaseException):
    """SIGKILL of the guardian, at one exact point."""


def allowlist() -> Allowlist:
    """The model's knobs as the guardian's list has them."""
    entries: list[dict[str, Any]] = [
        {
            "name": key,
            "kind": "sysctl",
            "type": "word" if key in (SCHEDULER, HUGE) else "int",
            "min": None if key in (SCHEDULER, HUGE) else 0,
            "max": None if key in (SCHEDULER, HUGE) else 1_000_000,
            "choices": None,
            "special": [],
            "length": None,
            "namespaced": False,
            "kernel_moves": key in (DEPTH, RESERVE),
            "kernel_rounds": key == ROUNDED,
            "zero_unwritable": key == BYTES,
            "couplings": [
                {"kind": kind, "keys": [other]} for kind, other in _COUPLINGS.get(key, [])
            ],
        }
        for key in KEYS
    ]
    return Allowlist(entries, {})


class ModelKernel:
    """Reads and writes like `KnobFiles`. Write number `kill_at` raises `Killed` before or after it
    took effect; the writes numbered in `refuse` fail with EIO."""

    def __init__(self, state: dict[str, Value]) -> None:
        self.state: dict[str, Value] = dict(state)
        self.writes = 0
        self.refuse: Callable[[int, str], bool] = lambda number, key: False
        self.kill_at: int | None = None
        self.kill_after = False
        self.log: list[tuple[str, Value]] = []

    def read(self, tunable: Tunable) -> Value | None:
        return self.state.get(tunable.key)

    def write(self, tunable: Tunable, value: Value, before: Value | None) -> WriteResult:
        key = tunable.key
        if before == value:
            return WriteResult(key, Outcome.UNCHANGED, before, value, before)
        self.writes += 1
        self.log.append((key, value))
        if self.writes == self.kill_at and not self.kill_after:
            raise Killed
        code = errno.EIO if self.refuse(self.writes, key) else self.set(key, value)
        if self.writes == self.kill_at:
            raise Killed
        observed = self.state.get(key)
        if code:
            outcome = Outcome.MISSING if code == errno.ENOENT else Outcome.REFUSED
            return WriteResult(key, outcome, before, value, observed, code)
        same = observed == value
        outcome = Outcome.APPLIED if same else Outcome.ROUNDED
        return WriteResult(key, outcome, before, value, observed)

    def set(self, key: str, value: Value) -> int:
        """What one write does, whoever writes. Returns an errno."""
        if key not in self.state:
            return errno.ENOENT
        wanted = {**self.state, key: value}
        if key == BYTES and value == 0:
            return errno.EINVAL
        if not _ordered(wanted[name] for name in (LOW, MIDDLE, HIGH)):
            return errno.EINVAL
        if key == ROUNDED and isinstance(value, int):
            wanted[key] = value // 4 * 4
        if wanted != self.state:
            self._drag_along(key, wanted)
        self.state = wanted
        return 0

    def _drag_along(self, key: str, wanted: dict[str, Value]) -> None:
        if key == RATIO:
            wanted[BYTES] = 0
        elif key == BYTES:
            wanted[RATIO] = 0
        elif key == SCHEDULER:
            wanted[DEPTH] = DEFAULT_DEPTH
            wanted.pop(BATCH, None)
            if wanted[key] == "deadline":
                wanted[BATCH] = DEFAULT_BATCH
        elif key == HUGE:
            wanted[RESERVE] = MOVED_RESERVE


def _ordered(values: Iterable[Value]) -> bool:
    numbers = [value for value in values if isinstance(value, int)]
    return numbers == sorted(numbers)

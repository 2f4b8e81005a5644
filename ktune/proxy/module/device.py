"""/dev/ktune: requests as kmod/uapi/ktune.h lays them out. Standard library only.

An open file is a session; closing it, however its process ends, has the kernel restore. This says
what was asked and answered; what it means is kmod/ABI.md's.
"""

from __future__ import annotations

import fcntl
import os
import struct
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag

from ktune.kernel.values import ValueType

DEVICE = "/dev/ktune"
ABI = 1
NAME_MAX = 160
TEXT_MAX = 256
KNOBS_MAX = 256
COUPLES_MAX = 1024
ELEMENTS_MAX = 8
SPECIALS_MAX = 8

_INFO = struct.Struct("=II8Q32s4Q")
_ADD = struct.Struct(f"={NAME_MAX}s4I8q8qq8q{TEXT_MAX}s2I{TEXT_MAX}s4Q")
_COUPLE = struct.Struct("=4I")
_LEASE = struct.Struct("=4Q")
_ITEM = struct.Struct(f"=IIiI{TEXT_MAX}s")
_SET = struct.Struct("=4I3Q")
_KEEP = struct.Struct("=I")
_KNOB = struct.Struct(f"=IIiI{NAME_MAX}s{TEXT_MAX}s{TEXT_MAX}s{TEXT_MAX}s{TEXT_MAX}s2Q")
_RESULT = struct.Struct(f"=Q10I2Q{NAME_MAX}s4Q")


def _request(direction: int, number: int, size: int) -> int:
    """The number of an ioctl (include/uapi/asm-generic/ioctl.h)."""
    return direction << 30 | size << 16 | 0xBA << 8 | number


_OUT, _IN, _BOTH = 2, 1, 3
IOC_INFO = _request(_OUT, 0, _INFO.size)
IOC_ADD = _request(_BOTH, 1, _ADD.size)
IOC_COUPLE = _request(_IN, 2, _COUPLE.size)
IOC_BEGIN = _request(_BOTH, 3, _LEASE.size)
IOC_RENEW = _request(_BOTH, 4, _LEASE.size)
IOC_APPLY = _request(_BOTH, 5, _SET.size)
IOC_STAGE = _request(_IN, 6, _SET.size)
IOC_SWITCH = _request(_BOTH, 7, _SET.size)
IOC_KEEP = _request(_IN, 8, _KEEP.size)
IOC_KNOB = _request(_BOTH, 9, _KNOB.size)
IOC_COMMIT = _request(0, 10, 0)
IOC_RELEASE = _request(_OUT, 11, _RESULT.size)
IOC_RESULT = _request(_BOTH, 12, _RESULT.size)

TYPES = {
    ValueType.INT: 1,
    ValueType.VECTOR: 2,
    ValueType.CHOICE: 3,
    ValueType.WORD: 4,
    ValueType.SWITCH: 5,
    ValueType.BITMAP: 6,
    ValueType.STRING: 7,
}


class State(IntEnum):
    """Of a session."""

    NEW = 0
    LEASED = 1
    RESTORING = 2
    RESTORED = 3
    COMMITTED = 4
    FAILED = 5


class Reason(IntEnum):
    """Why a session was restored."""

    NOBODY = 0
    RELEASE = 1
    CLOSE = 2
    DEADLINE = 3
    EMERGENCY = 4


class Done(IntEnum):
    """What became of one knob at a write or at the restore."""

    NOTHING = 0
    APPLIED = 1
    UNCHANGED = 2
    OTHERWISE = 3
    REFUSED = 4
    FOREIGN = 5
    GONE = 6
    NOT_TRIED = 7


class Couple(IntEnum):
    """How two knobs of a session hang together."""

    EITHER_OR = 1
    DRAGS = 2


class RuleFlag(IntFlag):
    """What the kernel's allow-list knows of a knob."""

    MOVES = 1
    NO_ZERO = 2


@dataclass(frozen=True)
class Info:
    """The module and this session."""

    abi: int
    rules: int
    session: int
    sessions: int
    applied: int
    refused: int
    restored: int
    foreign: int
    failed: int
    expired: int
    version: str


@dataclass(frozen=True)
class KernelLimits:
    """Limits that the kernel enforces beside its own: one pair for all elements or one for each."""

    least: tuple[int, ...] = ()
    most: tuple[int, ...] = ()
    step: int = 0
    special: tuple[int, ...] = ()
    choices: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class Added:
    """A knob of the session, with its original as the kernel's canonical text."""

    index: int
    flags: RuleFlag
    original: str


@dataclass(frozen=True)
class Written:
    """One item of a set: `errno` positive or None; `text` is what the knob reads now."""

    index: int
    done: Done
    errno: int | None
    text: str


@dataclass(frozen=True)
class KnobNow:
    """One knob; texts are empty where nothing was read."""

    index: int
    done: Done
    errno: int | None
    foreign: bool
    name: str
    original: str
    seen: str
    before: str
    live: str


@dataclass(frozen=True)
class Result:
    """What a session's restore did."""

    session: int
    state: State
    reason: Reason
    knobs: int
    restored: int
    unchanged: int
    foreign: int
    gone: int
    failed: int
    attempts_refused: int
    rounds: int
    took_ns: int
    ended_ns: int
    first_failed: str


class Device:
    """One session. Every method raises OSError with the errno of kmod/ABI.md."""

    def __init__(self, path: str = DEVICE) -> None:
        self.fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def close(self) -> None:
        """End the session: what is not committed goes back."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def info(self) -> Info:
        """The module's version and counters."""
        *numbers, version = _INFO.unpack(self._ask(IOC_INFO, bytes(_INFO.size)))[:11]
        return Info(*(*numbers, _text(version)))

    def add(
        self,
        name: str,
        kind: ValueType,
        limits: KernelLimits | None = None,
        *,
        watch: bool = False,
    ) -> Added:
        """Add a knob; `watch` keeps its original without the right to set it."""
        limits = limits or KernelLimits()
        raw = _ADD.pack(
            _bytes(name, NAME_MAX),
            TYPES[kind],
            int(watch),
            len(limits.least),
            len(limits.special),
            *_padded(limits.least, ELEMENTS_MAX),
            *_padded(limits.most, ELEMENTS_MAX),
            limits.step,
            *_padded(limits.special, SPECIALS_MAX),
            _bytes(" ".join(limits.choices), TEXT_MAX),
            0,
            0,
            b"",
            *(0,) * 4,
        )
        answer = _ADD.unpack(self._ask(IOC_ADD, raw))
        index, flags, original = answer[-7:-4]
        return Added(index, RuleFlag(flags), _text(original))

    def couple(self, kind: Couple, source: int, target: int) -> None:
        """Writing `source` zeroes (either-or) or resets `target`."""
        self._ask(IOC_COUPLE, _COUPLE.pack(kind, source, target, 0))

    def begin(self, lasts_s: float) -> None:
        """From here on the session is a lease: `lasts_s` seconds of CLOCK_BOOTTIME."""
        self._ask(IOC_BEGIN, _LEASE.pack(int(lasts_s * 1e9), 0, 0, 0))

    def renew(self, lasts_s: float) -> None:
        """Move the deadline to `lasts_s` seconds from now."""
        self._ask(IOC_RENEW, _LEASE.pack(int(lasts_s * 1e9), 0, 0, 0))

    def apply(self, items: Sequence[tuple[int, str]]) -> tuple[Written, ...]:
        """Write texts by index, in this order."""
        count = len(items)
        buffer = _items(items)
        self._ask(IOC_APPLY, _SET.pack(count, 0, 0, 0, _address(buffer), 0, 0))
        raw = buffer.tobytes()
        rows = (_ITEM.unpack_from(raw, at * _ITEM.size) for at in range(count))
        return tuple(
            Written(index, Done(done), _errno(error), _text(text))
            for index, done, error, _, text in rows
        )

    def stage(self, slot: int, items: Sequence[tuple[int, str]]) -> None:
        """Keep an assignment in the kernel; slot 0 is the baseline and can't be set."""
        buffer = _items(items)
        self._ask(IOC_STAGE, _SET.pack(len(items), slot, 0, 0, _address(buffer), 0, 0))

    def switch(self, slot: int) -> None:
        """Put a staged assignment in force, and the originals of what it does not name."""
        self._ask(IOC_SWITCH, _SET.pack(0, slot, 0, 0, 0, 0, 0))

    def keep(self, index: int) -> None:
        """Somebody else wrote this knob: leave it alone from here on."""
        self._ask(IOC_KEEP, _KEEP.pack(index))

    def knob(self, index: int) -> KnobNow:
        """One knob as the kernel knows it."""
        raw = self._ask(IOC_KNOB, _KNOB.pack(index, 0, 0, 0, b"", b"", b"", b"", b"", 0, 0))
        at, done, error, foreign, *texts = _KNOB.unpack(raw)[:9]
        return KnobNow(at, Done(done), _errno(error), bool(foreign), *map(_text, texts))

    def commit(self) -> None:
        """What is applied stays when the file closes."""
        self._ask(IOC_COMMIT, b"")

    def release(self) -> Result:
        """Have the kernel restore now; returns when its first round is over."""
        return _result(self._ask(IOC_RELEASE, bytes(_RESULT.size)))

    def result(self, session: int = 0) -> Result:
        """The result of this session (0) or of a recent one."""
        asked = _RESULT.pack(session, *(0,) * 12, b"", *(0,) * 4)
        return _result(self._ask(IOC_RESULT, asked))

    def _ask(self, request: int, raw: bytes) -> bytes:
        buffer = bytearray(raw)
        fcntl.ioctl(self.fd, request, buffer)
        return bytes(buffer)


def _items(items: Sequence[tuple[int, str]]) -> array[int]:
    raw = b"".join(_ITEM.pack(index, 0, 0, 0, _bytes(text, TEXT_MAX)) for index, text in items)
    return array("B", raw)


def _address(buffer: array[int]) -> int:
    return buffer.buffer_info()[0]


def _padded(numbers: Sequence[int], length: int) -> tuple[int, ...]:
    if len(numbers) > length:
        raise ValueError(f"the kernel takes {length} numbers, not {len(numbers)}")
    return (*numbers, *(0,) * (length - len(numbers)))


def _bytes(text: str, size: int) -> bytes:
    raw = text.encode()
    if len(raw) >= size or b"\0" in raw:
        raise ValueError(f"{text!r}: the kernel takes texts of up to {size - 1} bytes")
    return raw


def _text(raw: bytes) -> str:
    return raw.partition(b"\0")[0].decode("utf-8", "replace")


def _errno(error: int) -> int | None:
    return -error or None


def _result(raw: bytes) -> Result:
    session, state, reason, *numbers, failed = _RESULT.unpack(raw)[:14]
    return Result(session, State(state), Reason(reason), *(*numbers, _text(failed)))

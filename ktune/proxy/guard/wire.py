"""Rules and events as kernel/bpf/programs/guard.bpf.h lays them out. Standard library only."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

NAME_BYTES = 64
TEXT_BYTES = 64
"""The longest value that the guard can judge has one byte less."""
NUMBERS = 8
"""The longest vector."""

_RULE = struct.Struct(f"<4IQ{NUMBERS}q{NUMBERS}q")
_EXACT_NUMBERS = struct.Struct(f"<2I{NUMBERS}q")
_EXACT_WORD = struct.Struct(f"<2I{TEXT_BYTES}s")
_COUNTERS = struct.Struct("<7Q")
_EVENT = struct.Struct(f"<2Q4I16s{NAME_BYTES}s{TEXT_BYTES}s{TEXT_BYTES}s")
_INTRODUCTION = struct.Struct("<Q2I")
_OWN = struct.Struct("<I")

SIZES = {
    "rules": (NAME_BYTES, _RULE.size),
    "exact": (_EXACT_WORD.size, 4),
    "counters": (NAME_BYTES, _COUNTERS.size),
    "last": (NAME_BYTES, _EVENT.size),
    "own": (_OWN.size, 4),
    "introductions": (4, _INTRODUCTION.size),
}
"""Key and value bytes of each map; a test compares them with the object's."""
KERNEL_THREADS = 0
"""In `own`, in the place of a pid: every kernel thread."""


class Action(IntEnum):
    """What becomes of a write outside the limits."""

    DENY = 0
    CLAMP = 1
    AUDIT = 2


class Kind(IntEnum):
    """How a value is judged."""

    ANY = 0
    RANGE = 1
    WORDS = 2


class Verdict(IntEnum):
    """What the guard did with a write."""

    ALLOWED = 0
    DENIED = 1
    CLAMPED = 2
    AUDITED = 3
    """Outside the limits and passed, as the rule says."""
    SEEN = 4
    """By the auditing program: somebody who is not ktune wrote a watched knob."""


@dataclass(frozen=True)
class GuardRule:
    """One knob. `name` is what the kernel calls it (`net/ipv4/tcp_rmem`).

    `low`, `high`: one number for each element of the vector, one alone for an integer. `exact`
    values (number vectors or words) pass wherever they lie: the journaled original, special
    values, choices. `netns`: cookie of the namespace that the rule is about, 0 for all.
    """

    name: str
    action: Action
    kind: Kind
    low: tuple[int, ...] = ()
    high: tuple[int, ...] = ()
    exact: tuple[tuple[int, ...] | str, ...] = ()
    netns: int = 0


@dataclass(frozen=True)
class Counters:
    """What has happened to writes of one knob since the guard was attached."""

    allowed: int = 0
    denied: int = 0
    clamped: int = 0
    audited: int = 0
    seen: int = 0
    unparsed: int = 0
    lost: int = 0
    """Events that the ring buffer had no room for; the writes were judged all the same."""


@dataclass(frozen=True)
class GuardEvent:
    """One write of a watched knob that is worth telling.

    `time_s`: CLOCK_BOOTTIME. `pid`: as the initial pid namespace counts. `netns`: cookie of the
    writer's network namespace, None where it could not be had. `old` and `new` are texts.
    """

    time_s: float
    pid: int
    comm: str
    uid: int
    knob: str
    old: str
    new: str
    verdict: Verdict
    unparsed: bool
    netns: int | None


def encode_name(name: str) -> bytes:
    """Key of `rules`, `counters`, `last`. Raises ValueError: too long for the guard."""
    raw = name.encode()
    if len(raw) >= NAME_BYTES:
        raise ValueError(f"{name} is too long a name for the guard")
    return raw.ljust(NAME_BYTES, b"\0")


def encode_rule(rule: GuardRule, number: int) -> bytes:
    """Value of `rules`; `number` ties `exact` values to it."""
    fill = (0,) * (NUMBERS - len(rule.low))
    return _RULE.pack(
        number,
        rule.action,
        rule.kind,
        len(rule.low),
        rule.netns,
        *rule.low,
        *fill,
        *rule.high,
        *fill,
    )


def encode_own(pid: int) -> bytes:
    """Key (and value) of `own`."""
    return _OWN.pack(pid)


def decode_own(raw: bytes) -> int:
    """The pid in a key of `own`."""
    return int(_OWN.unpack(raw)[0])


def encode_exact(value: tuple[int, ...] | str, number: int) -> bytes:
    """Key of `exact`. Raises ValueError: the word is too long for the guard."""
    if isinstance(value, str):
        raw = value.encode()
        if len(raw) >= TEXT_BYTES:
            raise ValueError(f"{value!r} is too long a word for the guard")
        return _EXACT_WORD.pack(number, 0, raw)
    return _EXACT_NUMBERS.pack(number, 0, *value, *(0,) * (NUMBERS - len(value)))


def decode_counters(raw: bytes) -> Counters:
    """Value of `counters`."""
    return Counters(*_COUNTERS.unpack(raw))


NO_COUNTERS = _COUNTERS.pack(*(0,) * 7)


def decode_event(raw: bytes) -> GuardEvent:
    """A sample of the ring buffer, or a value of `last`."""
    time_ns, netns, pid, uid, verdict, unparsed, comm, knob, old, new = _EVENT.unpack(
        raw[: _EVENT.size]
    )
    return GuardEvent(
        time_s=time_ns / 1e9,
        pid=pid,
        comm=_text(comm),
        uid=uid,
        knob=_text(knob),
        old=_text(old).strip(),
        new=_text(new).strip(),
        verdict=Verdict(verdict),
        unparsed=bool(unparsed),
        netns=netns or None,
    )


def encode_introduction(position: int) -> bytes:
    """Value of `introductions`: who reads at `position` is us."""
    return _INTRODUCTION.pack(position, 0, 0)


def introduced_pid(raw: bytes) -> int:
    """The pid found in `introductions`, 0 when nobody has come by."""
    return int(_INTRODUCTION.unpack(raw)[1])


def _text(raw: bytes) -> str:
    return raw.partition(b"\0")[0].decode("utf-8", "replace")

"""The journal of one lease: what was there before, what was meant, what was seen.

One JSON record a line with a checksum, appended to a file of mode 0600. The originals are on disk
(fsync) before the first write, each intent before its writes; read-backs are appended without
fsync: they must survive the death of a process, which the page cache does, and a death of the
machine resets the knobs anyway. Standard library only.

Reading treats the file as hostile: owner, mode, size, shape and every key are checked.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from ktune.kernel.values import Value
from ktune.proxy.allowlist import Allowlist, Rule
from ktune.proxy.backends import Standing
from ktune.proxy.model import Json, ProxyError, value_from_json, value_to_json
from ktune.proxy.planner import Held

FORMAT = 1
MAX_BYTES = 16 * 1024 * 1024
SUFFIX = ".journal"


class JournalStatus(StrEnum):
    """How a journal ended."""

    OPEN = "open"
    """Not closed: its writes may still be applied."""
    COMMITTED = "committed"
    CLOSED = "closed"


class JournalError(Exception):
    """The file can't be trusted or understood; nothing is written on its word."""


@dataclass(frozen=True)
class Header:
    """Whose journal it is."""

    run_id: str
    boot_id: str
    scope: str
    """`host` or `netns`."""
    netns_cookie: int
    netns: str | None
    userns: str | None
    uid: int
    client_pid: int
    who: str
    why: str
    started_at: str

    def to_json(self) -> Json:
        return {"type": "open", "format": FORMAT, **self.__dict__}


@dataclass
class JournalState:
    """A journal read back: enough to restore."""

    header: Header
    held: dict[str, Held] = field(default_factory=dict)
    written: list[str] = field(default_factory=list)
    status: JournalStatus = JournalStatus.OPEN
    note: dict[str, str] = field(default_factory=dict)
    standing: Standing = field(default_factory=Standing)
    """By which way its writes went."""
    scheduled: int = 0
    """Pairs between which the kernel switches now."""
    adapts: bool = False
    """The kernel follows a tree for it."""
    damaged: bool = False
    """The tail is missing or unreadable: every knob counts as an unacknowledged intent."""


def encode(record: Json) -> bytes:
    """One line: checksum, blank, JSON."""
    body = json.dumps(record, separators=(",", ":"), ensure_ascii=True)
    return f"{zlib.crc32(body.encode()):08x} {body}\n".encode()


def decode(line: bytes) -> Json | None:
    """The record of one line, None when it is damaged."""
    head, _, body = line.partition(b" ")
    try:
        if int(head, 16) != zlib.crc32(body):
            return None
        record = json.loads(body)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def original_record(held: dict[str, Held], leased: set[str]) -> Json:
    """The originals of the set and of everything coupled with it."""
    return {
        "type": "originals",
        "knobs": [
            {
                "key": key,
                "kind": item.tunable.type.value,
                "original": value_to_json(item.original),
                "leased": key in leased,
            }
            for key, item in held.items()
        ],
    }


def intent_record(targets: dict[str, Value], why: str) -> Json:
    """What is about to be written."""
    return {
        "type": "intent",
        "why": why,
        "values": {key: value_to_json(value) for key, value in targets.items()},
    }


def schedule_record(
    values: Mapping[str, Value],
    candidate_first: Sequence[bool] = (),
    window_s: float = 0.0,
    why: str = "",
) -> Json:
    """The kernel switches from here on between the originals and `values`, by these coins; none:
    no more."""
    return {
        "type": "schedule",
        "why": why,
        "coins": "".join("1" if first else "0" for first in candidate_first),
        "window_s": window_s,
        "values": {key: value_to_json(value) for key, value in values.items()},
    }


def tree_record(values: dict[str, list[Value]]) -> Json:
    """What the kernel may put in force by itself from here on."""
    return {
        "type": "tree",
        "values": {key: [value_to_json(item) for item in items] for key, items in values.items()},
    }


def observed_record(values: dict[str, Value | None], *, wrote: str | None) -> Json:
    """What was read back after `wrote` was written, or (None) after the whole intent. Values of
    other knobs are what was dragged along: they acknowledge nothing."""
    return {
        "type": "observed",
        "wrote": wrote,
        "values": {key: value_to_json(value) for key, value in values.items() if value is not None},
    }


def load(path: str, allowlist: Allowlist, *, owner_uid: int) -> JournalState:
    """Read a journal of `owner_uid`.

    Raises:
        JournalError: foreign owner, readable by others, too large, not a journal, or naming a knob
            outside the tunable set.
    """
    data = _read_checked(path, owner_uid)
    records = list(_records(data))
    if not records or records[0] is None or records[0].get("type") != "open":
        raise JournalError(f"{path}: not a ktune journal")
    state = JournalState(header=_header(path, records[0]))
    for record in records[1:]:
        if record is None:
            state.damaged = True
            break
        try:
            _replay(state, record, allowlist)
        except ProxyError as error:
            raise JournalError(f"{path}: {error}") from error
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise JournalError(f"{path}: malformed record ({error})") from error
    if state.damaged and state.status is JournalStatus.OPEN:
        for item in state.held.values():
            item.pending = True
    return state


def is_held(path: str) -> bool:
    """A living guardian holds this journal (its lock). Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _read_checked(path: str, owner_uid: int) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise JournalError(f"{path}: {error.strerror}") from error
    try:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode):
            raise JournalError(f"{path}: not a regular file")
        if info.st_uid != owner_uid:
            raise JournalError(f"{path}: owned by uid {info.st_uid}, not by uid {owner_uid}")
        if info.st_mode & 0o077:
            raise JournalError(f"{path}: open to others (mode {info.st_mode & 0o777:o}, not 600)")
        if info.st_size > MAX_BYTES:
            raise JournalError(f"{path}: {info.st_size} bytes is no journal")
        with os.fdopen(os.dup(fd), "rb") as file:
            return file.read(MAX_BYTES)
    finally:
        os.close(fd)


def _records(data: bytes) -> Iterator[Json | None]:
    lines = data.split(b"\n")
    for line in lines[:-1]:
        yield decode(line)
    if lines[-1]:
        yield None  # no line end: cut off in the middle


def _header(path: str, raw: Json) -> Header:
    if raw.get("format") != FORMAT:
        raise JournalError(f"{path}: journal format {raw.get('format')!r}, expected {FORMAT}")
    try:
        return Header(
            run_id=str(raw["run_id"]),
            boot_id=str(raw["boot_id"]),
            scope=str(raw["scope"]),
            netns_cookie=int(raw["netns_cookie"]),
            netns=_optional(raw["netns"]),
            userns=_optional(raw["userns"]),
            uid=int(raw["uid"]),
            client_pid=int(raw["client_pid"]),
            who=str(raw["who"]),
            why=str(raw["why"]),
            started_at=str(raw["started_at"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise JournalError(f"{path}: malformed header ({error})") from error


def _optional(raw: Any) -> str | None:
    return None if raw is None else str(raw)


def _replay(state: JournalState, record: Json, allowlist: Allowlist) -> None:
    match record["type"]:
        case "originals":
            for raw in record["knobs"]:
                _hold(state, raw, allowlist)
        case "intent":
            for key in record["values"]:
                item = state.held[key]
                item.pending = True
                if key not in state.written:
                    state.written.append(key)
        case "observed":
            for key, raw in record["values"].items():
                item = state.held[key]
                item.observed = value_from_json(item.tunable.type, raw)
                if record["wrote"] in (key, None):
                    item.pending = False
        case "tree":
            state.adapts = True
            for key, raws in record["values"].items():
                item = state.held[key]
                item.also = tuple(value_from_json(item.tunable.type, raw) for raw in raws)
                if key not in state.written:
                    state.written.append(key)
        case "foreign":
            state.held[record["key"]].foreign = True
        case "schedule":
            state.scheduled = len(record["coins"])
            for item in state.held.values():
                item.also = ()
            for key, raw in record.get("values", {}).items():
                item = state.held[key]
                item.also = (value_from_json(item.tunable.type, raw),)
                if key not in state.written:
                    state.written.append(key)
        case "proxy":
            state.standing = Standing.from_json(record["standing"])
        case "committed":
            state.status = JournalStatus.COMMITTED
            state.note = {str(key): str(value) for key, value in record["note"].items()}
        case "closed":
            state.status = JournalStatus.CLOSED
        case _:
            pass  # a record for people (restored, refused): nothing to replay


def _hold(state: JournalState, raw: Json, allowlist: Allowlist) -> None:
    rule = allowlist.rule(str(raw["key"]))
    if raw["kind"] != rule.tunable.type.value:
        raise ProxyError("bad-value", f"{rule.tunable.key}: type {raw['kind']!r} in the journal")
    if state.header.scope == "netns" and not rule.namespaced:
        raise ProxyError("not-allowed", f"{rule.tunable.key} does not belong to a namespace")
    state.held[rule.tunable.key] = held_of(
        rule, value_from_json(rule.tunable.type, raw["original"])
    )


def held_of(rule: Rule, original: Value) -> Held:
    """The record of one knob of the list with its original."""
    return Held(
        tunable=rule.tunable,
        original=original,
        kernel_moves=rule.kernel_moves,
        zero_unwritable=rule.zero_unwritable,
        couplings=rule.couplings,
    )

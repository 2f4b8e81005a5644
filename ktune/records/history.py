"""Who changed what, when, why, and how to undo it: `history.jsonl`. Standard library only.

Append-only, one object a line; a torn last line is dropped by the next writer.
"""

from __future__ import annotations

import json
import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from ktune.kernel.values import Value
from ktune.proxy.folders import private_folder
from ktune.records import atomic, clock
from ktune.records.codec import RecordError, decode, encode
from ktune.records.paths import StatePaths


class Action(StrEnum):
    """What was done."""

    APPLY = "apply"
    ROLLBACK = "rollback"
    RECOVER = "recover"
    TUNE = "tune"
    APPROVE = "approve"
    REVOKE = "revoke"


@dataclass(frozen=True)
class Actor:
    """Who: the effective user, and who stood behind sudo."""

    uid: int
    user: str
    sudo_user: str = ""

    def __str__(self) -> str:
        return f"{self.user} (for {self.sudo_user})" if self.sudo_user else self.user


@dataclass(frozen=True)
class Change:
    """One knob: what it was, what it became (None: could not be read)."""

    key: str
    before: Value | None
    after: Value | None


@dataclass(frozen=True)
class HistoryEntry:
    """One line of the history."""

    at: str
    who: Actor
    what: Action
    why: str
    subject: str
    """The policy or the study, by name."""
    scope: str
    changes: tuple[Change, ...] = ()
    undo: str = ""
    """The command that undoes it; empty when there is nothing to undo."""
    notes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class HistoryLog:
    """What could be read of the history; damaged lines are counted, never fatal here:
    the history informs, nothing is decided by it."""

    entries: tuple[HistoryEntry, ...]
    damaged: int = 0


def actor() -> Actor:
    """Who runs this process. `SUDO_USER` is a claim of the environment, recorded as such."""
    uid = os.geteuid()
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = f"uid {uid}"
    return Actor(uid, user, os.environ.get("SUDO_USER", "")[:64])


def record(
    paths: StatePaths,
    what: Action,
    *,
    why: str,
    subject: str,
    scope: str,
    changes: tuple[Change, ...] = (),
    undo: str = "",
    notes: Mapping[str, str] | None = None,
) -> HistoryEntry:
    """Add one entry, durably. Raises OSError."""
    entry = HistoryEntry(
        clock.now(), actor(), what, why, subject, scope, changes, undo, dict(notes or {})
    )
    private_folder(paths.state)
    atomic.append_line(paths.history, json.dumps(encode(entry), separators=(",", ":")))
    return entry


def read(paths: StatePaths) -> HistoryLog:
    """The whole history, oldest first."""
    try:
        lines = paths.history.read_bytes().split(b"\n")
    except FileNotFoundError:
        return HistoryLog(())
    entries: list[HistoryEntry] = []
    damaged = 0
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        try:
            data = json.loads(line)
            entries.append(decode(HistoryEntry, data, f"{paths.history}:{number}"))
        except (ValueError, RecursionError, RecordError):
            damaged += 1
    return HistoryLog(tuple(entries), damaged)

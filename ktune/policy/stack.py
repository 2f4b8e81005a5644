"""The policies in force: a stack of small files. Standard library only (`status` reads it).

An entry is written as `pending` before the lease is committed and as `in_force` after: whoever
dies in between leaves enough to tell which of the two it is (`settle`, from the journal).
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from ktune.kernel.tunable import Assignment, Tunable
from ktune.kernel.values import Value, ValueType
from ktune.policy.scope import ScopeIdentity
from ktune.proxy.folders import private_folder
from ktune.records import atomic
from ktune.records.codec import RecordError, decode, encode
from ktune.records.paths import StatePaths

_FILE = re.compile(r"([0-9]{3,6})-[A-Za-z0-9._@-]+\.json\Z")
_MAX_BYTES = 1 << 20


class EntryState(StrEnum):
    """How far the apply came."""

    PENDING = "pending"
    """Applied, not committed: its guardian restores when the apply dies."""
    IN_FORCE = "in_force"


@dataclass(frozen=True)
class StackKnob:
    """One knob: what it was, what the policy made of it."""

    key: str
    path: str
    type: ValueType
    original: Value
    applied: Value
    """As read back: the kernel may have rounded."""
    kernel_moves: bool = False

    @property
    def tunable(self) -> Tunable:
        return Tunable(self.key, self.path, self.type)


@dataclass(frozen=True)
class StackEntry:
    """One policy in force."""

    number: int
    name: str
    serial: int
    digest: str
    state: EntryState
    applied_at: str
    who: str
    scope: ScopeIdentity
    journal: str
    """The lease's journal: what a rollback restores from."""
    knobs: tuple[StackKnob, ...]
    guard: str = "audit"
    """What its policy asks for."""
    guard_why: str = ""
    """Why there is no guard in the kernel, or not for all its knobs; empty: all is guarded."""
    source: str = ""
    """The policy file."""

    @property
    def file_name(self) -> str:
        return f"{self.number:03d}-{self.name}.json"

    @property
    def originals(self) -> Assignment:
        return {knob.key: knob.original for knob in self.knobs}


@dataclass(frozen=True)
class UnreadableEntry:
    """A file of the stack that can't be understood; a rollback stops at it."""

    path: str
    reason: str


def read(paths: StatePaths) -> list[StackEntry | UnreadableEntry]:
    """The stack, oldest first."""
    return list(_entries(paths.policies))


def readable(paths: StatePaths) -> list[StackEntry]:
    """The stack without what can't be read."""
    return [entry for entry in read(paths) if isinstance(entry, StackEntry)]


def next_number(paths: StatePaths) -> int:
    """The number of the next entry."""
    return max((number for number, _ in _files(paths.policies)), default=0) + 1


def write(paths: StatePaths, entry: StackEntry) -> None:
    """Write or replace an entry, durably. Raises OSError."""
    private_folder(paths.policies)
    atomic.write_json(paths.policies / entry.file_name, encode(entry))


def mark_in_force(paths: StatePaths, entry: StackEntry) -> StackEntry:
    """The lease is committed. Raises OSError."""
    done = dataclasses.replace(entry, state=EntryState.IN_FORCE)
    write(paths, done)
    return done


def remove(paths: StatePaths, entry: StackEntry) -> None:
    """Forget an entry, durably. Raises OSError."""
    atomic.remove(paths.policies / entry.file_name)


def effective(entries: Iterable[StackEntry]) -> Iterator[tuple[StackEntry, tuple[StackKnob, ...]]]:
    """Each entry with the knobs that it decides: a later entry of the same scope hides earlier
    ones' values."""
    ordered = list(entries)
    decided: set[tuple[str, int, str]] = set()
    found = []
    for entry in reversed(ordered):
        where = (entry.scope.boot_id, entry.scope.cookie)
        own = tuple(knob for knob in entry.knobs if (*where, knob.key) not in decided)
        decided |= {(*where, knob.key) for knob in entry.knobs}
        found.append((entry, own))
    return reversed(found)


def _entries(folder: Path) -> Iterator[StackEntry | UnreadableEntry]:
    for number, name in _files(folder):
        path = folder / name
        try:
            if path.stat().st_size > _MAX_BYTES:
                raise RecordError(f"larger than {_MAX_BYTES >> 20} MiB")
            entry = decode(StackEntry, json.loads(path.read_bytes()), name)
            if entry.number != number or entry.file_name != name:
                raise RecordError("its name and its content differ")
        except (OSError, ValueError, RecursionError, RecordError) as error:
            yield UnreadableEntry(str(path), str(error))
        else:
            yield entry


def _files(folder: Path) -> list[tuple[int, str]]:
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    return sorted((int(match[1]), name) for name in names if (match := _FILE.match(name)))

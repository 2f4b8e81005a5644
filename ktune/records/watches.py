"""What a `watch` keeps: one folder per policy and scope, `watches/<id>/`. Standard library only.

`watch.json` is replaced after every change, so that a watcher that dies goes on where it was;
`pairs.jsonl` and `modes.jsonl` only grow.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ktune.proxy.folders import private_folder
from ktune.records import atomic, clock
from ktune.records.codec import RecordError, encode
from ktune.records.paths import StatePaths
from ktune.records.stored import read_record
from ktune.records.types import Runner

_STATE, _PAIRS = "watch.json", "pairs.jsonl"
_KEPT_ALERTS = 20


@dataclass(frozen=True)
class Alert:
    """Something a person should know."""

    at: str
    text: str


@dataclass(frozen=True)
class WatchRecord:
    """Where a watch stands. `guarding` is the tests' state (`modes.watch.guarding`)."""

    id: str
    policy: str
    serial: int
    digest: str
    scope: str
    boot_id: str
    kernel: str
    mode: str
    since: str
    """Of the mode and phase."""
    reason: str
    seed: int
    phase: str = ""
    paused: bool = False
    evidence: tuple[str, ...] = ()
    """The tests so far, for people."""
    guarding: Mapping[str, Any] = field(default_factory=dict)
    pairs: int = 0
    """Measured pairs over the whole watch."""
    baseline_s: float = 0.0
    """Time spent on the baseline in holdback windows."""
    watched_s: float = 0.0
    last_pair_at: str = ""
    on_death: str = "stay"
    alerts: tuple[Alert, ...] = ()
    leaf: str = ""
    """Of an adaptive policy: the assignment in force."""
    leaf_since: str = ""
    switches: int = 0
    """Between leaves, over the whole watch."""
    decided_by: str = ""
    """Who chooses among the leaves: `kernel`, or `ktune watch (why)`."""
    leaves: tuple[str, ...] = ()
    """By their number in the kernel."""
    runner: Runner | None = None

    @property
    def watching(self) -> bool:
        """Does its watcher live?"""
        return self.runner is not None and clock.alive(self.runner)

    @property
    def settled(self) -> bool:
        """Probation passed, and the policy not taken back since."""
        return (self.mode, self.phase) == ("recommendation", "steady")

    def with_alert(self, text: str) -> WatchRecord:
        """The last few are kept."""
        alerts = (*self.alerts, Alert(clock.now(), text))[-_KEPT_ALERTS:]
        return dataclasses.replace(self, alerts=alerts)


def watch_id(policy: str, digest: str, cookie: int) -> str:
    """The same policy in the same scope is the same watch."""
    where = f"netns-{cookie}" if cookie else "host"
    return f"{policy}-{digest.removeprefix('sha256:')[:12]}-{where}"


def watch_folder(paths: StatePaths, name: str) -> Path:
    """Made when it is missing. Raises OSError."""
    return private_folder(paths.watches / name)


def read_watch(paths: StatePaths, name: str) -> WatchRecord | None:
    """None when there is none.

    Raises:
        RecordError: it can't be understood.
    """
    return read_record(WatchRecord, paths.watches / name / _STATE)


def write_watch(paths: StatePaths, record: WatchRecord) -> None:
    """Durably. Raises OSError."""
    atomic.write_json(watch_folder(paths, record.id) / _STATE, encode(record))


def policy_ended(paths: StatePaths, name: str, why: str) -> None:
    """The policy was taken out of force while nobody watched it: its probation is over with it.

    Raises OSError.
    """
    try:
        record = read_watch(paths, name)
    except RecordError:
        return  # nothing can rest on what nobody can read
    if record is None or record.watching or record.mode != "recommendation":
        return
    ended = dataclasses.replace(
        record, mode="idle", phase="", paused=False, reason=why, since=clock.now()
    )
    write_watch(paths, ended)


def append_pair(paths: StatePaths, name: str, line: Mapping[str, Any]) -> None:
    """Add one pair, void ones too, durably. Raises OSError."""
    text = json.dumps({"at": clock.now(), **line}, separators=(",", ":"), allow_nan=False)
    atomic.append_line(watch_folder(paths, name) / _PAIRS, text)


def list_watches(paths: StatePaths) -> tuple[list[WatchRecord], list[str]]:
    """All that can be read, by name, and what is wrong with the others."""
    found: list[WatchRecord] = []
    problems: list[str] = []
    try:
        names = sorted(entry.name for entry in paths.watches.iterdir())
    except FileNotFoundError:
        return found, problems
    for name in names:
        try:
            record = read_watch(paths, name)
        except RecordError as error:
            problems.append(error.message)
        else:
            if record is not None:
                found.append(record)
    return found, problems

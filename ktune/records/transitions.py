"""Each change of mode with its reason: `modes.jsonl` of a study. Standard library only."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from ktune.records import atomic, clock

_FILE = "modes.jsonl"
_TAIL_BYTES = 64 * 1024


@dataclass(frozen=True)
class ModeNow:
    """The mode of a run, since when, and why."""

    mode: str
    since: str
    reason: str


def append_transition(
    folder: Path, *, before: str, after: str, event: str, reason: str, trips: int
) -> None:
    """Add one line. Raises OSError."""
    line = {
        "at": clock.now(),
        "before": before,
        "after": after,
        "event": event,
        "reason": reason,
        "trips": trips,
    }
    atomic.append_line(folder / _FILE, json.dumps(line, separators=(",", ":")), sync=False)


def mode_now(folder: Path) -> ModeNow | None:
    """Where a run stands by its last transitions; None before the first. Raises OSError."""
    try:
        with open(folder / _FILE, "rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - _TAIL_BYTES))
            tail = file.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return None
    found: ModeNow | None = None
    for text in tail:
        try:
            line = json.loads(text)
            mode, at, reason = str(line["after"]), str(line["at"]), str(line["reason"])
        except (ValueError, KeyError, TypeError):
            continue  # cut off by the tail's beginning or by its writer's death
        since = found.since if found is not None and found.mode == mode else at
        found = ModeNow(mode, since, reason)
    return found

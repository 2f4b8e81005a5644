"""Each change of mode with its reason: `modes.jsonl` of a study. Standard library only."""

from __future__ import annotations

import json
from pathlib import Path

from ktune.records import atomic, clock

_FILE = "modes.jsonl"


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

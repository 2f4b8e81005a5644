"""Who goes into the confirmation, fixed on disk before its first pair. Standard library only.

A finalist chosen, or chosen anew, after a look at pairs would void the error rate of the proof.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ktune.kernel.values import Value
from ktune.records import atomic, clock
from ktune.records.codec import encode
from ktune.records.stored import read_record

_FILE = "finalists.json"


@dataclass(frozen=True)
class Finalists:
    """`finalists.json`: assignments in the order in which they are tried."""

    assignments: tuple[Mapping[str, Value], ...]
    why: str
    """Why the search ended."""
    claimed: tuple[float, ...]
    """What the search alone says of each (log ratio): never the gain."""
    fixed_at: str = ""


def fix_finalists(folder: Path, finalists: Finalists) -> Finalists:
    """Write them down. Raises OSError."""
    fixed = Finalists(finalists.assignments, finalists.why, finalists.claimed, clock.now())
    atomic.write_json(folder / _FILE, encode(fixed))
    return fixed


def read_finalists(folder: Path) -> Finalists | None:
    """Those that were fixed, None while the search is not over. Raises RecordError."""
    return read_record(Finalists, folder / _FILE)

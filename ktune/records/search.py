"""What a search did besides measuring: its space, what it dropped, what it started from.

`search.json` beside the study's manifest. Standard library only. None of it is evidence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ktune.kernel.values import Value
from ktune.records import atomic
from ktune.records.codec import encode
from ktune.records.stored import read_record

_FILE = "search.json"


@dataclass(frozen=True)
class Judged:
    """How a knob (or an element of one) fared in a screening."""

    name: str
    importance: float
    """PED-ANOVA importance of reaching the best and the worst quarter, together."""
    p: float
    """Share of shuffled scores that gave this importance or more."""


@dataclass(frozen=True)
class Screening:
    """One look at which knobs matter."""

    assignments: int
    """So many different ones had been measured."""
    clear: bool
    """Whether any knob stood out of the noise; where none does, none is dropped."""
    kept: tuple[Judged, ...]
    dropped: tuple[Judged, ...]


@dataclass(frozen=True)
class WarmCandidate:
    """A setting from elsewhere that this search measures for itself."""

    assignment: Mapping[str, Value]
    score: float
    """What it was worth there (log ratio to the baseline): never evidence."""
    source: str


@dataclass(frozen=True)
class SearchRecord:
    """`search.json`."""

    space: str = "full"
    dimensions: int | None = None
    """Of a projected space."""
    projection: Mapping[str, int] = field(default_factory=dict)
    """Searched axis -> its dimension, counted from 1, negative where it runs the other way."""
    warm: tuple[WarmCandidate, ...] = ()
    warm_notes: tuple[str, ...] = ()
    """What of the sources was left out, and why."""
    screenings: tuple[Screening, ...] = ()
    pruned: int = 0
    """Assignments that were not measured again because the best is better (Wilcoxon)."""

    @property
    def screened(self) -> tuple[str, ...]:
        """Everything that was dropped."""
        return tuple(item.name for screening in self.screenings for item in screening.dropped)


def write_search(folder: Path, record: SearchRecord) -> None:
    """Keep it. Raises OSError."""
    atomic.write_json(folder / _FILE, encode(record))


def read_search(folder: Path) -> SearchRecord | None:
    """None where the study has none. Raises RecordError."""
    return read_record(SearchRecord, folder / _FILE)

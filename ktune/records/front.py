"""The front that a Pareto search found: unconfirmed trades. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ktune.kernel.values import Value
from ktune.records import atomic
from ktune.records.codec import encode
from ktune.records.stored import read_record

_FILE = "front.json"


@dataclass(frozen=True)
class FrontPoint:
    """One assignment that no other measured one beats in every objective.

    `gains`: by objective the mean change as a fraction better, over `windows` windows of the
    search: not a proof, and as the best of many it reads too high. `beyond_margin`: objectives in
    which it is worse by more than the profile allows, so that a confirmation would refuse it.
    """

    trial: int
    assignment: Mapping[str, Value]
    gains: Mapping[str, float]
    windows: int
    beyond_margin: tuple[str, ...] = ()


@dataclass(frozen=True)
class Front:
    """`front.json`."""

    points: tuple[FrontPoint, ...]
    why: str
    """Why the search ended."""


def write_front(folder: Path, front: Front) -> None:
    """Keep it in the study's folder. Raises OSError."""
    atomic.write_json(folder / _FILE, encode(front))


def read_front(folder: Path) -> Front | None:
    """None for a study that was no Pareto search, or is not over. Raises RecordError."""
    return read_record(Front, folder / _FILE)

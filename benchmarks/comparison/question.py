"""Which runs there are, and what is kept of each."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.comparison.methods import DEAR, FIXED, KTUNE
from benchmarks.comparison.problem import Outcome
from benchmarks.evidence.results import Case, Row
from benchmarks.surfaces.model import Surface
from benchmarks.surfaces.store import read


@dataclass(frozen=True)
class Cell:
    """One condition: a method on a surface with so many windows."""

    surface: str
    windows: int
    method: str

    @property
    def name(self) -> str:
        return f"{self.surface}|{self.windows}|{self.method}"

    @classmethod
    def of(cls, name: str) -> Cell:
        surface, windows, method = name.split("|")
        return cls(surface, int(windows), method)


class Comparison:
    """The `Question` whose results `benchmarks.evidence.results` keeps."""

    name = "comparison"
    usual_sessions = 200

    def __init__(
        self,
        recorded: Path,
        surfaces: Sequence[str],
        methods: Sequence[str],
        windows: Sequence[int],
        *,
        dear_seeds: int,
    ) -> None:
        """Surfaces that are not recorded are left out."""
        paths = {name: recorded / f"{name}.jsonl" for name in surfaces}
        self.paths = {name: path for name, path in paths.items() if path.exists()}
        self.surfaces = {name: Surface(read(path)) for name, path in self.paths.items()}
        self.cells = [
            Cell(surface, count, method)
            for surface in self.paths
            for count in windows
            for method in methods
        ]
        self._dear_seeds = dear_seeds
        self._digests = {
            name: hashlib.sha256(path.read_bytes()).hexdigest()[:12]
            for name, path in self.paths.items()
        }

    def design(self, condition: str) -> str:
        """Results on another recording of the same surface don't count."""
        cell = Cell.of(condition)
        digest = self._digests.get(cell.surface)
        return f"3 {digest}" if cell.method in KTUNE else f"1 {digest}"

    def cases(self, sessions: int) -> Sequence[Case]:
        return [
            Case(cell.name, seed)
            for cell in self.cells
            for seed in range(self.seeds(cell, sessions))
        ]

    def seeds(self, cell: Cell, sessions: int) -> int:
        """How often a cell is run."""
        if cell.method in FIXED:
            return 1
        return min(sessions, self._dear_seeds) if cell.method in DEAR else sessions


def row_of(surface: Surface, outcome: Outcome) -> Row:
    """A run's numbers, with the true gain of what it would deploy."""
    return {
        "gain": round(surface.gain(outcome.deployed), 6),
        "claimed": None if outcome.claimed is None else round(outcome.claimed, 6),
        "changed": outcome.deployed != surface.recording.head.reference,
        "found": None if outcome.found is None else round(surface.gain(outcome.found), 6),
        "windows": outcome.windows,
        "wall_s": round(outcome.wall_s, 3),
        "left": outcome.left,
        "why": outcome.why,
    }


def attainable(surface: Surface, draws: int = 2000) -> float:
    """The largest gain that is there (log ratio): the best of the measured points, and of as many
    Sobol points again."""
    from benchmarks.comparison.methods import space_of
    from benchmarks.surfaces.points import sobol_points, values_of

    space = space_of(surface.axes, surface.recording.head.reference)
    points = [values_of(space, point) for point in sobol_points(space, draws, 7)]
    gain, _ = surface.best(points)
    return gain if math.isfinite(gain) else 0.0

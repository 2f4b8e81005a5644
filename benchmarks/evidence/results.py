"""Results on disk, one JSON line each: an interrupted run goes on, tables can be printed anew."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from benchmarks.evidence.world import World

Row = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """One session to run: `name` says under which conditions, `seed` makes it repeatable."""

    name: str
    seed: int


class Question(Protocol):
    """What results belong to."""

    name: str
    usual_sessions: int

    def design(self, condition: str) -> str:
        """All that a result depends on beside the code: results of another design don't count."""
        ...

    def cases(self, sessions: int) -> Sequence[Case]:
        """All cases, `sessions` for each condition."""
        ...

    def show(self, rows: Sequence[Row]) -> bool:
        """Print the tables; False where a promise is broken beyond chance."""
        ...


class Experiment(Question, Protocol):
    """One question that simulated sessions answer; `__main__` names them all."""

    profile: str
    """What the sessions tune, as YAML."""

    def run(self, world: World, case: Case) -> Row:
        """One session's result, without case and seed."""
        ...


class Results:
    """`rows.jsonl` in a folder; one run at a time may hold it, or sessions would count twice."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "rows.jsonl"

    @contextmanager
    def held(self) -> Iterator[None]:
        """For whoever adds results. Ends the program where another run does."""
        with (self._path.parent / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise SystemExit(f"another run adds results to {self._path}") from None
            yield

    def of(self, experiment: Question) -> list[Row]:
        """What is there of an experiment, in its present design."""
        return [
            row
            for row in self._all()
            if row["experiment"] == experiment.name
            and row["design"] == _digest(experiment.design(row["case"]))
        ]

    def missing(self, experiment: Question, sessions: int) -> list[Case]:
        """Cases still to run; conditions take turns, so that an early end leaves some of each."""
        done = {(row["case"], row["seed"]) for row in self.of(experiment)}
        cases = [case for case in experiment.cases(sessions) if (case.name, case.seed) not in done]
        return sorted(cases, key=lambda case: case.seed)

    def add(self, experiment: Question, case: Case, found: Row) -> None:
        """Append one result."""
        row = {
            "experiment": experiment.name,
            "design": _digest(experiment.design(case.name)),
            "case": case.name,
            "seed": case.seed,
            **found,
        }
        with self._path.open("a", encoding="ascii") as file:
            file.write(json.dumps(row) + "\n")

    def _all(self) -> Iterator[Row]:
        """Whole lines only: a killed run may leave half of one, which its repetition replaces."""
        if not self._path.exists():
            return
        data = self._path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole != len(data):
            os.truncate(self._path, whole)
        for line in data[:whole].splitlines():
            yield json.loads(line)


def run_missing(
    experiment: Experiment,
    results: Results,
    world: World,
    sessions: int,
    tell: Callable[[str], None],
) -> None:
    """Run what is not there yet."""
    missing = results.missing(experiment, sessions)
    for number, case in enumerate(missing, start=1):
        results.add(experiment, case, experiment.run(world, case))
        if number % 200 == 0 or number == len(missing):
            tell(f"{experiment.name}: {number} of {len(missing)}")


def _digest(design: str) -> str:
    return hashlib.sha256(design.encode()).hexdigest()[:12]

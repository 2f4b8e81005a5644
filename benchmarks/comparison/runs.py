"""Runs what is missing, in processes of their own, a few seeds at a time."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

from benchmarks.comparison.methods import Tools, run_seeds
from benchmarks.comparison.question import Cell, Comparison, row_of
from benchmarks.costs.rig import own_runtime_folder
from benchmarks.evidence.results import Case, Results, Row
from benchmarks.surfaces.model import Surface
from benchmarks.surfaces.store import read
from ktune.errors import KtuneError

_CHUNK = 10


def run_missing(
    question: Comparison, results: Results, tools: Tools, *, seeds: int, jobs: int
) -> None:
    """Chunks of seeds in processes of their own; each is on disk when it has ended."""
    missing = results.missing(question, seeds)
    chunks = list(_chunks(missing))
    done = 0
    context = get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_isolate) as pool:
        running = {
            pool.submit(_work, question.paths[cell.surface], cell, some, tools): (cell, some)
            for cell, some in chunks
        }
        for future in as_completed(running):
            cell, some = running[future]
            found, error = future.result()
            for seed, row in found.items():
                results.add(question, Case(cell.name, seed), row)
            done += len(found)
            said = f"{done} of {len(missing)}: {cell.name}"
            if error:
                said += f"; {len(some) - len(found)} seeds are left for another time: {error}"
            print(said, file=sys.stderr, flush=True)


def _chunks(missing: Sequence[Case]) -> Iterator[tuple[Cell, list[int]]]:
    """Seeds of one cell together; first seeds of all cells first."""
    left: dict[tuple[int, str], list[int]] = {}
    for case in missing:
        left.setdefault((case.seed // _CHUNK, case.name), []).append(case.seed)
    for (_, name), seeds in sorted(left.items(), key=lambda item: item[0][0]):
        yield Cell.of(name), seeds


def _isolate() -> None:
    own_runtime_folder()
    os.nice(5)


def _work(path: Path, cell: Cell, seeds: Sequence[int], tools: Tools) -> tuple[dict[int, Row], str]:
    """Rows by seed, and why the rest is missing: a machine too busy to keep a lease, say."""
    surface = Surface(read(path))
    found: dict[int, Row] = {}
    try:
        for seed, outcome in run_seeds(surface, cell.method, cell.windows, seeds, tools):
            found[seed] = row_of(surface, outcome)
    except KtuneError as error:
        return found, error.message
    return found, ""

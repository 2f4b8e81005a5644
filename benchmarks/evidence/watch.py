"""The error rates and delays of `ktune watch`, through the real code path.

    python -m benchmarks.evidence.watch --state DIR [--jobs 2]      all of it; goes on where it was
    python -m benchmarks.evidence.watch --state DIR --only delays   one question
    python -m benchmarks.evidence.watch --state DIR --report        tables of what is there
    python -m benchmarks.evidence.watch --sessions 2                a small form

Seeded: the same cases give the same results. Exit 1 where a promise is broken beyond chance.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.costs.rig import can_make_namespaces, machine, note
from benchmarks.evidence.results import Case, Results, Row
from benchmarks.evidence.watch_questions import QUESTIONS, Watches, Worlds
from benchmarks.evidence.watch_rivals import SIMULATED, Simulated

_TELL_EVERY_S = 60.0
EVERY: tuple[Watches | Simulated, ...] = (*SIMULATED, *QUESTIONS)
Todo = dict[str, list[Case]]


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is missing, print the tables."""
    names = [question.name for question in EVERY]
    parser = argparse.ArgumentParser(description="Error rates and delays of ktune watch.")
    parser.add_argument(
        "--state", type=Path, help="folder of the results; default: a temporary one"
    )
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--sessions", type=int, help="for each condition; default: as documented")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--report", action="store_true", help="run nothing")
    options = parser.parse_args(argv)
    chosen = [question for question in EVERY if question.name in options.only]
    if not can_make_namespaces():
        note("left out: needs root")
        return 0
    with tempfile.TemporaryDirectory(prefix="ktune-evidence-") as folder:
        state = options.state or Path(folder)
        if not options.report:
            _run(state, options.only, options.sessions, options.jobs)
        print(machine())
        kept = [question.show(_rows(state, question)) for question in chosen]
        return 0 if all(kept) else 1


def _run(state: Path, only: Sequence[str], sessions: int | None, jobs: int) -> None:
    """Each process has results of its own; a run goes on with another number of them."""
    missing = {
        question.name: _missing(state, question, sessions)
        for question in EVERY
        if question.name in only
    }
    context = multiprocessing.get_context("spawn")
    parts = [
        context.Process(target=_part, args=(state, _share(missing, part, jobs), part))
        for part in range(jobs)
    ]
    for process in parts:
        process.start()
    for process in parts:
        process.join()
    if any(process.exitcode for process in parts):
        raise SystemExit("a part of the run failed")


def _share(missing: Todo, part: int, jobs: int) -> Todo:
    return {
        name: [case for case in cases if case.seed % jobs == part]
        for name, cases in missing.items()
    }


def _part(state: Path, todo: Todo, part: int) -> None:
    results = Results(_part_folder(state, part))
    worlds = Worlds()
    told_s = time.monotonic()
    try:
        with results.held():
            for question in EVERY:
                cases = todo.get(question.name, [])
                for number, case in enumerate(cases):
                    results.add(question, case, question.run(worlds, case))
                    if time.monotonic() - told_s > _TELL_EVERY_S:
                        told_s = time.monotonic()
                        said = f"part {part}: {question.name}: {number} of {len(cases)}"
                        print(said, file=sys.stderr, flush=True)
    finally:
        worlds.close()


def _missing(state: Path, question: Watches | Simulated, sessions: int | None) -> list[Case]:
    """Conditions take turns, so that an early end leaves some of each."""
    done = {(row["case"], row["seed"]) for row in _rows(state, question)}
    cases = question.cases(sessions or question.usual_sessions)
    left = [case for case in cases if (case.name, case.seed) not in done]
    return sorted(left, key=lambda case: case.seed)


def _rows(state: Path, question: Watches | Simulated) -> list[Row]:
    found: list[Row] = []
    for folder in sorted(state.glob("watch-*")):
        found += Results(folder).of(question)
    return found


def _part_folder(state: Path, part: int) -> Path:
    return state / f"watch-{part}"


if __name__ == "__main__":
    raise SystemExit(main())

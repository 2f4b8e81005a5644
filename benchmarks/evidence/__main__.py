"""The promotion rule's error rates and power, through the real code path.

    python -m benchmarks.evidence --state DIR              all of it; goes on where it was
    python -m benchmarks.evidence --state DIR --only aa    one experiment
    python -m benchmarks.evidence --state DIR --report     tables of what is there

Seeded: the same cases give the same results. Exit 1 where a promise is broken beyond chance.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.costs.rig import machine, own_runtime_folder
from benchmarks.evidence.aa import FalsePromotions
from benchmarks.evidence.power import Power
from benchmarks.evidence.results import Experiment, Results, run_missing
from benchmarks.evidence.side_by_side import SideBySide
from benchmarks.evidence.trades import Trades
from benchmarks.evidence.world import World

EXPERIMENTS: tuple[Experiment, ...] = (FalsePromotions(), Trades(), Power(), SideBySide())


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is missing, print the tables."""
    names = [experiment.name for experiment in EXPERIMENTS]
    parser = argparse.ArgumentParser(description="Error rates and power of the promotion rule.")
    parser.add_argument(
        "--state", type=Path, help="folder of the results; default: a temporary one"
    )
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--sessions", type=int, help="for each condition; default: as documented")
    parser.add_argument("--report", action="store_true", help="run nothing")
    options = parser.parse_args(argv)
    chosen = [experiment for experiment in EXPERIMENTS if experiment.name in options.only]
    with tempfile.TemporaryDirectory(prefix="ktune-evidence-") as folder:
        results = Results(options.state or Path(folder) / "results")
        if not options.report:
            own_runtime_folder()
            with results.held():
                _run(chosen, results, Path(folder), options.sessions)
        print(machine())
        kept = [item.show(results.of(item)) for item in chosen]
        return 0 if all(kept) else 1


def _run(
    chosen: Sequence[Experiment], results: Results, folder: Path, sessions: int | None
) -> None:
    started_s = time.monotonic()

    def tell(text: str) -> None:
        print(f"{time.monotonic() - started_s:6.0f} s  {text}", file=sys.stderr, flush=True)

    for experiment in chosen:
        with World(folder / experiment.name, experiment.profile) as world:
            run_missing(experiment, results, world, sessions or experiment.usual_sessions, tell)


if __name__ == "__main__":
    sys.exit(main())

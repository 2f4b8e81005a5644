#!/usr/bin/env python3
"""How often screening drops what matters, keeps what does not, and what it does on flat noise.

    python benchmarks/screening.py [--sessions 40] [--trials 60] [--knobs 8] [--case NAME]

Each session is a search with ktune's own ask, tell, re-measuring and screening on a simulated
machine (scores with noise; everything else real). Printed for each kind of machine: sessions in
which a knob that matters was dropped; of the knobs that do not matter, the share dropped; sessions
in which anything was dropped.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ktune.kernel.values import Value
from ktune.profile.space import Dimension, DimensionKind
from ktune.search.budget import next_again
from ktune.search.opening import open_search
from ktune.search.samplers import SamplerName
from ktune.search.screening import looks_due, screen
from ktune.search.space import Space
from ktune.search.trials import Origin, ScoredTrial


@dataclass(frozen=True)
class Case:
    """A machine: gain of each mattering knob (log ratio, for being in its better 40 %), noise."""

    gains: tuple[float, ...]
    sd: float


CASES = {
    "flat": Case((), 0.05),
    "one, 10 % at sd 3 %": Case((0.10,), 0.03),
    "one, 10 % at sd 5 %": Case((0.10,), 0.05),
    "two, 6 % each at sd 3 %": Case((0.06, 0.06), 0.03),
    "three, 10, 5 and 3 % at sd 3 %": Case((0.10, 0.05, 0.03), 0.03),
}


def screened(
    folder: Path, case: Case, seed: int, *, knobs: int, trials: int, sampler: str = "tpe"
) -> set[str]:
    """The knobs that one search drops; `k.0` and on are the ones that matter."""
    rng = random.Random(f"screened {seed}")
    space = Space(
        [Dimension(f"k.{i}", DimensionKind.INT, low=0, high=100) for i in range(knobs)],
        (),
        {f"k.{i}": 50 for i in range(knobs)},
    )

    def gain(assignment: Mapping[str, Value]) -> float:
        return sum(
            amount for i, amount in enumerate(case.gains) if int(str(assignment[f"k.{i}"])) < 40
        )

    dropped: set[str] = set()
    looks = 0
    with open_search(
        space,
        name="s",
        journal=folder / f"{seed}.journal",
        sampler=SamplerName(sampler),
        seed=seed,
    ) as search:
        search.enqueue({}, Origin.BASELINE)
        for _ in range(trials):
            if not search.waiting:
                ranked = search.ranked()
                if looks_due(len(ranked)) > looks:
                    looks = looks_due(len(ranked))
                    found = {item.name for item in screen(search.active, ranked, seed).dropped}
                    dropped |= found
                    if found:
                        search.hold(found)
                again = next_again(search.rows, ranked)
                if again is not None:
                    search.remeasure(again.assignment)
            candidate = search.ask()
            score = gain(candidate.assignment) + rng.gauss(0, case.sd)
            search.tell(candidate, ScoredTrial(score))
    return dropped


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--sessions", type=int, default=40)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--knobs", type=int, default=8)
    parser.add_argument("--case", choices=list(CASES), action="append")
    args = parser.parse_args()
    print(f"{args.knobs} knobs, {args.trials} trials, {args.sessions} sessions")
    print("machine | dropped one that matters | of the others dropped | dropped anything")
    for name in args.case or CASES:
        case = CASES[name]
        matter = {f"k.{i}" for i in range(len(case.gains))}
        with tempfile.TemporaryDirectory() as folder:
            found = [
                screened(Path(folder), case, seed, knobs=args.knobs, trials=args.trials)
                for seed in range(args.sessions)
            ]
        wrong = sum(bool(dropped & matter) for dropped in found)
        others = sum(len(dropped - matter) for dropped in found)
        share = others / (args.sessions * (args.knobs - len(matter)))
        anything = sum(bool(dropped) for dropped in found)
        print(f"{name} | {wrong} | {share:.0%} | {anything}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Full against projected space on 40 knobs of which a few matter, at a small budget.

    python benchmarks/projection.py [--sessions 40] [--trials 30] [--dimensions 8] [--noise 0.02]
                                    [--sampler tpe]

Side by side on the same functions and seeds: each session opens a real study with ktune's own ask
and tell (special values and re-measuring included). Two kinds of function of a few of 40 knobs:
each knob helps by itself (`alone`), or all must be right at once (`together`). Printed: the true
gain of the candidate that the search ranks first (mean and standard error over sessions, log ratio;
the best possible is 0.10, the baseline 0).
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from ktune.kernel.values import Value
from ktune.profile.space import Dimension, DimensionKind
from ktune.search.budget import next_again
from ktune.search.opening import open_search
from ktune.search.projection import ProjectedSpace
from ktune.search.samplers import SamplerName
from ktune.search.space import Space
from ktune.search.trials import Origin, ScoredTrial

KNOBS = 40
BEST_GAIN = 0.10
WIDTH = 0.15
"""Of the bump around each best place, as a share of the range."""
CASES = (("alone", 1), ("alone", 2), ("alone", 4), ("together", 2), ("together", 3))


def wide_space() -> Space:
    """40 knobs of all kinds; baselines near the low end, as kernel defaults often are."""
    dimensions: list[Dimension] = []
    baseline: dict[str, Value] = {}
    for index in range(KNOBS):
        key = f"knob.k{index:02}"
        if index % 4 == 0:
            low_high = {"low": 1, "high": 1 << 20, "log": True}
            baseline[key] = 16
        elif index % 4 == 1:
            low_high = {"low": 0, "high": 1000, "special": (0,)}
            baseline[key] = 100
        else:
            low_high = {"low": 0, "high": 200, "step": 2 if index % 4 == 2 else 1}
            baseline[key] = 20
        dimensions.append(Dimension(key, DimensionKind.INT, **low_high))  # type: ignore[arg-type]
    return Space(dimensions, (), baseline)


def place(space: Space, index: int, value: Value) -> float:
    """Where a value lies on its axis, 0 to 1."""
    number = space.axes[index].number
    assert number is not None and isinstance(value, int)
    if number.log:
        return math.log(value / number.low) / math.log(number.high / number.low)
    return (value - number.low) / (number.high - number.low)


class Machine:
    """A function of a few of the knobs: a bump for each at a random place, the baseline at 0."""

    def __init__(self, space: Space, kind: str, mattering: int, seed: int) -> None:
        rng = random.Random(f"machine {mattering} {seed}")
        self.space = space
        self.kind = kind
        self.peaks = {
            index: rng.uniform(0.35, 0.95) for index in rng.sample(range(KNOBS), mattering)
        }
        self.at_baseline = self._height(space.baseline)

    def _height(self, assignment: Mapping[str, Value]) -> float:
        bumps = [
            math.exp(-(((place(self.space, i, assignment[f"knob.k{i:02}"]) - peak) / WIDTH) ** 2))
            for i, peak in self.peaks.items()
        ]
        return math.prod(bumps) if self.kind == "together" else sum(bumps) / len(bumps)

    def gain(self, assignment: Mapping[str, Value]) -> float:
        """True log ratio to the baseline; at most `BEST_GAIN`."""
        height = self._height(assignment) - self.at_baseline
        return BEST_GAIN * height / (1 - self.at_baseline)


def session(
    journal: Path,
    kind: str,
    mattering: int,
    seed: int,
    *,
    trials: int,
    dimensions: int | None,
    noise: float,
    sampler: str,
) -> float:
    """True gain of what one search ranks first; `dimensions` None searches the full space."""
    space = wide_space()
    machine = Machine(space, kind, mattering, seed)
    rng = random.Random(f"noise {seed}")
    with open_search(
        space,
        name="s",
        journal=journal,
        sampler=SamplerName(sampler),
        seed=seed,
        projected=None if dimensions is None else ProjectedSpace(space, dimensions, seed),
    ) as search:
        search.enqueue({}, Origin.BASELINE)
        for _ in range(trials):
            again = None if search.waiting else next_again(search.rows, search.ranked())
            if again is not None:
                search.remeasure(again.assignment)
            candidate = search.ask()
            score = machine.gain(candidate.assignment) + rng.gauss(0, noise)
            search.tell(candidate, ScoredTrial(score))
        ranked = search.ranked()
    return machine.gain(ranked[0].assignment) if ranked and ranked[0].score > 0 else 0.0


def compare(
    kind: str,
    mattering: int,
    sessions: int,
    *,
    trials: int,
    dimensions: int,
    noise: float,
    sampler: str,
) -> tuple[list[float], list[float]]:
    """True gains of the full and of the projected space, session by session."""
    with tempfile.TemporaryDirectory() as folder:
        found = [
            [
                session(
                    Path(folder) / f"{seed}-{d}.journal",
                    kind,
                    mattering,
                    seed,
                    trials=trials,
                    dimensions=d,
                    noise=noise,
                    sampler=sampler,
                )
                for seed in range(sessions)
            ]
            for d in (None, dimensions)
        ]
    return found[0], found[1]


def _said(gains: list[float]) -> str:
    error = statistics.stdev(gains) / math.sqrt(len(gains)) if len(gains) > 1 else math.nan
    return f"{statistics.fmean(gains):+.4f} ± {error:.4f}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--sessions", type=int, default=40)
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--dimensions", type=int, default=8)
    parser.add_argument("--noise", type=float, default=0.02, help="sd of a score (log ratio)")
    parser.add_argument("--sampler", default="tpe")
    args = parser.parse_args()
    print(
        f"{KNOBS} knobs, {args.trials} trials, {args.sampler}, sd {args.noise}, "
        f"{args.sessions} sessions"
    )
    print("knobs that matter | full space | projected | projected - full, paired")
    for kind, mattering in CASES:
        full, projected = compare(
            kind,
            mattering,
            args.sessions,
            trials=args.trials,
            dimensions=args.dimensions,
            noise=args.noise,
            sampler=args.sampler,
        )
        difference = [b - a for a, b in zip(full, projected, strict=True)]
        print(
            f"{mattering} {kind} | {_said(full)} | {_said(projected)} | {_said(difference)}",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""How to search: sampler, start-up, repeats and stopping, by number of knobs and noise.

    python -m benchmarks.search_designs [--sessions 40] [--windows 40] [--write docs/search.md]

Each session is a search of ktune's own ask and tell in a study of its own, without a kernel: the
windows come from a made-up function (a ridge that two knobs climb together, and a parabola of each
other knob) or from a recorded surface. All designs get the same number of windows of candidates.
Printed: the true gain of what the search ends with, in percent of the gain that is there (mean and
standard error).
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmarks.comparison.methods import space_of
from benchmarks.comparison.question import attainable
from benchmarks.comparison.report import replace_block
from benchmarks.comparison.table import markdown
from benchmarks.costs.rig import machine
from benchmarks.surfaces.__main__ import load
from benchmarks.surfaces.model import Surface
from benchmarks.surfaces.points import sobol_points, values_of
from benchmarks.surfaces.store import RECORDED
from ktune.kernel.values import Value
from ktune.profile.space import Dimension, DimensionKind
from ktune.search.budget import TOP, fitted_rounds, next_again, spent
from ktune.search.finalists import Finished, most_windows, next_step
from ktune.search.opening import open_search
from ktune.search.samplers import SamplerName, missing_modules
from ktune.search.space import Space
from ktune.search.stopping import StopRules, should_stop
from ktune.search.study import Search
from ktune.search.trials import Origin, Ranked, ScoredTrial, VoidTrial

DIMENSIONS = (2, 5, 10, 20)
NOISES = (0.01, 0.05, 0.15)
BEST = 0.2
"""Gain (log ratio) that a made-up function holds."""
AGAINST_BASELINES = math.sqrt(1.5)
"""A score is a window against the mean of two baselines: its noise is so much larger."""


class Machine(Protocol):
    """Something to search on."""

    space: Space
    best: float

    def gain(self, assignment: Mapping[str, Value]) -> float:
        """True log ratio to the baseline."""
        ...

    def sd(self, assignment: Mapping[str, Value]) -> float:
        """Of a window."""
        ...


class MadeUp:
    """Half of the gain needs the first two knobs together, the rest is spread over three more."""

    def __init__(self, knobs: int, noise: float, seed: int) -> None:
        names = [f"net.k{number:02}" for number in range(knobs)]
        dimensions = [Dimension(name, DimensionKind.INT, low=0, high=1000) for name in names]
        self.space = Space(dimensions, (), dict.fromkeys(names, 150))
        self.best = BEST
        self._noise = noise
        rng = random.Random(f"made up {seed}")
        self._peaks = [rng.uniform(0.4, 0.9) for _ in names]
        self._base = self._height(self.space.baseline)

    def _height(self, values: Mapping[str, Value]) -> float:
        near = []
        for (_, value), peak in zip(sorted(values.items()), self._peaks, strict=True):
            assert isinstance(value, int)
            near.append(max(0.0, 1 - ((value / 1000 - peak) / 0.6) ** 2))
        others = near[2:5]
        return near[0] * near[1] + (sum(others) / len(others) if others else 0.0)

    def gain(self, assignment: Mapping[str, Value]) -> float:
        top = 2.0 if len(self._peaks) > 2 else 1.0
        return self.best * (self._height(assignment) - self._base) / (top - self._base)

    def sd(self, assignment: Mapping[str, Value]) -> float:
        return self._noise


class Recorded:
    """A recorded surface, its noise drawn as Gaussian of the spread there."""

    def __init__(self, surface: Surface) -> None:
        self._surface = surface
        self.space = space_of(surface.axes, surface.recording.head.reference)
        self.best = attainable(surface, draws=500)

    def gain(self, assignment: Mapping[str, Value]) -> float:
        return self._surface.gain(values_of(self.space, assignment))

    def sd(self, assignment: Mapping[str, Value]) -> float:
        return self._surface.sd(values_of(self.space, assignment))


@dataclass(frozen=True)
class Design:
    """`repeats`: windows of each assignment; 0: ktune's (leaders again, then halving)."""

    name: str
    sampler: str = "tpe"
    startup: int = 10
    sobol: int = 0
    repeats: int = 0
    stop_after: int = 1 << 30


DESIGNS = (
    Design("ktune: tpe, 10 random"),
    Design("tpe, 5 random", startup=5),
    Design("tpe, 20 random", startup=20),
    Design("tpe, 8 Sobol", startup=8, sobol=8),
    Design("tpe, stops after 15", stop_after=15),
    Design("plain tpe: best window", repeats=1),
    Design("tpe, each three times", repeats=3),
    Design("random", sampler="random"),
    Design("qmc", sampler="qmc"),
    Design("cmaes", sampler="cmaes"),
    Design("gp", sampler="gp"),
)


def session(machine: Machine, design: Design, windows: int, seed: int, folder: Path) -> float:
    """True gain of what one search ends with; 0 where nothing beats the baseline."""
    rng = random.Random(f"noise {seed}")

    def score(assignment: Mapping[str, Value]) -> float:
        sd = AGAINST_BASELINES * machine.sd(assignment)
        return machine.gain(assignment) + rng.gauss(0, sd)

    with open_search(
        machine.space,
        name="s",
        journal=folder / f"{abs(hash((design, seed)))}-{rng.random()}",
        sampler=SamplerName(design.sampler),
        seed=seed,
        startup=design.startup,
    ) as search:
        search.enqueue({}, Origin.BASELINE)
        for point in sobol_points(machine.space, design.sobol, seed) if design.sobol else ():
            search.enqueue(point, Origin.WARM)
        if design.repeats:
            best = _repeated(search, score, windows, design.repeats)
        else:
            best = _as_ktune(search, score, windows, design.stop_after)
    return machine.gain(best.assignment) if best is not None else 0.0


def _repeated(search: Search, score, windows: int, repeats: int) -> Ranked | None:  # type: ignore[no-untyped-def]
    """Each assignment so often, the best mean at the end; leaders are not measured again."""
    for _ in range(windows // repeats):
        candidate = search.ask()
        while candidate.origin is Origin.REMEASURE:
            search.tell(candidate, VoidTrial("not measured again", retry=False))
            candidate = search.ask()
        mean = statistics.fmean(score(candidate.assignment) for _ in range(repeats))
        search.tell(candidate, ScoredTrial(mean))
    return next((item for item in search.ranked() if item.score > 0), None)


def _as_ktune(search: Search, score, windows: int, stop_after: int) -> Ranked | None:  # type: ignore[no-untyped-def]
    rules = StopRules(1 << 30, math.inf, stop_after, 0.02)
    used = 0
    while should_stop(search.rows, 0.0, rules) is None:
        if used + most_windows(TOP, fitted_rounds(spent(search.rows), TOP)) >= windows:
            break
        again = None if search.waiting else next_again(search.rows, search.ranked())
        if again is not None:
            search.remeasure(again.assignment)
        candidate = search.ask()
        search.tell(candidate, ScoredTrial(score(candidate.assignment)))
        used += 1
    contenders = [item for item in search.ranked() if item.score > 0][:TOP]
    rounds = fitted_rounds(spent(search.rows), len(contenders))
    measured: dict[int, list[float]] = {}
    while not isinstance(step := next_step(len(contenders), measured, rounds=rounds), Finished):
        fresh = score(contenders[step.contender].assignment)
        measured.setdefault(step.contender, []).append(fresh)
    return contenders[step.order[0]] if step.order else None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--sessions", type=int, default=40)
    parser.add_argument("--windows", type=int, default=40, help="of candidates")
    parser.add_argument("--recorded", type=Path, default=RECORDED)
    parser.add_argument("--dimensions", type=int, nargs="*", default=list(DIMENSIONS))
    parser.add_argument("--noises", type=float, nargs="*", default=list(NOISES))
    parser.add_argument("--write", type=Path, help="a document with markers for the table")
    args = parser.parse_args()
    surfaces = load(args.recorded)
    text = report(surfaces, args)
    print(text)
    if args.write:
        replace_block(args.write, "designs", text)
    return 0


def report(surfaces: Sequence[Surface], args: argparse.Namespace) -> str:
    """One column a machine, one row a design."""
    columns = [(f"{d} knobs, sd {sd:.0%}", d, sd) for d in args.dimensions for sd in args.noises]
    machines = [
        *([MadeUp(d, sd, seed) for seed in range(args.sessions)] for _, d, sd in columns),
        *([Recorded(surface)] * args.sessions for surface in surfaces),
    ]
    names = [name for name, *_ in columns]
    names += [f"{s.recording.head.surface} ({s.recording.text})" for s in surfaces]
    rows = []
    for design in DESIGNS:
        if missing_modules(SamplerName(design.sampler)):
            continue
        row = [design.name]
        for own in machines:
            with tempfile.TemporaryDirectory() as folder:
                shares = [
                    session(machine, design, args.windows, seed, Path(folder))
                    / max(machine.best, 0.01)
                    for seed, machine in enumerate(own)
                ]
            error = statistics.stdev(shares) / math.sqrt(len(shares)) if len(shares) > 1 else 0.0
            row.append(f"{statistics.fmean(shares):.0%} ± {error:.0%}")
        rows.append(row)
        print(design.name, file=sys.stderr, flush=True)
    return (
        f"*{machine()}; `benchmarks/search_designs.py`: {args.windows} windows of candidates, "
        f"{args.sessions} sessions; share of the attainable gain.*\n\n"
        + markdown(["design", *names], rows)
    )


if __name__ == "__main__":
    sys.exit(main())

"""The comparison on real workloads of this machine; the true gain by fresh pairs at the end.

    python -m benchmarks.comparison.real --state DIR [--seeds 3] [--windows 60] [--window-s 2.7]

The workloads of three surfaces, their windows longer. Each run gets its windows, then what it would
deploy and the reference are measured in coin-ordered pairs that no method has seen. 60 windows of
2.7 s take as long as 40 of 4 s, and 40 don't hold a search and a proof of ktune's. Hours; a run
that is cut goes on. Everything is written by ktune's lease, for the others too, and restored.
"""

from __future__ import annotations

import argparse
import math
import random
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.comparison.ktune_side import budget_of, claimed_by
from benchmarks.comparison.methods import (
    DEFAULT,
    FLAML,
    KTUNE,
    METHODS,
    RANDOM,
    SMAC,
    TPE,
    TUNED,
    Tools,
    space_of,
    tuned,
)
from benchmarks.comparison.mlos import run_mlos
from benchmarks.comparison.picture import svg
from benchmarks.comparison.problem import Outcome, Problem, Setting
from benchmarks.comparison.question import Cell
from benchmarks.comparison.report import replace_block
from benchmarks.comparison.searches import plain
from benchmarks.comparison.table import HEAD, by_surface, lines, markdown, summaries, verdicts
from benchmarks.costs.rig import machine
from benchmarks.evidence.results import Case, Results, Row
from benchmarks.surfaces.definitions import Definition, definition, on_disk, without_disk
from benchmarks.surfaces.points import values_of
from benchmarks.surfaces.record import Rig, Wanted, assignment_of, fitted, open_rig
from benchmarks.surfaces.simulate import BudgetSpent, rules_text
from ktune.errors import KtuneError
from ktune.evidence.pairs import Direction
from ktune.measure.window import Poll, Validity, WindowResult, WindowSource
from ktune.modes.settings import Overrides, settings_of
from ktune.modes.tuning import Tuning
from ktune.records.paths import ROOT_RUNTIME, StatePaths
from ktune.records.types import ProofOutcome
from ktune.report.progress import Progress

WORKLOADS = ("long-link", "scan-and-random", "pointer-chase")
REAL_METHODS = (DEFAULT, TUNED, RANDOM, TPE, FLAML, SMAC, KTUNE[0])
PAIRS = 10


class RealComparison:
    """The `Question` of these runs."""

    name = "comparison-real"
    usual_sessions = 3

    def __init__(self, cells: Sequence[Cell], window_s: float, pairs: int) -> None:
        self._cells = cells
        self._design = f"1 {window_s} {pairs}"

    def design(self, condition: str) -> str:
        return self._design

    def cases(self, sessions: int) -> Sequence[Case]:
        return [Case(cell.name, seed) for seed in range(sessions) for cell in self._cells]


class Counted:
    """A `WindowSource` that ends the run when its windows are used up. Void ones are nobody's."""

    def __init__(self, source: WindowSource, budget: int) -> None:
        self._source = source
        self._budget = budget
        self.measured = 0

    def run(self, poll: Poll) -> WindowResult:
        if self.measured >= self._budget:
            raise BudgetSpent(f"the budget of {self._budget} windows is used up")
        result = self._source.run(poll)
        self.measured += result.validity is not Validity.VOID
        return result


def run_case(
    item: Definition, cell: Cell, seed: int, options: argparse.Namespace, amount: int
) -> Row:
    """One run, and the true gain of what it would deploy."""
    with tempfile.TemporaryDirectory(prefix="ktune-real-", dir=options.scratch) as name:
        folder = Path(name)
        folder.chmod(0o755)
        paths = StatePaths(folder / "state", ROOT_RUNTIME).ensure()
        more = rules_text(budget_of(cell.windows)) if cell.method in KTUNE else ""
        with open_rig(item, amount, paths, any_load=options.any_load, more=more) as rig:
            reference = tuple(values_of(rig.space, on_disk(item.reference, rig.disk)))
            rig.reference_window(assignment_of(rig, reference))  # makes files, warms up
            if cell.method in KTUNE:
                outcome = _ktune(rig, cell, seed, reference)
            else:
                outcome = _other(rig, cell, seed, reference, (options.mlos_venv, folder / "mlos"))
            gains = pairs_of(rig, outcome.deployed, reference, seed, options.pairs)
    spread = statistics.stdev(gains) / math.sqrt(len(gains)) if len(gains) > 1 else 0.0
    return {
        "gain": round(statistics.fmean(gains), 5) if gains else 0.0,
        "half": round(1.96 * spread, 5),
        "claimed": None if outcome.claimed is None else round(outcome.claimed, 5),
        "changed": outcome.deployed != reference,
        "found": None,
        "windows": outcome.windows,
        "wall_s": round(outcome.wall_s, 1),
        "left": outcome.left,
        "why": outcome.why,
        "deployed": list(outcome.deployed),
    }


def pairs_of(rig: Rig, deployed: Setting, reference: Setting, seed: int, pairs: int) -> list[float]:
    """Log ratios of fresh pairs in the order of a coin; none for the reference itself."""
    if deployed == reference:
        return []
    rng = random.Random(f"pairs {seed}")
    sign = 1 if _maximize(rig) else -1
    found = []
    for _ in range(pairs):
        sides = [deployed, reference]
        rng.shuffle(sides)
        values = {side: rig.window(assignment_of(rig, side)) for side in sides}
        if not values[deployed].valid:
            found.append(-1.0)  # what fails once it is deployed is a loss, whatever it gains
            continue
        ratio = values[deployed].metrics[rig.metric] / values[reference].metrics[rig.metric]
        found.append(sign * math.log(ratio))
    return found


def _maximize(rig: Rig) -> bool:
    return rig.plan.profile.objectives[0].direction is Direction.MAXIMIZE


def _other(rig: Rig, cell: Cell, seed: int, reference: Setting, mlos: tuple[Path, Path]) -> Outcome:
    """`mlos`: its environment, and a folder that it may make."""

    def window(setting: Setting) -> float | None:
        measured = rig.window(assignment_of(rig, setting))
        return measured.metrics[rig.metric] if measured.valid else None

    axes = rig.space.axes
    if cell.method == DEFAULT:
        return Outcome(reference, None, 0, 0.0)
    if cell.method == TUNED:
        plain_axes = [
            replace(axis, key=without_disk(axis.key, rig.disk)) if rig.disk else axis
            for axis in axes
        ]
        return Outcome(tuned(cell.surface, plain_axes, reference), None, 0, 0.0)
    problem = Problem(
        axes=axes,
        space=space_of(axes, reference),
        reference=reference,
        maximize=_maximize(rig),
        budget=cell.windows,
        seed=seed,
        window=window,
        idle=rig.bench.poll_lease,
    )
    if cell.method in (FLAML, SMAC):
        return run_mlos(problem, cell.method.split()[1], *mlos)
    return plain(problem, "tpe" if cell.method == TPE else "random")


def _ktune(rig: Rig, cell: Cell, seed: int, reference: Setting) -> Outcome:
    """The baseline is the reference, as it is for everybody, and not what this host has."""
    started_s = time.perf_counter()
    plan = replace(rig.plan, baseline={**rig.plan.baseline, **assignment_of(rig, reference)})
    overrides = Overrides(seed=seed, sampler=cell.method.split()[1])
    source = Counted(rig.standing.source, cell.windows)
    tuning = Tuning(
        plan,
        rig.bench.study,
        settings_of(plan.profile, overrides, drawn_seed=0),
        lease=rig.standing.lease,
        source=source,
        observe=_quiet,
        namespace=rig.standing.namespace,
    )
    tuning.bench.settle_s = rig.bench.settle_s
    try:
        proof = tuning.run().proof
        why = proof.reason if proof else ""
    except BudgetSpent as error:
        proof, why = None, error.message
    deployed, claimed = reference, None
    if proof is not None and proof.outcome is ProofOutcome.IMPROVED:
        deployed = tuple(values_of(rig.space, proof.assignment))
        claimed = claimed_by(proof, plan.profile.objectives[0].direction)
    wall_s = time.perf_counter() - started_s
    return Outcome(deployed, claimed, source.measured, wall_s, 0, None, why)


def _quiet(_: Progress) -> None:
    """Nobody looks on."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is missing, print everything."""
    options = _parser().parse_args(argv)
    tools = Tools(options.mlos_venv)
    methods = [method for method in options.only or REAL_METHODS if not tools.missing(method)]
    cells = [Cell(name, options.windows, m) for name in options.workloads for m in methods]
    question = RealComparison(cells, options.window_s, options.pairs)
    results = Results(options.state)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # restores, tidies up
    with results.held():
        try:
            _run(question, results, options)
        except KeyboardInterrupt:
            print("interrupted, every knob is restored; the same command goes on", flush=True)
            return 130
        except KtuneError as error:
            print(error.message + (f" ({error.hint})" if error.hint else ""), file=sys.stderr)
            return 1
    items = summaries(results.of(question))
    parts = [
        f"*{machine()}; printed by `python -m benchmarks.comparison.real`: windows of "
        f"{options.window_s:g} s, the true gain from {options.pairs} fresh pairs a run.*"
    ]
    for (surface, windows), own in by_surface(items).items():
        parts += [f"**{surface}**, {windows} windows", markdown(HEAD, lines(own))]
    parts.append("\n".join(f"- {line}" for line in verdicts(items)))
    text = "\n\n".join(parts)
    print(text)
    if options.picture:
        options.picture.write_text(svg(items))
    if options.write:
        replace_block(options.write, "comparison-real", text, options.picture)
    return 0


def _run(question: RealComparison, results: Results, options: argparse.Namespace) -> None:
    missing = results.missing(question, options.seeds)
    for number, case in enumerate(missing, start=1):
        cell = Cell.of(case.name)
        item = definition(cell.surface)
        amount = _amount(item, options)
        started_s = time.monotonic()
        row = run_case(item, cell, case.seed, options, amount)
        results.add(question, case, row)
        took_s = time.monotonic() - started_s
        print(
            f"{number} of {len(missing)}: {case.name}, {took_s:.0f} s", file=sys.stderr, flush=True
        )


def _amount(item: Definition, options: argparse.Namespace) -> int:
    """Fitted once for all runs, and kept beside the results."""
    kept = options.state / f"{item.name}-{options.window_s:g}.amount"
    if kept.exists():
        return int(kept.read_text())
    wanted = Wanted(0, 0, options.window_s, 0, options.any_load)
    with tempfile.TemporaryDirectory(prefix="ktune-real-", dir=options.scratch) as folder:
        Path(folder).chmod(0o755)
        amount = fitted(item, wanted, StatePaths(Path(folder) / "state", ROOT_RUNTIME).ensure())
    kept.write_text(f"{amount}\n")
    return amount


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="ktune beside its alternatives, for real.")
    parser.add_argument("--state", type=Path, required=True, help="folder of the results")
    parser.add_argument("--workloads", nargs="+", default=list(WORKLOADS), choices=WORKLOADS)
    parser.add_argument("--seeds", type=int, default=RealComparison.usual_sessions)
    parser.add_argument("--windows", type=int, default=60)
    parser.add_argument("--window-s", type=float, default=2.7, help="at the reference")
    parser.add_argument("--pairs", type=int, default=PAIRS, help="for the true gain")
    parser.add_argument("--only", nargs="+", metavar="METHOD", choices=METHODS)
    parser.add_argument("--mlos-venv", type=Path, default=Path("~/.cache/ktune/mlos").expanduser())
    parser.add_argument("--scratch", default="/var/tmp", help="a folder on the disk in question")
    parser.add_argument("--any-load", action="store_true", help="also beside other work")
    parser.add_argument("--picture", type=Path, help="an SVG")
    parser.add_argument("--write", type=Path, help="a document with markers for the tables")
    return parser


if __name__ == "__main__":
    sys.exit(main())

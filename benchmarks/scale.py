"""Does a long search over many knobs stay cheap? 200 knobs of which 5 matter, 1,000 trials.

    python -m benchmarks.scale [--knobs 200] [--trials 1000] [--sampler tpe] [--no-screening]
                              [--picture FILE] [--write FILE]

One study with ktune's own ask and tell, its journal on disk, measuring again, stopping rule and
screening, as `ktune tune` has them; the objective is a function with noise. Printed for each tenth
of the trials: CPU time and memory of a trial beside the objective's, what else was spent, and the
true gain of the best so far. CPU time, not wall time: others may use the machine.
"""

from __future__ import annotations

import argparse
import math
import random
import resource
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.comparison.report import replace_block
from benchmarks.comparison.table import markdown
from benchmarks.costs.rig import machine
from ktune.kernel.values import Value
from ktune.profile.space import Dimension, DimensionKind
from ktune.search.budget import next_again
from ktune.search.opening import open_search
from ktune.search.samplers import SamplerName
from ktune.search.screening import LEAST_AXES, looks_due, screen
from ktune.search.space import Space
from ktune.search.stopping import StopRules, should_stop
from ktune.search.study import Search
from ktune.search.trials import Origin, ScoredTrial

MATTER = 5
BEST_GAIN = 0.3
NOISE = 0.02
_RULES = StopRules(trials=1 << 30, time_s=math.inf, stop_after=1 << 30)


@dataclass(frozen=True)
class Tenth:
    """A tenth of the trials; times in seconds of CPU, each of one trial."""

    until: int
    cpu_s: float
    screening_s: float
    memory_mib: float
    axes: int
    gain: float


def space_of(knobs: int) -> Space:
    """Half of them on a log scale."""
    names = [f"net.k{number:03}" for number in range(knobs)]
    dimensions = [
        Dimension(
            name,
            DimensionKind.INT,
            low=1,
            high=1 << 20 if number % 2 else 1000,
            log=bool(number % 2),
        )
        for number, name in enumerate(names)
    ]
    return Space(dimensions, (), dict.fromkeys(names, 100))


def true_gain(assignment: Mapping[str, Value]) -> float:
    """Log ratio to the baseline: five knobs, each a parabola with its best at 0.75 of its axis."""

    def height(values: Mapping[str, Value]) -> float:
        total = 0.0
        for number in range(MATTER):
            value = values[f"net.k{number:03}"]
            assert isinstance(value, int)
            at = math.log(value) / math.log(1 << 20) if number % 2 else (value - 1) / 999
            total += 1 - ((at - 0.75) / 0.75) ** 2
        return total / MATTER

    baseline = {f"net.k{number:03}": 100 for number in range(MATTER)}
    return BEST_GAIN * (height(assignment) - height(baseline)) / (1 - height(baseline))


def run(knobs: int, trials: int, sampler: str, *, screening: bool, seed: int) -> list[Tenth]:
    """The whole search."""
    found: list[Tenth] = []
    rng = random.Random(f"noise {seed}")
    size = max(1, trials // 10)
    with (
        tempfile.TemporaryDirectory() as folder,
        open_search(
            space_of(knobs),
            name="scale",
            journal=Path(folder) / "journal",
            sampler=SamplerName(sampler),
            seed=seed,
        ) as search,
    ):
        search.enqueue({}, Origin.BASELINE)
        looks = 0
        spent_s = screened_s = 0.0
        for number in range(1, trials + 1):
            started_s = time.process_time()
            due = looks_due(len(search.ranked()))
            if screening and due > looks and len(search.active.axes) >= LEAST_AXES:
                looks = due
                judged = screen(search.active, search.ranked(), seed)
                if judged.dropped:
                    search.hold([item.name for item in judged.dropped])
                screened_s += time.process_time() - started_s
                started_s = time.process_time()
            _one(search, rng)
            spent_s += time.process_time() - started_s
            if number % size == 0:
                ranked = search.ranked()
                found.append(
                    Tenth(
                        number,
                        spent_s / size,
                        screened_s,
                        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                        len(search.active.axes),
                        true_gain(ranked[0].assignment) if ranked else 0.0,
                    )
                )
                print(f"{number} of {trials}", file=sys.stderr, flush=True)
                spent_s = screened_s = 0.0
    return found


def _one(search: Search, rng: random.Random) -> None:
    """A trial as `modes.learning` makes it."""
    if not search.waiting:
        again = next_again(search.rows, search.ranked())
        if again is not None:
            search.remeasure(again.assignment)
    candidate = search.ask()
    search.tell(candidate, ScoredTrial(true_gain(candidate.assignment) + rng.gauss(0, NOISE)))
    should_stop(search.rows, 0.0, _RULES)


def text_of(tenths: list[Tenth], head: str) -> str:
    """The table and whether it is flat."""
    rows = [
        [
            str(item.until),
            f"{item.cpu_s * 1000:.0f}",
            f"{item.screening_s:.1f}",
            f"{item.memory_mib:.0f}",
            str(item.axes),
            f"{math.expm1(item.gain):+.1%}",
        ]
        for item in tenths
    ]
    table = markdown(
        (
            "trials",
            "CPU of a trial, ms",
            "CPU of screening, s",
            "memory, MiB",
            "knobs searched",
            "true gain of the best so far",
        ),
        rows,
    )
    middle, last = tenths[len(tenths) // 2], tenths[-1]
    more = last.memory_mib - tenths[0].memory_mib
    return (
        f"*{machine()}; {head}.*\n\n{table}\n\nThe last tenth's trial costs "
        f"{last.cpu_s / middle.cpu_s:.2f} times the middle's; memory grows by {more:.0f} MiB over "
        f"{last.until - tenths[0].until} trials."
    )


def svg(tenths: list[Tenth]) -> str:
    """Time (dots) and memory (rings) against trials."""
    width, height, left, bottom = 420, 170, 46, 140
    most_s = max(item.cpu_s for item in tenths)
    most_mib = max(item.memory_mib for item in tenths)

    def place(item: Tenth, share: float) -> str:
        x = left + item.until / tenths[-1].until * (width - left - 60)
        return f"{x:.1f},{bottom - share * (bottom - 24):.1f}"

    times = [place(item, item.cpu_s / most_s) for item in tenths]
    sizes = [place(item, item.memory_mib / most_mib) for item in tenths]
    lines = "".join(
        f'<polyline points="{" ".join(points)}" fill="none" stroke="{colour}" stroke-width="2"/>'
        for points, colour in ((times, "#b03a2e"), (sizes, "#2e6da4"))
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="11">'
        f'<rect width="{width}" height="{height}" fill="#fff"/>'
        f'<line x1="{left}" y1="{bottom}" x2="{width - 60}" y2="{bottom}" stroke="#999"/>'
        f'<text x="4" y="14" fill="#b03a2e">CPU of a trial, at most {most_s * 1000:.0f} ms</text>'
        f'<text x="220" y="14" fill="#2e6da4">memory, at most {most_mib:.0f} MiB</text>'
        f'<text x="{left}" y="{bottom + 16}">0</text>'
        f'<text x="{width - 100}" y="{bottom + 16}">{tenths[-1].until} trials</text>'
        f"{lines}</svg>\n"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--knobs", type=int, default=200)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--sampler", default="tpe")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-screening", dest="screening", action="store_false")
    parser.add_argument("--picture", type=Path, help="an SVG")
    parser.add_argument("--write", type=Path, help="a document with markers for the table")
    args = parser.parse_args()
    tenths = run(args.knobs, args.trials, args.sampler, screening=args.screening, seed=args.seed)
    text = text_of(
        tenths,
        f"{args.knobs} knobs of which {MATTER} matter, {args.trials} trials, {args.sampler}, "
        f"screening {'on' if args.screening else 'off'}, sd {NOISE:.0%}, best {BEST_GAIN:+.0%} "
        "in the logarithm",
    )
    print(text)
    if args.picture:
        args.picture.write_text(svg(tenths))
    if args.write:
        replace_block(args.write, "scale", text, args.picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())

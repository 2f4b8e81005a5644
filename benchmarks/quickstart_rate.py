"""How often and how fast the quickstart finds its improvement: quickstart_rate.py [N].

Runs `ktune tune quickstart` N times, each with another seed and a state folder of its own, one
after the other, and prints outcome, duration and gain of each. Measure on a calm machine: a run
keeps both of two cores busy.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from costs.rig import KTUNE, machine, note, own_runtime_folder, scratch, spread, table

_LIMIT_S = 240.0


@dataclass(frozen=True)
class Run:
    """One quickstart. `gain` and its interval: relative changes, None where nothing is proven."""

    seed: int
    outcome: str
    seconds: float
    gain: float | None
    interval: tuple[float, float] | None
    load: float


def main(argv: Sequence[str] | None = None) -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description="The quickstart's rate of improvement.")
    parser.add_argument("runs", nargs="?", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--options", nargs=argparse.REMAINDER, default=[], help="of `ktune tune`")
    options = parser.parse_args(argv)
    own_runtime_folder()
    print(f"ktune tune quickstart: {machine()}")
    runs = []
    with scratch() as folder:
        for seed in range(options.first_seed, options.first_seed + options.runs):
            runs.append(_run(seed, folder / str(seed), options.options))
            print(f"seed {seed}: {runs[-1].outcome}, {runs[-1].seconds:.0f} s", flush=True)
    _show(runs)
    return 0


def _run(seed: int, state: Path, options: Sequence[str]) -> Run:
    load = os.getloadavg()[0]
    started_s = time.perf_counter()
    done = subprocess.run(
        [
            *(*KTUNE, f"--state-dir={state}", "tune", "quickstart", "--seed", str(seed)),
            *("--json", "--quiet", *options),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - started_s
    if not done.stdout.strip():
        return Run(seed, f"exit {done.returncode}: {done.stderr[-200:]}", seconds, None, None, load)
    outcome = json.loads(done.stdout)
    gain, interval = _gain(state / "studies" / outcome["study"] / "proof.json")
    return Run(seed, outcome["outcome"], seconds, gain, interval, load)


def _gain(proof: Path) -> tuple[float | None, tuple[float, float] | None]:
    if not proof.exists():
        return None, None
    gain = json.loads(proof.read_text()).get("gain")
    if gain is None:
        return None, None
    return gain["estimate"], (gain["interval"][0], gain["interval"][1])


def _show(runs: Sequence[Run]) -> None:
    table(
        f"{len(runs)} quickstarts",
        ("seed", "outcome", "s", "gain [interval]", "load before"),
        [
            (f"{run.seed}", run.outcome, f"{run.seconds:.0f}", _gain_text(run), f"{run.load:.1f}")
            for run in runs
        ],
    )
    improved = [run for run in runs if run.outcome == "improved"]
    in_time = sum(run.seconds < _LIMIT_S for run in runs)
    note(
        f"improved: {len(improved)} of {len(runs)}; under {_LIMIT_S:.0f} s: {in_time} of "
        f"{len(runs)}; seconds {spread(run.seconds for run in runs).text(1, 0)}, largest "
        f"{max(run.seconds for run in runs):.0f}"
    )
    gains = [run.gain for run in improved if run.gain is not None]
    if gains:
        note(f"gain: {spread(gains).text(100, 0)} %, from {min(gains):+.0%} to {max(gains):+.0%}")


def _gain_text(run: Run) -> str:
    if run.gain is None or run.interval is None:
        return "-"
    low, high = run.interval
    return f"{run.gain:+.0%} [{low:+.0%}, {high:+.0%}]"


if __name__ == "__main__":
    raise SystemExit(main())

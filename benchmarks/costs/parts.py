"""Where ktune's own time of a run goes: start-up, optimiser, kernel, journal, runner, records."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from costs.rig import spread, table
from costs.tuning import Timed, run_ktune

_DRIVER = Path(__file__).with_name("instrumented.py")


@dataclass(frozen=True)
class Parts:
    """One instrumented run: seconds once a run, and milliseconds a trial."""

    once: dict[str, float]
    per_trial: dict[str, float]
    timed: Timed


def measure(rounds: int, trials: int, folder: Path) -> None:
    """Medians of `rounds` instrumented runs."""
    runs = [_run(trials, seed, folder / f"parts-{seed}") for seed in range(1, rounds + 1)]
    table(
        f"ktune's parts, once a run (medians of {rounds} runs)",
        ("part", "ms"),
        [(name, spread(run.once[name] for run in runs).text(1000)) for name in runs[0].once],
    )
    table(
        f"ktune's parts, a trial ({trials} trials, baseline windows charged to them)",
        ("part", "ms"),
        [
            (name, spread(run.per_trial[name] for run in runs).text(1000, 2))
            for name in runs[0].per_trial
        ],
    )


def _run(trials: int, seed: int, folder: Path) -> Parts:
    report = folder.with_suffix(".json")
    driver = [sys.executable, str(_DRIVER), str(report), repr(time.monotonic())]
    timed = run_ktune(trials, seed, folder, before=driver)
    ktune = json.loads(report.read_text())
    guardian = json.loads(Path(f"{report}.guardian").read_text())
    totals, marks = ktune["totals"], ktune["marks"]
    log = (folder / "windows.log").read_text().splitlines()
    workload = sum(float(end) - float(begin) for begin, end in map(str.split, log))
    first = marks["first measure"]
    once = {
        "interpreter": marks["interpreter ready"] - marks["started"],
        "modules": marks["modules loaded"] - marks["interpreter ready"],
        "profile, catalog, plan": totals["profile"] + totals["catalog"] + totals["plan"],
        "optimiser: import, open the study": totals["open the search"],
    }
    once["scope, study, guardian, other"] = (
        first - marks["modules loaded"] - sum(list(once.values())[2:])
    )
    once["all before the first window"] = first - marks["started"]
    once["after the last window, to the end"] = marks["ended"] - marks["last measure"]
    parts = {
        "optimiser: ask": totals["ask"],
        "optimiser: tell, revise": totals["tell"] + totals.get("revise", 0.0),
        "kernel: write, read back, look for foreign writes": guardian["kernel"],
        "journal: wait for fsync": guardian["journal"],
        "guardian: the rest, and messages": (
            totals["apply"] + totals["check"] - guardian["kernel"] - guardian["journal"]
        ),
        "window runner, without the workload": totals["window"] - workload,
        "study record, with fsync": totals["record"],
    }
    loop = marks["last measure"] - first - workload
    parts["everything else"] = loop - sum(parts.values())
    parts["all"] = loop
    return Parts(once, {name: value / trials for name, value in parts.items()}, timed)

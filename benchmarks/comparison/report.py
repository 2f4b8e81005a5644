"""The comparison as a text: tables, verdicts, sizes, and where they go in a document."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.comparison.methods import KTUNE_WARM, TUNED, tuned_profile, tuned_source
from benchmarks.comparison.question import Comparison, attainable
from benchmarks.comparison.sizes import installed_bytes
from benchmarks.comparison.table import (
    HEAD,
    Summary,
    by_surface,
    lines,
    markdown,
    percent,
    verdicts,
)
from benchmarks.costs.rig import machine

BEGIN, END = "<!-- begin: {name} -->", "<!-- end: {name} -->"


@dataclass(frozen=True)
class Places:
    """Where to measure sizes."""

    recorded: Path
    mlos_venv: Path


def memory_mib(method: str, places: Places) -> float:
    """Peak memory of the process that searches (the guardian has 16 MiB more), in a process of its
    own; the replay's own few MiB are in it for every method but MLOS."""
    words = ["--state", "/nonexistent", "--recorded", str(places.recorded), "--one"]
    words += ["--only", method, "--windows", "60"]
    words += ["--mlos-venv", str(places.mlos_venv)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.comparison", *words],
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout.split()[-1]) / 1024


def installed_mib(method: str, places: Places) -> float | None:
    """Of the distribution and all it requires."""
    if method.startswith("ktune"):
        sampler = method.split()[1]
        names = {"cmaes": ["cmaes"], "gp": ["torch", "scipy"], "qmc": ["scipy"]}.get(sampler, [])
        return sum(installed_bytes(name) for name in ["ktune", *names]) / 2**20
    if method in ("Optuna TPE", "random"):
        return installed_bytes("optuna") / 2**20
    if method.startswith("MLOS"):
        script = Path(__file__).with_name("sizes.py")
        names = ["mlos-bench", "flaml" if method.endswith("FLAML") else "smac"]
        done = subprocess.run(
            [str(places.mlos_venv / "bin" / "python"), str(script), *names],
            capture_output=True,
            text=True,
            check=True,
        )
        return int(done.stdout) / 2**20
    return None


def report(
    question: Comparison,
    items: Sequence[Summary],
    left_out: dict[str, str],
    places: Places | None,
) -> str:
    """Everything as Markdown."""
    parts = [f"*{machine()}; printed by `python -m benchmarks.comparison`.*"]
    for (surface, windows), own in by_surface(items).items():
        there = question.surfaces[surface]
        parts.append(
            f"**{surface}**, {windows} windows ({there.recording.text}; attainable "
            f"{percent(attainable(there), 0)}; sd of a window {there.noise().sd:.1%}; "
            f"TuneD: {tuned_profile(surface)})"
        )
        parts.append(markdown(HEAD, lines(own)))
    said = [*verdicts(items), *verdicts(items, KTUNE_WARM)]
    parts.append("\n".join(f"- {line}" for line in said))
    if places is not None:
        methods = dict.fromkeys(item.cell.method for item in items)
        rows = []
        for method in methods:
            size = installed_mib(method, places)
            if size is not None:
                memory = memory_mib(method, places)
                rows.append([method, f"{memory:.0f}", f"{size:.0f}"])
        parts.append(markdown(("method", "peak memory, MiB", "installed, MiB"), rows))
    notes = [f"{method} is left out: {why}" for method, why in left_out.items()]
    if any(item.cell.method == TUNED for item in items):
        notes.append(f"TuneD's values: {tuned_source()}")
    parts += notes
    return "\n\n".join(parts)


def replace_block(path: Path, name: str, text: str, picture: Path | None = None) -> None:
    """Put `text` between the markers of a document, below it the picture. Raises SystemExit where
    it has no markers."""
    if picture is not None:
        text += f"\n\n![{name}]({os.path.relpath(picture, path.parent)})"
    begin, end = BEGIN.format(name=name), END.format(name=name)
    document = path.read_text()
    before, found, rest = document.partition(begin)
    _, ended, after = rest.partition(end)
    if not (found and ended):
        raise SystemExit(f"{path} has no lines {begin} and {end}")
    path.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}")

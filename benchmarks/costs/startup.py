"""How long the commands that must answer at once take, beside bare interpreters."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from costs.rig import KTUNE, interleaved, spread, table, verdict

_LIMITS_MS = {"ktune --help": 120.0, "ktune status": 150.0}


def measure(runs: int, folder: Path) -> None:
    """Whole wall time of each command, from starting the process to its end."""
    ktune = Path(sys.executable).with_name("ktune")
    program = [str(ktune)] if ktune.exists() else list(KTUNE)
    state = f"--state-dir={folder / 'state'}"
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "ktune --help": [*program, "--help"],
        "ktune status": [*program, state, "status"],
        "python -c 'import optuna'": [sys.executable, "-c", "import optuna"],
    }
    for command in commands.values():
        _time(command)  # the first one fills the page cache
    found = interleaved(
        runs,
        {name: lambda _, command=command: _time(command) for name, command in commands.items()},
    )
    rows = []
    for name, times in found.items():
        taken = spread(times)
        limit = _LIMITS_MS.get(name)
        rows.append(
            (
                name,
                taken.text(1000),
                f"{taken.largest * 1000:.0f}",
                "" if limit is None else f"<= {limit:.0f}",
                "" if limit is None else verdict(taken.median * 1000, limit, at_most=True),
            )
        )
    table(
        f"Start-up, {runs} runs each, interleaved",
        ("command", "ms, median [quartiles]", "largest", "target", ""),
        rows,
    )


def _time(command: Sequence[str]) -> float:
    started_s = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    return time.perf_counter() - started_s

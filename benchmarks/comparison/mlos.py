"""MLOS 0.6.2 as a whole: `mlos_bench` with a local script whose parameters are the axes.

Its own optimizer (FLAML, the default, or SMAC), storage and scheduler; the script writes its
parameters to a named pipe and reads the window's value from another, so that the windows are the
same as everybody's. It measures its defaults first. What it reports as best is its best window.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.comparison.problem import Outcome, Problem, Setting, best_of_search
from ktune.search.space import Axis

_SCRIPT = """#!/bin/sh
echo {names} > "$ask"
read -r value < "$answer"
printf 'metric,value\\nscore,%s\\n' "$value" > metrics.csv
"""
_OPTIMIZER = "mlos_bench.optimizers.mlos_core_optimizer.MlosCoreOptimizer"


def run_mlos(problem: Problem, optimizer: str, venv: Path, folder: Path) -> Outcome:
    """`optimizer`: FLAML or SMAC; `folder` is a new one. Raises SystemExit where MLOS fails before
    its first window."""
    _write_experiment(problem, optimizer, folder)
    ask, answer = folder / "ask", folder / "answer"
    os.mkfifo(ask)
    os.mkfifo(answer)
    command = [
        *(str(venv / "bin" / "mlos_bench"), "--config", "cli.jsonc"),
        *("--experiment_id", f"run{problem.seed}", "--max_suggestions", str(problem.budget)),
        *("--seed", str(problem.seed), "--log_file", "run.log"),
        *("--ask", str(ask), "--answer", str(answer)),
    ]
    started_s = time.perf_counter()
    with (folder / "said").open("w") as said:
        process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=said, stderr=said
        )
        try:
            _serve(problem, process, ask, answer)
        finally:
            process.kill()
            process.wait()
    wall_s = time.perf_counter() - started_s
    if not problem.asked:
        raise SystemExit(f"mlos_bench measured nothing:\n{(folder / 'said').read_text()[-2000:]}")
    return best_of_search(problem, wall_s)


def _serve(problem: Problem, process: subprocess.Popen[bytes], ask: Path, answer: Path) -> None:
    """Answer until MLOS ends, or the windows do."""
    # both ends stay open: a script that ends must not look like the end of all
    asking = os.open(ask, os.O_RDWR | os.O_NONBLOCK)
    answering = os.open(answer, os.O_RDWR)
    try:
        pending = b""
        while process.poll() is None:
            ready, _, _ = select.select([asking], [], [], 0.5)
            if not ready:
                problem.idle()
                continue
            pending += os.read(asking, 65536)
            while b"\n" in pending:
                line, _, pending = pending.partition(b"\n")
                if not problem.left:
                    return
                value = problem.measure(_setting(problem.axes, line.decode().split()))
                # MLOS has no word for a window that failed but a value that is none
                os.write(answering, f"{'nan' if value is None else value}\n".encode())
    finally:
        os.close(asking)
        os.close(answering)


def _setting(axes: Sequence[Axis], words: Sequence[str]) -> Setting:
    return tuple(
        axis.choices[int(word)] if axis.number is None else int(float(word))
        for axis, word in zip(axes, words, strict=True)
    )


def _write_experiment(problem: Problem, optimizer: str, folder: Path) -> None:
    names = [f"p{number}" for number in range(len(problem.axes))]
    parameters = {
        name: _parameter(axis, value)
        for name, axis, value in zip(names, problem.axes, problem.reference, strict=True)
    }
    files: dict[str, Any] = {
        "cli.jsonc": {
            "config_path": ["."],
            "environment": "env.jsonc",
            "optimizer": "optimizer.jsonc",
            "storage": "storage.jsonc",
            "scheduler": "scheduler.jsonc",
            "log_level": "WARNING",
        },
        "env.jsonc": {
            "class": "mlos_bench.environments.local.LocalEnv",
            "name": "surface",
            "include_services": ["services/local/local_exec_service.jsonc"],
            "include_tunables": ["tunables.jsonc"],
            "config": {
                "tunable_params": ["knobs"],
                "required_args": ["experiment_id", "trial_id", "ask", "answer"],
                "shell_env_params": [*names, "ask", "answer"],
                "setup": ["true"],
                "run": ["window.sh"],
                "read_results_file": "metrics.csv",
            },
        },
        "optimizer.jsonc": {
            "class": _OPTIMIZER,
            "config": {
                "optimizer_type": optimizer,
                "optimization_targets": {"score": "max" if problem.maximize else "min"},
                "max_suggestions": problem.budget,
                "seed": problem.seed,
            },
        },
        "scheduler.jsonc": {
            "class": "mlos_bench.schedulers.SyncScheduler",
            "config": {"trial_config_repeat_count": 1, "max_trials": -1, "teardown": True},
        },
        "storage.jsonc": {
            "class": "mlos_bench.storage.sql.storage.SqlStorage",
            "config": {"drivername": "sqlite", "database": "mlos.sqlite"},
        },
        "tunables.jsonc": {"knobs": {"cost": 1, "params": parameters}},
    }
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content, indent=1))
    script = folder / "window.sh"
    script.write_text(_SCRIPT.format(names=" ".join(f'"${name}"' for name in names)))
    script.chmod(0o755)
    for words in (  # it wants to stand in a git repository with an origin
        ("init", "--quiet"),
        ("remote", "add", "origin", "https://example.org/experiment.git"),
        ("add", "."),
        ("-c", "user.name=b", "-c", "user.email=b@example.org", "commit", "--quiet", "-m", "all"),
    ):
        subprocess.run(["git", *words], cwd=folder, check=True)


def _parameter(axis: Axis, default: object) -> dict[str, Any]:
    if axis.number is None:
        words = [str(number) for number in range(len(axis.choices))]
        return {"type": "categorical", "values": words, "default": words[_index(axis, default)]}
    found: dict[str, Any] = {
        "type": "int",
        "range": [axis.number.low, axis.number.high],
        "default": default,
    }
    if axis.number.log:
        found["log"] = True
    if axis.choices:
        found["special"] = list(axis.choices)
    return found


def _index(axis: Axis, value: object) -> int:
    return next(number for number, choice in enumerate(axis.choices) if choice == value)

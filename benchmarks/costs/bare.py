"""The least that any framework on Optuna takes: python bare.py WORKLOAD LOG TRIALS SEED WINDOWS

Imports Optuna and pydantic, asks and tells in memory, and runs the workload with `subprocess.run`.
No kernel, no journal, no record, no safety.
"""

from __future__ import annotations

import os
import subprocess
import sys

import optuna
import pydantic  # noqa: F401 - every ktune profile is made of its models


def main(argv: list[str]) -> int:
    """Search, with `WINDOWS - TRIALS` further runs of the workload spread over it as a baseline."""
    workload, log, trials, seed, windows = argv[0], argv[1], *map(int, argv[2:])
    optuna.logging.disable_default_handler()
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    baseline = {"px": "60", "py": "1.0", "mode": "a"}
    every = -(-trials // max(1, windows - trials))
    for number in range(trials):
        trial = study.ask()
        point = {
            "px": str(trial.suggest_int("px", 0, 200)),
            "py": str(trial.suggest_float("py", 0, 10)),
            "mode": trial.suggest_categorical("mode", ("a", "b", "c")),
        }
        if number % every == 0:
            _run(workload, log, baseline)
        study.tell(trial, _run(workload, log, point))
    return 0


def _run(workload: str, log: str, point: dict[str, str]) -> float:
    environment = {"PATH": os.environ["PATH"], "bench_log": log, **point}
    done = subprocess.run([workload], env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout.partition("=")[2])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

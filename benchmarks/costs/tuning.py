"""A whole 30-trial run: ktune's search against MLOS with its default optimizer (FLAML).

Both run the same shell workload, `quad.sh`, which notes its own beginning and end. What is left
of a run's wall time is the framework's: *all in* counts the whole run from starting the process
to its end; *in the loop* only what passes between the first workload's end and the last one's
beginning. ktune writes three real knobs of a network namespace, reads them back and journals
them with fsync; MLOS sets three environment variables. ktune's windows of the baseline are
charged to its trials.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from costs.rig import BENCHMARKS, KTUNE, note, spread, table, verdict

_ALL_IN, _IN_LOOP = 5.0, 4.0
_FLOOR = "bare Optuna"
_BARE = Path(__file__).with_name("bare.py")
_WINDOWS_A_TRIAL = 1.2
"""As ktune measures with a baseline every six trials."""
_PROFILE = """\
ktune: 1
kind: profile
name: quad
summary: A parabola of three knobs, to see what the framework costs
scope: ephemeral
workload:
  command: [{workload}]
  env: {{bench_log: {log}}}
  renews: [new_socket, new_process]
  metrics: {{score: {{from: key_value, plausible: [0.1, 100000]}}}}
knobs:
  sysctl:
    net.ipv4.tcp_notsent_lowat: {{range: [4096, 208896], step: 1024, special: [4294967295]}}
    net.ipv4.tcp_probe_interval: {{range: [1, 10000]}}
    net.ipv4.tcp_ecn: {{choices: [0, 1, 2]}}
baseline:
  net.ipv4.tcp_notsent_lowat: 65536
  net.ipv4.tcp_probe_interval: 1000
  net.ipv4.tcp_ecn: 0
objectives: [{{metric: score, direction: minimize}}]
search: {{sampler: tpe, trials: {trials}, time: 10m, stop_after: 100000, baseline_every: 6}}
"""


@dataclass(frozen=True)
class Timed:
    """One run: framework time per trial in seconds, and the windows that were measured."""

    all_in: float
    in_loop: float
    windows: int
    trials: int


def measure(rounds: int, trials: int, folder: Path, mlos_venv: Path | None) -> None:
    """Interleaved runs of both sides; prints both and the ratios."""
    sides: dict[str, Callable[[int], Timed]] = {
        "ktune": lambda seed: run_ktune(trials, seed, folder / f"ktune-{seed}"),
        _FLOOR: lambda seed: run_bare(trials, seed, folder / f"bare-{seed}"),
    }
    if mlos_venv is not None and (mlos_venv / "bin" / "mlos_bench").exists():
        program = mlos_venv / "bin" / "mlos_bench"
        sides["MLOS-FLAML"] = lambda seed: run_mlos(program, trials, seed, folder / f"mlos-{seed}")
    found: dict[str, list[Timed]] = {name: [] for name in sides}
    for seed in range(1, rounds + 1):
        for name, run in sides.items():
            found[name].append(run(seed))
    _show(found, rounds, trials)


def _show(found: dict[str, list[Timed]], rounds: int, trials: int) -> None:
    table(
        f"Framework time per trial, runs of {trials} trials, {rounds} rounds, interleaved",
        ("framework", "all in, ms a trial", "in the loop, ms a trial", "windows"),
        [
            (
                name,
                spread(run.all_in for run in runs).text(1000),
                spread(run.in_loop for run in runs).text(1000),
                f"{runs[0].windows}",
            )
            for name, runs in found.items()
        ],
    )
    floor = spread(
        ktune.all_in - bare.all_in
        for ktune, bare in zip(found["ktune"], found[_FLOOR], strict=True)
    )
    note(f"ktune above bare Optuna, all in: {floor.text(1000)} ms a trial")
    if "MLOS-FLAML" not in found:
        note("MLOS is not installed (install_mlos.sh VENV, then --mlos-venv VENV): ktune only.")
        return
    pairs = list(zip(found["MLOS-FLAML"], found["ktune"], strict=True))
    all_in = spread(mlos.all_in / ktune.all_in for mlos, ktune in pairs)
    in_loop = spread(mlos.in_loop / ktune.in_loop for mlos, ktune in pairs)
    note(
        f"MLOS / ktune, all in: {all_in.text(1, 2)}; target >= {_ALL_IN:g}: "
        f"{verdict(all_in.median, _ALL_IN, at_most=False)}"
    )
    ceiling = spread(
        mlos.all_in / bare.all_in
        for mlos, bare in zip(found["MLOS-FLAML"], found[_FLOOR], strict=True)
    )
    note(f"MLOS / bare Optuna, all in: {ceiling.text(1, 2)}: no framework on it can do better")
    note(
        f"MLOS / ktune, in the loop: {in_loop.text(1, 2)}; target >= {_IN_LOOP:g}: "
        f"{verdict(in_loop.median, _IN_LOOP, at_most=False)}"
    )


def prepare_ktune(trials: int, folder: Path) -> tuple[Path, Path]:
    """(profile, workload's log) in a new folder. The workload runs as an ordinary user."""
    folder.mkdir()
    log = folder / "windows.log"
    log.touch()
    log.chmod(0o666)
    workload = folder / "quad.sh"
    shutil.copy(BENCHMARKS / "quad.sh", workload)
    profile = folder / "quad.yaml"
    profile.write_text(_PROFILE.format(workload=workload, log=log, trials=trials))
    return profile, log


def tune_arguments(profile: Path, seed: int, state: Path) -> list[str]:
    """The command line after `ktune`."""
    return [
        f"--state-dir={state}",
        "tune",
        str(profile),
        "--search-only",
        "--quiet",
        "--seed",
        str(seed),
    ]


def run_ktune(trials: int, seed: int, folder: Path, before: Sequence[str] = KTUNE) -> Timed:
    """One search. `before` is what stands before its arguments."""
    profile, log = prepare_ktune(trials, folder)
    command = [*before, *tune_arguments(profile, seed, folder / "state")]
    return _timed(command, folder, log, trials, dict(os.environ))


def run_bare(trials: int, seed: int, folder: Path) -> Timed:
    """Optuna in memory and `subprocess.run`: what is left when ktune does nothing."""
    _, log = prepare_ktune(trials, folder)
    words = [str(folder / "quad.sh"), str(log), trials, seed, round(trials * _WINDOWS_A_TRIAL)]
    command = [sys.executable, str(_BARE), *map(str, words)]
    return _timed(command, folder, log, trials, dict(os.environ))


def run_mlos(program: Path, trials: int, seed: int, folder: Path) -> Timed:
    """One experiment; MLOS wants to stand in a git repository with an origin."""
    shutil.copytree(BENCHMARKS / "mlos", folder)
    shutil.copy(BENCHMARKS / "quad.sh", folder / "quad.sh")
    for words in (
        ("init", "--quiet"),
        ("remote", "add", "origin", "https://example.org/experiment.git"),
        ("add", "."),
        ("-c", "user.name=b", "-c", "user.email=b@example.org", "commit", "--quiet", "-m", "all"),
    ):
        subprocess.run(["git", *words], cwd=folder, check=True)
    log = folder / "windows.log"
    command = [
        *(str(program), "--config", "cli.jsonc", "--experiment_id", f"quad{seed}"),
        *("--max_suggestions", str(trials), "--seed", str(seed), "--log_file", "run.log"),
        *("--bench_log", str(log), "--metrics", "metrics.csv"),
    ]
    return _timed(command, folder, log, trials, dict(os.environ))


def _timed(
    command: Sequence[str], folder: Path, log: Path, trials: int, environment: dict[str, str]
) -> Timed:
    started_s = time.perf_counter()
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    wall_s = time.perf_counter() - started_s
    if done.returncode:
        raise SystemExit(f"{command[0]} failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    return _framework_time(log, wall_s, trials)


def _framework_time(log: Path, wall_s: float, trials: int) -> Timed:
    windows = [tuple(map(float, line.split())) for line in log.read_text().splitlines()]
    if len(windows) < trials:
        raise SystemExit(f"only {len(windows)} workloads ran, {trials} trials were asked for")
    spent = [end - begin for begin, end in windows]
    between = windows[-1][0] - windows[0][1] - sum(spent[1:-1])
    return Timed(
        all_in=(wall_s - sum(spent)) / trials,
        in_loop=between / max(1, trials - 1),
        windows=len(windows),
        trials=trials,
    )

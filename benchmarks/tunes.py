"""Whole tunings with proof: of shipped profiles, and of controls where nothing is to be gained.

    python -m benchmarks.tunes --state DIR postgresql-read many-small-files
    python -m benchmarks.tunes --state DIR --controls [--seeds N]

Each is `ktune tune` as anybody would run it, with its own seed, one after the other, on a machine
that does nothing else. What is done is kept in DIR: the same command goes on, and prints the table
of all. A control must end in "no improvement found": anything else is said, and is exit code 1.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.costs.proofs import claimed_text, gain_text
from benchmarks.costs.rig import BENCHMARKS, KTUNE, machine, note, table
from ktune.errors import ExitCode
from ktune.records.paths import StatePaths
from ktune.records.study import Study
from ktune.records.types import Proof

CONTROLS = BENCHMARKS / "controls"
_ENDED = (ExitCode.OK, ExitCode.NO_IMPROVEMENT)


@dataclass(frozen=True)
class Tuning:
    """One, as it ended. Gains are relative changes of the objective's level, seconds wall time."""

    name: str
    seed: int
    outcome: str
    gain: str
    claimed: str
    changed: str
    windows: str
    seconds: float
    machine: str


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is missing, print all."""
    parser = argparse.ArgumentParser(description="Whole tunings with proof.")
    parser.add_argument("names", nargs="*", metavar="PROFILE", help="shipped, or a file")
    parser.add_argument(
        "--controls", action="store_true", help="also where nothing is to be gained"
    )
    parser.add_argument("--seeds", type=int, default=1, help="tunings of each")
    parser.add_argument(
        "--state",
        type=Path,
        required=True,
        help="kept; servers run as nobody, who must be able to pass it",
    )
    parser.add_argument("--options", nargs=argparse.REMAINDER, default=[], help="of `ktune tune`")
    options = parser.parse_args(argv)
    controls = sorted(CONTROLS.glob("*.yaml")) if options.controls else []
    wanted = [*options.names, *map(str, controls)]
    if not wanted:
        parser.error("name a profile, or say --controls")
    options.state.mkdir(parents=True, exist_ok=True)
    kept = options.state / "tunings.jsonl"
    done = _read(kept)
    for seed in range(1, options.seeds + 1):
        for name in wanted:
            if any((one.name, one.seed) == (_short(name), seed) for one in done):
                continue
            done.append(_tuned(name, seed, options.state, options.options))
            if not done[-1].outcome.startswith("exit "):  # else the next run tries it again
                with kept.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(done[-1])) + "\n")
            print(f"{done[-1].name}, seed {seed}: {done[-1].outcome}", flush=True)
    mine = [one for one in done if one.name in {_short(name) for name in wanted}]
    _show(mine)
    return _verdict(mine, {path.stem for path in controls})


def _short(name: str) -> str:
    return Path(name).stem if name.endswith((".yaml", ".yml")) else name


def _read(path: Path) -> list[Tuning]:
    if not path.exists():
        return []
    return [Tuning(**json.loads(line)) for line in path.read_text().splitlines()]


def _tuned(name: str, seed: int, folder: Path, options: Sequence[str]) -> Tuning:
    here, state = machine(), folder / f"{_short(name)}-{seed}"
    state.mkdir(mode=0o755, exist_ok=True)
    begun_s = time.perf_counter()
    ended = subprocess.run(
        [
            *(*KTUNE, f"--state-dir={state}", "tune", name, "--seed", str(seed)),
            *("--json", "--quiet", *options),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - begun_s
    if ended.returncode not in _ENDED:
        words = " ".join(ended.stderr.split())[-300:]
        return Tuning(
            _short(name),
            seed,
            f"exit {ended.returncode}: {words}",
            "-",
            "-",
            "-",
            "-",
            seconds,
            here,
        )
    study = Study.open(StatePaths.resolve(state), str(json.loads(ended.stdout)["study"]))
    proof = study.proof()
    counts = Counter(record.validity for record in study.windows().records)
    return Tuning(
        name=_short(name),
        seed=seed,
        outcome=study.manifest.reason if proof is None else proof.outcome.value.replace("_", " "),
        gain=gain_text(proof),
        claimed=claimed_text(proof),
        changed=_changed(proof),
        windows=f"{counts.total()}, {counts['void']} void",
        seconds=seconds,
        machine=here,
    )


def _changed(proof: Proof | None) -> str:
    if proof is None:
        return "-"
    return ", ".join(
        f"{key.rsplit('/', 1)[-1]} {proof.baseline[key]} -> {value}"
        for key, value in proof.assignment.items()
        if proof.baseline[key] != value
    )


def _show(tunings: Sequence[Tuning]) -> None:
    table(
        "Whole tunings",
        (
            "profile",
            "seed",
            "outcome",
            "gain, by pairs",
            "search claimed",
            "windows",
            "s",
            "finalist",
        ),
        [
            (
                *(one.name, str(one.seed), one.outcome, one.gain, one.claimed, one.windows),
                *(f"{one.seconds:.0f}", one.changed),
            )
            for one in sorted(tunings, key=lambda one: (one.name, one.seed))
        ],
    )
    for where, count in Counter(one.machine.split(", load")[0] for one in tunings).items():
        note(f"{count} on: {where}")


def _verdict(tunings: Sequence[Tuning], controls: set[str]) -> int:
    """1 where something did not end, or found what is not there."""
    unended = [one for one in tunings if one.outcome.startswith("exit ")]
    believed = [one for one in tunings if one.name in controls and one.outcome == "improved"]
    if believed:
        names = ", ".join(f"{one.name} (seed {one.seed})" for one in believed)
        note(f"promoted although nothing is to be gained: {names}")
    return 1 if unended or believed else 0


if __name__ == "__main__":
    sys.exit(main())

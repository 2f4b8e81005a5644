"""Real A/A tunings: real windows, and knobs that can't matter. How many are promoted?

    python -m benchmarks.evidence.real_aa --state DIR [--runs 24]

Each run is a whole `ktune tune` in a namespace of its own. The workloads do arithmetic or send
bytes through a pipe; the knobs are TCP timers that neither ever meets: what is promoted is false.
"""

from __future__ import annotations

import argparse
import json
import os
import pwd
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.costs.rig import KTUNE, machine, note, own_runtime_folder, scratch, table
from benchmarks.evidence.rates import percent, power_against, share
from benchmarks.evidence.results import Case, Results, Row
from ktune.evidence.binomial import lower_limit

RUNS = 24
NOMINAL = 0.05
_LIMIT_S = 600.0

_ARITHMETIC = """
import hashlib, time
data = bytes(1 << 20)
start = time.perf_counter()
for _ in range(40):
    data = hashlib.sha256(data).digest() + data[32:]
print("rate=%f" % (40 / (time.perf_counter() - start)))
"""

_PIPE = """
import os, time
here, there = os.pipe(), os.pipe()
if os.fork() == 0:
    while os.read(here[0], 1) == b"x":
        os.write(there[1], b"y")
    os._exit(0)
start = time.perf_counter()
for _ in range(2500):
    os.write(here[1], b"x")
    os.read(there[0], 1)
rate = 2500 / (time.perf_counter() - start)
os.write(here[1], b"e")
os.wait()
print("rate=%f" % rate)
"""

WORKLOADS = {"arithmetic": _ARITHMETIC, "pipe": _PIPE}


class RealTunings:
    """Whole commands, each with its own seed; workloads take turns."""

    name = "real-aa"
    usual_sessions = RUNS

    def design(self, condition: str) -> str:
        return json.dumps(_profile(condition))

    def cases(self, sessions: int) -> Sequence[Case]:
        names = list(WORKLOADS)
        return [Case(names[number % len(names)], number) for number in range(sessions)]

    def tune(self, case: Case) -> Row:
        """One run."""
        started_s, load = time.monotonic(), os.getloadavg()[0]
        with scratch() as folder:
            profile = folder / "profile.yaml"
            profile.write_text(json.dumps(_profile(case.name)))
            ktune = (*KTUNE, f"--state-dir={folder / 'state'}")
            done = _ran(*ktune, "tune", profile, "--quiet", "--json", "--seed", case.seed)
            outcome = json.loads(done)
            shown = json.loads(_ran(*ktune, "studies", "show", "--json", outcome["study"]))
        proof = shown["proof"]
        return {
            "outcome": outcome["outcome"],
            "pairs": proof["pairs"]["decision"],
            "claimed": proof["claimed_by_search"],
            "windows": len(shown["windows"]),
            "seconds": round(time.monotonic() - started_s, 1),
            "load": load,
        }

    def show(self, rows: Sequence[Row]) -> bool:
        """The table; False where more were promoted than chance allows."""
        lines = []
        for name in (*WORKLOADS, "all"):
            own = [row for row in rows if name in (row["case"], "all")]
            if own:
                lines.append(_line(name, own))
        head = (
            *("workload", "promoted", "rate", "pairs (mean)", "windows (mean)", "seconds (mean)"),
            "search claims (mean, most)",
        )
        table("Real A/A tunings: knobs that can't matter", head, lines)
        promoted = sum(row["outcome"] == "improved" for row in rows)
        limit = lower_limit(promoted, len(rows), 0.99) if rows else 0.0
        note(
            f"99 % lower limit {percent(limit)}, nominal {percent(NOMINAL, 0)}. So few runs only "
            "catch a gross fault: a true rate of 30 % would show with a chance of "
            f"{percent(power_against(len(rows), NOMINAL, 0.3), 0) if rows else '-'}."
        )
        return limit <= NOMINAL


def _line(name: str, rows: Sequence[Row]) -> tuple[str, ...]:
    promoted = sum(row["outcome"] == "improved" for row in rows)
    claimed = [row["claimed"] for row in rows if row["claimed"] is not None] or [0.0]

    def mean(what: str) -> float:
        return sum(row[what] for row in rows) / len(rows)

    return (
        name,
        f"{promoted} / {len(rows)}",
        share(promoted, len(rows)),
        f"{mean('pairs'):.1f}",
        f"{mean('windows'):.0f}",
        f"{mean('seconds'):.0f}",
        f"{percent(sum(claimed) / len(claimed))}, {percent(max(claimed))}",
    )


def _profile(workload: str) -> dict[str, object]:
    return {
        "ktune": 1,
        "kind": "profile",
        "name": f"real-aa-{workload}",
        "scope": "ephemeral",
        "workload": {
            "command": [sys.executable, "-I", "-S", "-c", WORKLOADS[workload]],
            "user": pwd.getpwuid(os.geteuid()).pw_name,
            # no socket is ever made: without saying so the plan would refuse these knobs
            "renews": ["new_socket", "new_process"],
            "timeout": "30s",
            "metrics": {"rate": {"from": "key_value", "unit": "1/s", "plausible": [0.1, 1e9]}},
        },
        "knobs": {
            "sysctl": {
                "net.ipv4.tcp_fin_timeout": {"range": [10, 110]},
                "net.ipv4.tcp_keepalive_probes": {"range": [1, 20]},
            }
        },
        "baseline": {"net.ipv4.tcp_fin_timeout": 60, "net.ipv4.tcp_keepalive_probes": 9},
        "objectives": [{"metric": "rate", "direction": "maximize"}],
        "search": {"trials": 16, "stop_after": 16, "baseline_every": 4},
        "safety": {"oom_kills": None},
    }


def _ran(*words: object) -> str:
    done = subprocess.run(
        [str(word) for word in words],
        capture_output=True,
        text=True,
        check=False,
        timeout=_LIMIT_S,
    )
    if done.returncode not in (0, 3):
        raise SystemExit(f"{words}: exit {done.returncode}\n{done.stderr}")
    return done.stdout


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is missing, print the table."""
    parser = argparse.ArgumentParser(description="Real A/A tunings.")
    parser.add_argument("--state", type=Path, required=True, help="folder of the results")
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--report", action="store_true", help="run nothing")
    options = parser.parse_args(argv)
    experiment, results = RealTunings(), Results(options.state)
    if not options.report:
        own_runtime_folder()
        with results.held():
            for case in results.missing(experiment, options.runs):
                found = experiment.tune(case)
                results.add(experiment, case, found)
                print(f"{case.name} {case.seed}: {found}", file=sys.stderr, flush=True)
    print(machine())
    return 0 if experiment.show(results.of(experiment)) else 1


if __name__ == "__main__":
    sys.exit(main())

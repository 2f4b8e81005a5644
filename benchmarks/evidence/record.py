"""Records how a real workload varies under one unchanged setting: one or several of them.

    python -m benchmarks.evidence.record quickstart random-mmap-read sqlite-commits

Writes `traces/WORKLOAD.json`: one metric value per window, in order, back to back. The benchmarks
replay these as noise. Nothing is tuned: the quickstart's baseline is set in a namespace of its own,
the others run under what is in force.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.costs.rig import machine, own_runtime_folder
from benchmarks.evidence.noise import TRACES
from ktune.catalog.catalog import load_catalog
from ktune.modes.bench import LEASE_S
from ktune.modes.source import window_source
from ktune.modes.stage import stage
from ktune.profile.host import host_facts
from ktune.profile.load import load_profile, parse_profile
from ktune.profile.locate import profile_argument
from ktune.profile.model import Profile
from ktune.profile.resolve import resolve
from ktune.proxy.client import LeaseRequest
from ktune.records.paths import StatePaths

COMMITS = """
import os, sqlite3, sys, time
path = sys.argv[1] + "/commits.db"
db = sqlite3.connect(path)
db.execute("PRAGMA synchronous=FULL")
db.execute("CREATE TABLE IF NOT EXISTS t (k INTEGER PRIMARY KEY, v TEXT)")
db.execute("DELETE FROM t")
db.commit()
start = time.perf_counter()
for k in range(200):
    db.execute("INSERT INTO t (v) VALUES (?)", (str(k) * 50,))
    db.commit()
print("commits_per_s=%f" % (200 / (time.perf_counter() - start)))
"""

SQLITE = {
    "ktune": 1,
    "kind": "profile",
    "name": "sqlite-commits",
    "workload": {
        "command": [sys.executable, "-I", "-c", COMMITS, "${state_dir}"],
        "user": "root",
        "renews": ["new_open", "new_process"],
        "timeout": "60s",
        "metrics": {
            "commits_per_s": {"from": "key_value", "unit": "1/s", "plausible": [0.1, 10000000]}
        },
    },
    "objectives": [{"metric": "commits_per_s", "direction": "maximize"}],
}
"""200 durable transactions of SQLite a window: the disk and whoever else writes to it."""

WORKLOADS = ("quickstart", "random-mmap-read", "sqlite-commits")


@dataclass(frozen=True)
class Trace:
    """What is kept of a recording; `values` one per window, void windows left out."""

    workload: str
    metric: str
    machine: str
    window_s: float
    values: list[float]
    void: int


def main(argv: Sequence[str] | None = None) -> int:
    """Record one workload after the other."""
    parser = argparse.ArgumentParser(description="Record the noise of real workloads.")
    parser.add_argument("workload", nargs="+", choices=WORKLOADS)
    parser.add_argument("--windows", type=int, default=300)
    parser.add_argument("--output", type=Path, default=TRACES, help="folder of the traces")
    options = parser.parse_args(argv)
    own_runtime_folder()
    with tempfile.TemporaryDirectory(prefix="ktune-record-") as folder:
        paths = StatePaths(Path(folder) / "state", Path(folder) / "run").ensure()
        for name in options.workload:
            trace = recorded(name, options.windows, paths)
            (options.output / f"{name}.json").write_text(text_of(trace))
            print(f"{name}: {len(trace.values)} windows of {trace.window_s:.2f} s", flush=True)
    return 0


def recorded(name: str, windows: int, paths: StatePaths) -> Trace:
    """Measure so many windows back to back."""
    profile = _profile(name, paths)
    metric = profile.objectives[0].metric
    values: list[float] = []
    void = 0
    started_s = time.monotonic()
    with _source(profile, paths) as (source, poll):
        while len(values) < windows:
            result = source.run(poll)
            if result.valid:
                values.append(result.metrics[metric])
            else:
                void += 1
                if void > windows:
                    raise SystemExit(f"{name}: window after window is not valid: {result.reason}")
    seconds = (time.monotonic() - started_s) / (len(values) + void)
    return Trace(name, metric, machine(), seconds, values, void)


def text_of(trace: Trace) -> str:
    """The trace as JSON, five figures a value: more than any of them is worth."""
    values = [float(f"{value:.5g}") for value in trace.values]
    return (
        json.dumps({**vars(trace), "window_s": round(trace.window_s, 3), "values": values}) + "\n"
    )


def _profile(name: str, paths: StatePaths) -> Profile:
    if name == "sqlite-commits":
        return parse_profile(json.dumps(SQLITE).encode(), file=name, state_dir=str(paths.state))
    return load_profile(profile_argument(name), state_dir=str(paths.state))


@contextmanager
def _source(profile: Profile, paths: StatePaths):  # type: ignore[no-untyped-def]
    """The workload, under its baseline."""
    if profile.scope != "ephemeral":
        with window_source(profile, None) as source:
            yield source, lambda: None
        return
    plan = resolve(profile, load_catalog(), host_facts())
    request = LeaseRequest("record", f"record {profile.name}", f"uid {os.getuid()}")
    with stage(plan, paths, request) as standing:
        standing.lease.apply(dict(plan.baseline), deadline_s=LEASE_S, why="recording")
        renewed_s = time.monotonic()

        def poll() -> None:
            nonlocal renewed_s
            if time.monotonic() - renewed_s > LEASE_S / 4:
                standing.lease.renew(deadline_s=LEASE_S)
                renewed_s = time.monotonic()

        yield standing.source, poll


if __name__ == "__main__":
    sys.exit(main())

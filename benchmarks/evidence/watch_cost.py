"""What a real `ktune watch` costs while it watches: CPU, memory, time on the baseline.

    python -m benchmarks.evidence.watch_cost [--seconds 240]

A policy is applied in a network namespace and watched by a `ktune watch` process at 10 s; after one
pair it is in the steady state, where the next pair is hours away. CPU is that of the watcher and of
every child, ended ones included. Memory is told twice: PSS shares pages with other Python programs
that happen to run; the other is as if nothing else ran (an upper limit: pages that the watcher and
its children share are counted for each).
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.costs.rig import (
    can_make_namespaces,
    machine,
    note,
    own_runtime_folder,
    scratch,
    table,
    verdict,
)
from benchmarks.evidence.watch_world import Setup, policy_text
from ktune.measure.scope import EphemeralScope
from ktune.profile.watching import WatchSettings
from ktune.records.paths import StatePaths
from ktune.records.watches import WatchRecord, list_watches

_COMMAND = '["sh", "-c", "echo speed=100; echo latency=10; echo cost=5; echo asked=1"]'
_CPU_SHARE, _MEMORY_MIB = 0.003, 45.0
_SETTLED_S = 60.0
_WINDOWS_S = (2.0, 10.0, 30.0)


@dataclass(frozen=True)
class Cost:
    """Over `seconds`: CPU seconds; memory in MiB at the end; processes of the watcher's own."""

    seconds: float
    cpu_s: float
    pss_mib: float
    alone_mib: float
    children: int


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="What ktune watch costs.")
    parser.add_argument("--seconds", type=float, default=240.0)
    options = parser.parse_args(argv)
    if not can_make_namespaces():
        note("left out: needs root")
        return 0
    own_runtime_folder()
    print(f"ktune watch: {machine()}")
    with scratch() as folder, EphemeralScope() as scope:
        cost, record = _measured(folder, scope, options.seconds)
    table(
        f"`ktune watch --interval 10s` in the steady state, {cost.seconds:.0f} s",
        ("", "measured", "target", ""),
        [
            (
                "CPU, children included",
                f"{cost.cpu_s / cost.seconds:.2%}",
                f"<= {_CPU_SHARE:.1%}",
                verdict(cost.cpu_s / cost.seconds, _CPU_SHARE, at_most=True),
            ),
            (
                "memory (PSS)",
                f"{cost.pss_mib:.1f} MiB",
                f"<= {_MEMORY_MIB:.0f} MiB",
                verdict(cost.pss_mib, _MEMORY_MIB, at_most=True),
            ),
            (
                "memory, if nothing else ran",
                f"{cost.alone_mib:.1f} MiB",
                f"<= {_MEMORY_MIB:.0f} MiB",
                verdict(cost.alone_mib, _MEMORY_MIB, at_most=True),
            ),
            ("processes beside the watcher", f"{cost.children}", "", ""),
        ],
    )
    note(f"{record.pairs} pair, {record.baseline_s:.2f} s of {record.watched_s:.0f} s on baseline")
    _show_baseline_share()
    return 0


def _show_baseline_share() -> None:
    """What the schedule makes of a window's length; switching and settling come on top."""
    usual = WatchSettings()
    rows = []
    for window_s in _WINDOWS_S:
        # From pair to pair: the wait, and both windows.
        shares = [
            window_s / (every_s + 2 * window_s)
            for every_s in (usual.probation_every, usual.holdback_every)
        ]
        rows.append((f"{window_s:.0f} s", *(f"{share:.2%}" for share in shares)))
    table(
        "Share of time on the baseline with default settings",
        ("window", "on probation", "in the steady state"),
        rows,
    )


def _measured(folder: Path, scope: EphemeralScope, seconds: float) -> tuple[Cost, WatchRecord]:
    paths = StatePaths(folder / "state", folder / "run").ensure()
    setup = Setup(probation_pairs=1)
    policy, profile = folder / "policy.yaml", folder / "profile.yaml"
    policy.write_text(policy_text(paths, setup))
    profile.write_text(setup.profile.replace('["true"]', _COMMAND))
    watcher = subprocess.Popen(
        [
            *(sys.executable, "-m", "ktune", f"--state-dir={paths.state}", "watch", str(policy)),
            *("--netns", scope.ref.netns, "--profile", str(profile)),
            *("--interval", "10s", "--holdback-every", "10h", "--quiet", "--yes"),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_until_steady(paths, watcher)
        before_s, started_s = _cpu_s(watcher.pid), time.monotonic()
        time.sleep(seconds)
        cpu_s, passed_s = _cpu_s(watcher.pid) - before_s, time.monotonic() - started_s
        family = _family(watcher.pid)
        pss, rss = (sum(_mib(pid, kind) for pid in family) for kind in ("Pss", "Rss"))
    finally:
        watcher.send_signal(
            signal.SIGTERM
        )  # SIGINT is ignored by what a shell put in the background
        watcher.wait()
    ((record,), _) = list_watches(paths)
    return Cost(passed_s, cpu_s, pss, rss, len(family) - 1), record


def _wait_until_steady(paths: StatePaths, watcher: subprocess.Popen[bytes]) -> None:
    until_s = time.monotonic() + _SETTLED_S
    while time.monotonic() < until_s:
        records, _ = list_watches(paths)
        if records and records[0].phase == "steady":
            time.sleep(1.0)
            return
        if watcher.poll() is not None:
            raise SystemExit(f"ktune watch ended with {watcher.returncode}")
        time.sleep(0.2)
    raise SystemExit(f"no steady state within {_SETTLED_S:.0f} s")


def _family(pid: int) -> list[int]:
    """The process and every descendant."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += _family(int(child))
    return found


def _cpu_s(pid: int) -> float:
    """Of a process, its living descendants, and those that it has waited for."""
    ticks = 0
    for number in _family(pid):
        fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
        ticks += sum(int(field) for field in fields[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


def _mib(pid: int, kind: str) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(f"{kind}:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"no {kind} of {pid}")


if __name__ == "__main__":
    raise SystemExit(main())

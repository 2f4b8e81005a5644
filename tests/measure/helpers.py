"""Small things that the tests of the measuring layer share."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from ktune.measure.runner import CommandSource
from ktune.measure.specs import MetricSpec, WorkloadSpec
from ktune.measure.window import WindowResult

ROOT = Path(__file__).resolve().parents[2]
X = MetricSpec("x", plausible=(0, 100))
TRANSFER = "ktune.measure.workloads.transfer"


def nothing() -> None:
    """A poll that does nothing."""


def shell(script: str, *, metrics: tuple[MetricSpec, ...] = (X,), **more: Any) -> WorkloadSpec:
    """A workload that a shell script plays."""
    return WorkloadSpec(("sh", "-c", script), metrics, **{"timeout_s": 5.0, **more})


def transfer(up: str, down: str, **more: Any) -> WorkloadSpec:
    """The bundled transfer with all its metrics."""
    names = ["bytes", *(f"{way}_mbit_per_s" for way, size in (("up", up), ("down", down)) if size)]
    arguments = [*(["--up", up] if up else []), *(["--down", down] if down else [])]
    return WorkloadSpec(
        tuple(arguments),
        tuple(MetricSpec(name) for name in names),
        bundled=TRANSFER,
        timeout_s=20.0,
        **more,
    )


def window(workload: WorkloadSpec, **more: Any) -> WindowResult:
    """One window of it."""
    with CommandSource(workload, **more) as source:
        return source.run(nothing)


def running(pid: int) -> bool:
    """Is there such a process, other than as a zombie?"""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def all_gone(pids: list[int], timeout_s: float = 5.0) -> bool:
    """Do all of these end in time?"""
    deadline = time.monotonic() + timeout_s
    while any(running(pid) for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def netns_of(pid: int) -> str:
    """The identity of a process's network namespace (while it lives)."""
    return os.readlink(f"/proc/{pid}/ns/net")

"""What tests of the sensors share: a sensor or the reason to skip, a cgroup of the test's own,
loads in it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ktune.kernel.bpf.library import BpfError
from ktune.kernel.bpf.sensors import KINDS, Sensor, SensorName, Way
from ktune.kernel.cgroup2 import cgroup2_root


@contextmanager
def sensing(
    name: SensorName, way: Way = Way.TP_BTF, *, cgroup: int = 0, device: int = 0
) -> Iterator[Sensor]:
    """An attached sensor; where the host has none the test is skipped."""
    try:
        sensor = Sensor(KINDS[name], way)
    except BpfError as error:
        pytest.skip(f"{name} by {way}: {error.why}")
    with sensor:
        sensor.choose(cgroup=cgroup, device=device)
        sensor.attach()
        yield sensor


@contextmanager
def group() -> Iterator[Path]:
    """A cgroup2 group of the test's own; `path.stat().st_ino` is its id."""
    root = cgroup2_root()
    if root is None:
        pytest.skip("needs cgroup2")
    folder = Path(tempfile.mkdtemp(prefix="ktune-test-", dir=root))
    try:
        yield folder
    finally:
        folder.rmdir()


class Child:
    """A Python program that waits for `go`, then runs, prints and ends."""

    def __init__(self, program: str, *groups: Path, cpu: int | None = None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", "input()\n" + program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid
        for folder in groups:
            (folder / "cgroup.procs").write_text(str(self.pid))
        if cpu is not None:
            os.sched_setaffinity(self.pid, {cpu})

    def go(self) -> None:
        """Let it run."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def ended(self) -> list[float]:
        """The numbers that it printed."""
        said, _ = self._process.communicate(timeout=60)
        assert self._process.returncode == 0
        return [float(word) for word in said.split()]

"""A real service on loopback, and windows over it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.measure.attach.watching import Service

SERVICE = Path(__file__).with_name("service.py")


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    process = subprocess.Popen([sys.executable, str(SERVICE)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    yield Service(process.pid, int(process.stdout.readline()))
    process.kill()
    process.wait()


@pytest.fixture
def cgroup(root: None) -> Iterator[Path]:
    """A cgroup (version 2) of the test's own, below that of its process."""
    own = next(
        line.rpartition(":")[2].strip()
        for line in Path("/proc/self/cgroup").read_text().splitlines()
        if line.startswith("0::")
    )
    mount = next(
        line.split()[4]
        for line in Path("/proc/self/mountinfo").read_text().splitlines()
        if " - cgroup2 " in line
    )
    folder = Path(f"{mount}{own}") / f"ktune-test-{os.getpid()}.service"
    folder.mkdir()
    yield folder
    folder.rmdir()

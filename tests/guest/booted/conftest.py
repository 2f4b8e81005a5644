"""Machines for tests that boot; started on the host by `python -m tests.guest --booted`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.guest.booting import RELEASE_VARIABLE, Boot, End, Machine
from tests.guest.disk import Disk
from tests.guest.kernels import fetch

DISK_VARIABLE = "KTUNE_GUEST_PROVEN"
"""A file for the disk after the first boot, whose tuning takes the longest: made if it is not
there, used if it is, so that a test under work need not wait for it."""
_HERE = Path(__file__).parent


@dataclass
class Rig:
    """A machine on which each boot's command has `words.sh` before it and must end well."""

    machine: Machine

    def boot(self, command: str, *, append: str = "", end: End = End.OFF) -> Boot:
        words = (_HERE / "words.sh").read_text()
        print(f"\n== boot {append}")
        boot = self.machine.boot(f"{words}\n{command}", append=append, end=end)
        assert boot.code == 0, f"{boot.output}\n--- the machine's words\n{boot.log[-6000:]}"
        return boot


@dataclass(frozen=True)
class Proven:
    """A machine that tuned a policy, put it through its probation and persisted it in one boot.

    `output`: of that boot; empty where its disk is from an earlier run.
    """

    machine: Machine
    output: str


@pytest.fixture(scope="session")
def proven(tmp_path_factory: pytest.TempPathFactory) -> Proven:
    folder = tmp_path_factory.mktemp("proven")
    kernel = fetch(os.environ[RELEASE_VARIABLE])
    given = os.environ.get(DISK_VARIABLE)
    if given and Path(given).exists():
        return Proven(Machine(kernel, Disk(Path(given))), "")
    machine = Machine.make(kernel, folder)
    boot = Rig(machine).boot((_HERE / "proven.sh").read_text())
    if given:
        machine.disk.copied(Path(given))
    return Proven(machine, boot.output)


@pytest.fixture
def rig(proven: Proven, tmp_path: Path) -> Rig:
    """That machine, for this test alone."""
    return Rig(proven.machine.copied(tmp_path))

"""The table of faults in docs/kernel-notes.md: each cell is what happened here, in words.

One function for each row; it breaks what the row says under a lease of the given back end and tells
what became of the knob. `documented` reads the same cell from the document.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ktune.kernel.cgroup2 import cgroup2_root
from ktune.proxy.backends import ProxyChoice
from ktune.proxy.client import Lease, LeaseRequest, open_lease
from ktune.proxy.journal import is_held
from ktune.proxy.model import ForeignWrite
from ktune.proxy.recover import recover
from tests.proxy.guarded import write_as
from tests.proxy.rig import Paths, RemoteClient, wait_until, wanted

KNOB = "vm.swappiness"
PATH = "/proc/sys/vm/swappiness"
CANDIDATE, ELSE, OUTSIDE = 37, 38, 99
LIMITS = {"minimum": 10, "maximum": 50}
PATIENCE_S = 2.0
"""How long to wait for what should not come; what should come is waited for much longer."""
DEADLINE_S = 1.0
DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "kernel-notes.md"


@dataclass(frozen=True)
class Stand:
    """What a row is given. `original` is the knob's value before."""

    paths: Paths
    remote: Callable[..., RemoteClient]
    choice: ProxyChoice
    original: int

    def client(self, deadline_s: float = 600.0) -> tuple[RemoteClient, int, str]:
        """A tuner in a process of its own with the candidate in force, its guardian's pid, the
        journal."""
        client = self.remote(proxy=self.choice)
        opened = client.open(self.paths, KNOB)
        assert "error" not in opened, opened
        assert client.apply({KNOB: CANDIDATE}, deadline_s=deadline_s)["good"]
        assert live() == CANDIDATE
        return client, int(opened["guardian"]), str(opened["journal"])

    def lease(self) -> Lease:
        """A lease of this process with limits, the candidate in force."""
        request = LeaseRequest("fault-table", "a test", "pytest")
        made = open_lease(wanted(KNOB, **LIMITS), request, paths=self.paths, proxy=self.choice)
        assert made.apply({KNOB: CANDIDATE}, deadline_s=600).ok
        return made

    def back(self, patience_s: float = 60.0) -> bool:
        """Wait until the knob reads its original."""
        until = time.monotonic() + patience_s
        while live() != self.original:
            if time.monotonic() > until:
                return False
            time.sleep(0.005)
        return True


def live() -> int:
    """The value in force."""
    return int(Path(PATH).read_text())


def tuner_killed(stand: Stand) -> str:
    """kill -9 of the tuner; its guardian is well."""
    client, _, _ = stand.client()
    client.kill()
    assert stand.back()
    return "restored at once"


def guardian_killed(stand: Stand) -> str:
    """kill -9 of the guardian; the tuner is stopped first, so that it can't help."""
    client, guardian, journal = stand.client()
    client.process.send_signal(signal.SIGSTOP)
    os.kill(guardian, signal.SIGKILL)
    by_kernel = stand.back(PATIENCE_S)
    client.process.send_signal(signal.SIGCONT)
    if by_kernel:
        return "restored at once, by the kernel"
    wait_until(lambda: not is_held(journal))
    assert client.ask(op="ping_guardian")["error"] == "LeaseLost"
    assert stand.back()
    return "restored by the tuner"


def both_killed(stand: Stand) -> str:
    """kill -9 of both, so that neither can restore."""
    client, guardian, journal = stand.client()
    os.kill(guardian, signal.SIGSTOP)
    client.kill()
    os.kill(guardian, signal.SIGKILL)
    if stand.back(PATIENCE_S):
        return "restored at once, by the kernel"
    wait_until(lambda: not is_held(journal))
    recover(stand.paths)
    assert stand.back()
    return "stays until the next command that writes"


def stalled(stand: Stand) -> str:
    """Neither tuner nor guardian runs when the deadline passes."""
    client, guardian, _ = stand.client(DEADLINE_S)
    client.process.send_signal(signal.SIGSTOP)
    os.kill(guardian, signal.SIGSTOP)
    by_kernel = stand.back(DEADLINE_S + PATIENCE_S)
    os.kill(guardian, signal.SIGCONT)
    assert stand.back()
    client.process.send_signal(signal.SIGCONT)
    return "restored at the deadline, by the kernel" if by_kernel else "restored when it runs again"


def outside_the_limits(stand: Stand) -> str:
    """Another program writes a value outside the limits."""
    return _written_over(stand, OUTSIDE)


def foreign_write(stand: Stand) -> str:
    """Another program writes a value within the limits."""
    return _written_over(stand, ELSE)


def workload_outside_the_limits(stand: Stand) -> str:
    """The workload (a process of the group that the run made for it) writes outside the limits."""
    held = stand.lease()
    root = cgroup2_root()
    assert root is not None
    folder = f"{root}/ktune-window-{os.getpid()}-table"
    os.mkdir(folder)
    try:
        held.bind(folder)
        (said,) = write_as(folder, PATH, str(OUTSIDE))[1]
    finally:
        os.rmdir(folder)
        told = held.check() if said == "ok" else ()
        held.release()
    if said != "ok":
        assert live() == stand.original
        return f"refused ({said})"
    assert told
    return "goes through, reported"


ROWS: dict[str, Callable[[Stand], str]] = {
    "tuner killed": tuner_killed,
    "guardian killed": guardian_killed,
    "both killed": both_killed,
    "machine stalled": stalled,
    "out-of-limits write by another tool": outside_the_limits,
    "out-of-limits write by the workload": workload_outside_the_limits,
    "foreign write": foreign_write,
}
COLUMNS = {
    ProxyChoice.FILE: "file",
    ProxyChoice.BPF: "file + BPF guard",
    ProxyChoice.MODULE: "module + BPF guard",
}


def documented(row: str, column: str) -> str:
    """The cell of the document. Raises KeyError: there is none."""
    lines = [line for line in DOCUMENT.read_text().splitlines() if line.startswith("| ")]
    (head,) = [line for line in lines if line.startswith("| fault |")]
    names = [cell.strip() for cell in head.strip("|").split("|")]
    for line in lines:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0] == row and len(cells) == len(names):
            return dict(zip(names, cells, strict=True))[column]
    raise KeyError(row)


def _written_over(stand: Stand, value: int) -> str:
    held = stand.lease()
    pid, said = write_as("", PATH, str(value))
    assert said == ["ok"]
    told: list[ForeignWrite] = []
    until = time.monotonic() + PATIENCE_S
    while not told and time.monotonic() < until:
        told += held.heard()
        time.sleep(0.01)
    if told:
        by = told[0].by
        how = "told at once" + (", with its writer" if by is not None and by.pid == pid else "")
    else:
        told += held.check()
        how = "found by polling"
    assert [(item.expected, item.found) for item in told] == [(CANDIDATE, value)]
    report = held.release()
    assert [item.key for item in report.foreign] == [KNOB]
    return f"kept; {how}" if live() == value else f"overwritten; {how}"

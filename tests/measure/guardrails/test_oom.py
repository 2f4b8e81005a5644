"""OOM kills: recorded counters, and a real kill in a cgroup of our own."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktune.measure.guardrails.from_profile import group_of_workload
from ktune.measure.guardrails.kernel_log import LogRecord
from ktune.measure.guardrails.kmsg import KernelLog
from ktune.measure.guardrails.oom import (
    OomKills,
    WorkloadGroup,
    cgroup_files,
    group_of_process,
    oom_kills,
)
from ktune.measure.guardrails.source import Unwatchable
from ktune.profile.guards import KillsOf
from ktune.profile.workload import Workload

AT_A_LIMIT = "Memory cgroup out of memory: Killed process 1 (a) total-vm:1kB"


class Log(KernelLog):
    """Lines of the kernel, as they come."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.listener = lambda record: None

    def listen(self, listener) -> None:
        self.listener = listener

    def pump(self) -> None:
        for line in self.lines:
            self.listener(LogRecord(0, 3, 1, line))
        self.lines.clear()


class Host:
    """Counters of the machine and of the workload's cgroup, and the kernel log."""

    def __init__(self, tmp_path: Path, of: KillsOf, above: int = 0) -> None:
        self.cgroup = tmp_path / "memory.events"
        self.machine = 7
        self.own(2)
        self.log = Log()
        self.guard = OomKills(
            of,
            above,
            log=self.log,
            cgroup=WorkloadGroup(str(self.cgroup)),
            read_machine=self.vmstat,
        )
        self.note = self.guard.open()

    def vmstat(self) -> bytes:
        return f"nr_free_pages 1\noom_kill {self.machine}\n".encode()

    def own(self, kills: int) -> None:
        self.cgroup.write_text(f"low 0\noom 9\noom_kill {kills}\noom_group_kill 0\n")

    def looks(self, count: int = 3) -> list[str | None]:
        return [self.guard.crossed(float(number)) for number in range(count)]


def test_a_kill_anywhere_crosses_at_once_when_any_counts(tmp_path: Path) -> None:
    host = Host(tmp_path, KillsOf.ANY)
    assert host.looks() == [None] * 3
    host.machine, host.log.lines = 8, [AT_A_LIMIT]
    assert host.looks(1) == ["1 OOM kills in the window (limit 0)"]


def test_kills_before_the_window_do_not_count(tmp_path: Path) -> None:
    host = Host(tmp_path, KillsOf.ANY)
    host.machine = 9
    host.guard.start()
    assert host.looks() == [None] * 3


def test_a_container_that_dies_at_its_own_limit_does_not_count_by_default(tmp_path: Path) -> None:
    host = Host(tmp_path, KillsOf.MACHINE)
    host.machine, host.log.lines = 9, [AT_A_LIMIT, AT_A_LIMIT]
    assert host.looks() == [None] * 3


def test_a_counter_that_is_ahead_of_its_line_does_not_count_either(tmp_path: Path) -> None:
    host = Host(tmp_path, KillsOf.MACHINE)
    host.machine = 8
    assert host.looks(1) == [None]
    host.log.lines = [AT_A_LIMIT]
    assert host.looks() == [None] * 3


def test_a_kill_for_want_of_the_machines_memory_counts(tmp_path: Path) -> None:
    host = Host(tmp_path, KillsOf.MACHINE)
    host.machine, host.log.lines = 10, [AT_A_LIMIT, "Out of memory: Killed process 7 (b) total"]
    assert host.looks(2) == [None, "2 OOM kills in the window (limit 0)"]


def test_a_kill_at_the_limit_of_the_workloads_own_cgroup_counts(tmp_path: Path) -> None:
    host = Host(tmp_path, KillsOf.MACHINE)
    host.machine, host.log.lines = 8, [AT_A_LIMIT]
    host.own(3)
    assert host.looks(1) == ["1 OOM kills in the window (limit 0)"]


def test_only_the_workloads_kills_count_when_only_they_shall(tmp_path: Path) -> None:
    host = Host(tmp_path, KillsOf.WORKLOAD, above=1)
    host.machine = 20
    assert host.looks() == [None] * 3
    host.own(4)
    assert host.looks(1) == ["2 OOM kills in the workload's cgroup in the window (limit 1)"]


def test_a_service_that_restarts_gets_a_new_group_and_is_watched_on(tmp_path: Path) -> None:
    group = tmp_path / "service"
    group.mkdir()
    counter = group / "memory.events"
    counter.write_text("oom_kill 5\n")
    guard = OomKills(KillsOf.WORKLOAD, 1, cgroup=WorkloadGroup(str(counter)))
    guard.open()
    counter.write_text("oom_kill 6\n")
    assert guard.crossed(0.0) is None
    guard._cgroup._file.close()  # as when the cgroup is removed: reading it fails from now on
    counter.unlink()
    assert guard.crossed(1.0) is None
    counter.write_text("oom_kill 0\n")
    assert guard.crossed(2.0) is None
    counter.write_text("oom_kill 1\n")
    assert guard.crossed(3.0) == "2 OOM kills in the workload's cgroup in the window (limit 1)"
    guard.close()


def test_a_kill_for_want_of_memory_is_looked_at_again_soon(tmp_path: Path) -> None:
    host = Host(tmp_path, KillsOf.MACHINE)
    assert host.guard.every_s >= 5
    host.machine = 8
    host.looks(1)
    assert host.guard.every_s < 1


def attached(target: dict[str, object]) -> Workload:
    return Workload.model_validate(
        {
            "attach": target,
            "measure": {"for": "10s"},
            "metrics": {
                "cpu": {"from": "psi", "resource": "cpu", "line": "some", "plausible": [0, 1]}
            },
        }
    )


def test_the_group_of_an_attached_service_is_its_own(root: None) -> None:
    with small_group() as folder:
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        try:
            (folder / "cgroup.procs").write_text(str(child.pid))
            for target in ({"cgroup": str(folder)}, {"pid": child.pid}):
                found = group_of_workload(attached(target))
                assert found.counter and found.counter.startswith(f"{folder}/memory."), found
        finally:
            child.kill()
            child.wait()
        gone = group_of_workload(attached({"pid": child.pid}))
        assert gone.counter is None and "the service is gone" in gone.reason


def test_without_the_log_every_kill_counts_and_that_is_said(tmp_path: Path) -> None:
    machine = [3]
    guard = OomKills(
        KillsOf.MACHINE,
        0,
        log=KernelLog(str(tmp_path / "no-kmsg")),
        read_machine=lambda: b"oom_kill %d\n" % machine[0],
    )
    assert "kills at the limit of any cgroup count too" in guard.open()
    machine[0] = 4
    assert guard.crossed(0.0) == "1 OOM kills in the window (limit 0)"


def test_no_counter_is_said() -> None:
    with pytest.raises(Unwatchable, match="nobody said which cgroup"):
        OomKills(KillsOf.WORKLOAD, 0).open()
    with pytest.raises(Unwatchable, match="no oom_kill counter"):
        OomKills(KillsOf.ANY, 0, read_machine=lambda: b"nr_free_pages 1\n").open()
    with pytest.raises(Unwatchable, match="No such file"):
        OomKills(KillsOf.WORKLOAD, 0, cgroup=WorkloadGroup("/nowhere/memory.events")).open()


@given(st.binary(max_size=300))
def test_hostile_counters_are_numbers_or_errors(text: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert oom_kills(text) >= 0


@given(st.text(max_size=200), st.text(max_size=400))
def test_hostile_texts_of_proc_give_paths_or_none(groups: str, mounts: str) -> None:
    assert all(path.endswith((".events", ".oom_control")) for path in cgroup_files(groups, mounts))


def test_the_counter_of_either_version_is_found() -> None:
    v1 = "25 20 0:22 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n"
    v2 = "26 20 0:23 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
    part = "26 20 0:23 /docker/1 /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
    assert cgroup_files("4:memory:/a/b\n0::/\n", v1) == [
        "/sys/fs/cgroup/memory/a/b/memory.oom_control"
    ]
    assert cgroup_files("0::/user.slice/x\n", v2) == ["/sys/fs/cgroup/user.slice/x/memory.events"]
    assert cgroup_files("0::/docker/1/x\n", part) == ["/sys/fs/cgroup/x/memory.events"]
    assert cgroup_files("0::/\n", "") == []


@contextlib.contextmanager
def small_group() -> Iterator[Path]:
    """A memory cgroup of 24 MiB, either version; gone afterwards."""
    v1 = Path("/sys/fs/cgroup/memory")
    root, limit = (
        (v1, "memory.limit_in_bytes") if v1.is_dir() else (Path("/sys/fs/cgroup"), "memory.max")
    )
    folder = root / f"ktune-test-oom-{os.getpid()}"
    try:
        folder.mkdir()
        (folder / limit).write_text(str(24 << 20))
    except OSError as error:
        with contextlib.suppress(OSError):
            folder.rmdir()
        pytest.skip(f"no memory cgroup can be made here: {error}")
    try:
        yield folder
    finally:
        for _ in range(100):
            with contextlib.suppress(OSError):
                folder.rmdir()
                break
            time.sleep(0.05)


HOG = """
import sys
with open(sys.argv[1] + "/cgroup.procs", "w") as file:
    file.write("0")
sys.stdout.write("in\\n"); sys.stdout.flush(); sys.stdin.readline()
held = []
while True:
    held.append(bytearray(1 << 20))
"""


@pytest.mark.full
def test_a_real_kill_at_the_limit_of_a_cgroup(root: None) -> None:
    """It counts for the workload of that cgroup and for `any`, not for another workload."""
    with small_group() as folder:
        hog = subprocess.Popen(
            [sys.executable, "-c", HOG, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert hog.stdin and hog.stdout and hog.stdout.readline() == "in\n"
        own = group_of_process(hog.pid)
        assert own.counter is not None and own.counter.startswith(str(folder))
        guards = {
            "its own": OomKills(KillsOf.WORKLOAD, 0, cgroup=own),
            "machine, its own": OomKills(KillsOf.MACHINE, 0, log=KernelLog(), cgroup=own),
            "machine": OomKills(KillsOf.MACHINE, 0, log=KernelLog()),
            "any": OomKills(KillsOf.ANY, 0),
        }
        notes = [guard.open() for guard in guards.values()]
        hog.stdin.write("go\n")
        hog.stdin.flush()
        assert hog.wait(60) == -9
        time.sleep(0.1)
        said = {
            name: [guard.crossed(float(look)) for look in range(3)][-1]
            for name, guard in guards.items()
        }
        for guard in guards.values():
            guard.close()
    assert said["its own"] == "1 OOM kills in the workload's cgroup in the window (limit 0)"
    assert said["machine, its own"] and said["any"]
    if not any(notes):  # the log tells
        assert said["machine"] is None

"""Each sensor on the real kernel, against something else that knows the same number."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ktune.kernel.bpf import sensors
from ktune.kernel.bpf.library import BpfError
from ktune.kernel.bpf.sensors import KINDS, Sensor, SensorName, Way, open_sensor
from tests.kernel.sensing import Child, group, sensing

pytestmark = pytest.mark.usefixtures("root")

SPIN = """
import time
def waited():
    with open("/proc/self/schedstat") as file:
        return [int(word) for word in file.read().split()[1:]]
before, end = waited(), time.monotonic() + 1
while time.monotonic() < end:
    pass
print(*(now - then for now, then in zip(waited(), before)))
"""
"""Spins for a second; prints the kernel's own account: nanoseconds waited, times that it ran."""

TOUCH = """
import mmap, resource
pages = 5000
memory = mmap.mmap(-1, pages * mmap.PAGESIZE)
memory.madvise(mmap.MADV_NOHUGEPAGE)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for page in range(pages):
    memory[page * mmap.PAGESIZE] = 1
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
"""Touches 5000 new pages; prints the faults that getrusage(2) counted."""


@pytest.fixture
def tracefs(root: None) -> Iterator[None]:
    """Classic tracepoints are found by their names; the mount is the test process's own."""
    mounted = os.path.isdir("/sys/kernel/tracing/events")
    if not mounted:
        done = subprocess.run(["mount", "-t", "tracefs", "tracefs", "/sys/kernel/tracing"])
        if done.returncode:
            pytest.skip("tracefs can't be mounted")
    yield
    if not mounted:
        subprocess.run(["umount", "/sys/kernel/tracing"], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A loop device of the test's own (4 MiB)."""
    image = tmp_path / "disk"
    image.write_bytes(os.urandom(4 << 20))
    made = subprocess.run(["losetup", "--find", "--show", image], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"no loop device: {made.stderr.strip()}")
    device = Path(made.stdout.strip())
    yield device
    subprocess.run(["losetup", "--detach", device], check=True)


def test_run_queue_latency_is_what_the_kernel_accounts_to_the_tasks() -> None:
    with group() as folder:
        children = [Child(SPIN, folder, cpu=0) for _ in range(4)]
        with sensing(SensorName.RUNQUEUE_LATENCY, cgroup=folder.stat().st_ino) as sensor:
            for child in children:
                child.go()
            accounts = [child.ended() for child in children]
            seen = sensor.read().tally
    waited_ns, runs = (sum(column) for column in zip(*accounts, strict=True))
    assert seen.histogram is not None
    # the start and the end of a child lie outside of its own account
    assert runs <= seen.events <= runs + 40 * len(children)
    assert seen.histogram.sum_ns == pytest.approx(waited_ns, rel=0.1)


def test_four_spinning_tasks_on_a_cpu_wait_for_slices() -> None:
    with group() as folder:
        children = [Child(SPIN, folder, cpu=0) for _ in range(4)]
        with sensing(SensorName.RUNQUEUE_LATENCY, cgroup=folder.stat().st_ino) as sensor:
            for child in children:
                child.go()
            accounts = [child.ended() for child in children]
            seen = sensor.read().tally.histogram
    assert seen is not None
    mean_ns = sum(item[0] for item in accounts) / sum(item[1] for item in accounts)
    # slices are 1 to 10 ms, and three others have theirs meanwhile
    assert 1e6 < seen.quantile_ns(0.99) < 1e9
    assert seen.quantile_ns(0.5) <= 4 * mean_ns
    assert seen.quantile_ns(0.99) >= mean_ns


def test_a_filter_leaves_out_what_is_not_in_the_cgroup() -> None:
    with group() as folder, group() as other:
        child = Child(SPIN, folder, cpu=0)
        with sensing(SensorName.RUNQUEUE_LATENCY, cgroup=other.stat().st_ino) as sensor:
            child.go()
            child.ended()
            assert sensor.read().tally.events == 0


def test_a_cgroup_holds_what_is_below_it() -> None:
    with group() as folder:
        below = folder / "below"
        below.mkdir()
        try:
            child = Child(TOUCH, below)
            with sensing(SensorName.PAGE_FAULTS, cgroup=folder.stat().st_ino) as sensor:
                child.go()
                child.ended()
                assert sensor.read().tally.events >= 5000
        finally:
            below.rmdir()


def test_page_faults_are_those_of_getrusage() -> None:
    with group() as folder:
        child = Child(TOUCH, folder)
        with sensing(SensorName.PAGE_FAULTS, cgroup=folder.stat().st_ino) as sensor:
            child.go()
            (counted,) = child.ended()
            seen = sensor.read().tally.events
    # the interpreter's own, before and after
    assert 5000 <= counted <= seen <= counted + 1000


@pytest.mark.parametrize("way", Way)
def test_block_latency_counts_what_the_disk_completed(disk: Path, way: Way, tracefs: None) -> None:
    status = disk.stat().st_rdev
    device = os.major(status) << 20 | os.minor(status)
    completed = _completed(disk)
    with sensing(SensorName.BLOCK_LATENCY, way, device=device) as sensor:
        for block in (4096, 65536):
            subprocess.run(
                ["dd", f"if={disk}", "of=/dev/null", "iflag=direct", f"bs={block}", "count=50"],
                check=True,
                stderr=subprocess.DEVNULL,
            )
        seen, done = sensor.read().tally, _completed(disk) - completed
    assert done >= 100
    assert seen.events == done
    assert seen.histogram is not None
    assert 1e3 < seen.histogram.quantile_ns(0.5) < 1e9


def test_block_latency_of_one_disk_leaves_the_others_out(disk: Path) -> None:
    status = disk.stat().st_rdev
    another = os.major(status) << 20 | (os.minor(status) + 1000)
    with sensing(SensorName.BLOCK_LATENCY, device=another) as sensor:
        subprocess.run(
            ["dd", f"if={disk}", "of=/dev/null", "iflag=direct", "bs=4096", "count=20"],
            check=True,
            stderr=subprocess.DEVNULL,
        )
        assert sensor.read().tally.events == 0


def test_direct_reclaim_happens_as_often_as_a_memory_cgroup_is_at_its_limit(
    tmp_path: Path,
) -> None:
    memory = Path("/sys/fs/cgroup/memory")
    if not (memory / "memory.failcnt").exists():
        pytest.skip("needs the memory controller of cgroup v1")
    limited = memory / f"ktune-test-{os.getpid()}"
    limited.mkdir()
    try:
        (limited / "memory.limit_in_bytes").write_text(str(32 << 20))
        with group() as folder:
            file = tmp_path / "file"
            child = Child(
                f"with open({str(file)!r}, 'wb') as out:\n"
                "    for _ in range(96): out.write(bytes(1 << 20))",
                folder,
                limited,
            )
            cgroup = folder.stat().st_ino
            with sensing(SensorName.DIRECT_RECLAIM_LATENCY, cgroup=cgroup) as sensor:
                child.go()
                child.ended()
                seen = sensor.read().tally
        hits = int((limited / "memory.failcnt").read_text())
    finally:
        limited.rmdir()
    assert hits > 0
    # a charge that fails is tried again after each reclaim, and some reclaim ahead
    assert 0.5 * hits <= seen.events <= 4 * hits
    assert seen.histogram is not None
    assert seen.histogram.mean_ns > 1000


def test_the_fallback_sees_what_tp_btf_sees(tracefs: None) -> None:
    name = SensorName.RUNQUEUE_LATENCY
    with sensing(name) as better, sensing(name, Way.TRACEPOINT) as plain:
        before = better.read().tally, plain.read().tally
        children = [Child(SPIN, cpu=0) for _ in range(3)]
        for child in children:
            child.go()
        for child in children:
            child.ended()
        one, two = better.read().tally.minus(before[0]), plain.read().tally.minus(before[1])
    assert one.histogram is not None
    assert two.histogram is not None
    assert two.events == pytest.approx(one.events, rel=0.1)
    # a wait that began on another queue counts from the move (tp_btf) or whole (tracepoint)
    assert two.histogram.quantile_ns(0.9) == pytest.approx(one.histogram.quantile_ns(0.9), rel=0.5)


def test_page_faults_of_the_fallback(tracefs: None) -> None:
    child = Child(TOUCH)
    with sensing(SensorName.PAGE_FAULTS, Way.TRACEPOINT) as sensor:
        child.go()
        (counted,) = child.ended()
        assert sensor.read().tally.events >= counted


def test_nothing_is_counted_while_detached() -> None:
    with sensing(SensorName.PAGE_FAULTS) as sensor:
        sensor.detach()
        before = sensor.read().tally
        child = Child(TOUCH)
        child.go()
        child.ended()
        assert sensor.read().tally == before
        sensor.attach()
        child = Child(TOUCH)
        child.go()
        child.ended()
        assert sensor.read().tally.minus(before).events >= 5000


def test_a_sensor_that_falls_back_says_so(tracefs: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with sensing(SensorName.PAGE_FAULTS):
        pass
    monkeypatch.setattr(sensors.SensorKind, "object", "sensor_of_another_kernel")
    with open_sensor(SensorName.PAGE_FAULTS) as sensor:
        assert sensor.way is Way.TRACEPOINT
        assert "classic tracepoint" in sensor.note
        assert "sensor_of_another_kernel" in sensor.note
        with pytest.raises(BpfError, match="has no cgroups"):
            sensor.choose(cgroup=1)
    with pytest.raises(BpfError, match="do not know whose"):
        open_sensor(SensorName.PAGE_FAULTS, of_workload=True)
    with pytest.raises(BpfError, match="tcp_rtt has no classic tracepoint"):
        open_sensor(SensorName.TCP_RTT)


def test_without_root_a_sensor_says_what_it_needs() -> None:
    with pytest.raises(BpfError, match="can't tell whose"):
        open_sensor(SensorName.BLOCK_LATENCY, of_workload=True)
    pid = os.fork()
    if pid == 0:
        try:
            os.setresuid(65534, 65534, 65534)
            Sensor(KINDS[SensorName.PAGE_FAULTS])
        except BpfError:
            try:
                open_sensor(SensorName.PAGE_FAULTS)
            except BpfError as error:
                os._exit(0 if "needs root" in error.why else 1)
        finally:
            os._exit(2)  # whatever it was: no second pytest may go on from here
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def _completed(disk: Path) -> int:
    """Requests that the disk has completed: reads, writes, discards, flushes (iostats.rst)."""
    fields = Path("/sys/block", disk.name, "stat").read_text().split()
    return sum(int(fields[place]) for place in (0, 4, 11, 15))

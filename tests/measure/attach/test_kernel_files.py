"""Fields of real kernel files, of real processes and cgroups."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ktune.errors import RefusedError
from ktune.measure.attach.cgroups import hierarchies
from ktune.measure.attach.fields import NoSuchField, cgroup_field, proc_field
from ktune.measure.attach.source import AttachSource
from ktune.measure.attach.specs import (
    CgroupField,
    PressureShare,
    ProcField,
    Reduction,
    TargetKind,
    TargetSpec,
)
from ktune.measure.scope import EphemeralScope
from ktune.measure.window import Validity
from tests.measure.attach.watching import Service, metric, spec, watch
from tests.measure.helpers import nothing

BUSY = "import time\nwhile True:\n    open('/dev/null', 'wb').write(b'x' * 4096)\n"


@pytest.fixture(scope="module")
def busy():
    """A process that computes and writes all the time."""
    process = subprocess.Popen([sys.executable, "-c", BUSY])
    yield process
    process.kill()
    process.wait()


def test_fields_of_a_process_of_the_machine_and_of_a_namespace(busy) -> None:
    result = watch(
        TargetSpec(TargetKind.PID, str(busy.pid)),
        metric("cpus", ProcField("stat", "utime")),
        metric("threads", ProcField("stat", "num_threads"), Reduction.VALUE),
        metric("written", ProcField("io", "wchar")),
        metric("calls", ProcField("io", "syscw")),
        metric("resident", ProcField("status", "VmRSS"), Reduction.VALUE),
        metric("pages", ProcField("stat", "rss"), Reduction.VALUE),
        metric("ran_ns", ProcField("schedstat", "run_ns")),
        metric("drops", ProcField("net/netstat", "TcpExt.ListenDrops")),
        metric("opens", ProcField("net/snmp", "Tcp.ActiveOpens"), Reduction.VALUE),
        metric("faults", ProcField("vmstat", "pgfault")),
        metric("stalled", PressureShare("cpu", "some", of_service=False)),
    )

    assert result.validity is Validity.VALID, result.reason
    found = result.metrics
    assert found["threads"] == 1
    assert found["written"] == pytest.approx(4096 * found["calls"], rel=0.05)
    assert found["pages"] == pytest.approx(found["resident"], rel=0.2)
    assert found["ran_ns"] > 0 and found["faults"] >= 0
    assert 0 <= found["stalled"] <= 1.01


def test_a_disk_is_named_with_its_field() -> None:
    text = "   8       0 sda 10 0 80 5 20 0 160 7 0 12 12\n"

    assert proc_field("diskstats", "sda.writes", text) == 20
    with pytest.raises(NoSuchField, match="no disk sdb"):
        proc_field("diskstats", "sdb.writes", text)


def test_cgroup_files_of_both_versions() -> None:
    assert cgroup_field("usage_usec 10\nuser_usec 4\n", "user_usec") == 4
    assert cgroup_field("1234\n", "") == 1234
    assert cgroup_field("8:0 rbytes=10 wios=1\n8:16 rbytes=5\n", "rbytes") == 15
    for text, field, why in (
        ("max\n", "", "no number"),
        ("a 1\nb 2\n", "", "name a field"),
        ("a 1\n", "b", "no field b"),
    ):
        with pytest.raises(NoSuchField, match=why):
            cgroup_field(text, field)


def test_a_cgroup_is_watched_with_its_pressure_and_all_its_processes(cgroup: Path) -> None:
    inner = cgroup / "inner"
    inner.mkdir()
    busy = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(2)]
    (cgroup / "cgroup.procs").write_text(str(busy[0].pid))
    (inner / "cgroup.procs").write_text(str(busy[1].pid))
    try:
        metrics = (
            metric("threads", ProcField("stat", "num_threads"), Reduction.VALUE),
            metric("usage", CgroupField("cpu.stat", "usage_usec")),
            metric("stalled", PressureShare("cpu", "some", of_service=True)),
        )
        by_path = watch(TargetSpec(TargetKind.CGROUP, str(cgroup)), *metrics)
        by_unit = watch(TargetSpec(TargetKind.UNIT, cgroup.name), *metrics)
    finally:
        for process in busy:
            process.kill()
            process.wait()
        inner.rmdir()

    for result in (by_path, by_unit):
        assert result.validity is Validity.VALID, result.reason
        assert result.metrics["threads"] == 2
        assert result.metrics["usage"] > 0
        assert "stalled" in result.metrics


def test_a_version_1_cgroup_of_a_process(busy, root: None) -> None:
    mounts = [item for item in hierarchies() if "cpuacct" in item.controllers]
    if not mounts:
        pytest.skip("this host has no version 1 cpuacct")
    folder = Path(mounts[0].mount) / f"ktune-test-{os.getpid()}"
    folder.mkdir()
    (folder / "cgroup.procs").write_text(str(busy.pid))
    try:
        result = watch(
            TargetSpec(TargetKind.PID, str(busy.pid)),
            metric("usage", CgroupField("cpuacct.usage", "")),
        )
    finally:
        (Path(mounts[0].mount) / "cgroup.procs").write_text(str(busy.pid))
        folder.rmdir()

    assert result.validity is Validity.VALID, result.reason
    assert result.metrics["usage"] > 0


def test_all_processes_of_a_name_are_added_up() -> None:
    name = f"kt{os.getpid()}"
    rename = f"open('/proc/self/comm', 'w').write('{name}')\n"
    wait = "print(1, flush=True)\nimport time\ntime.sleep(600)\n"
    sleepers = [
        subprocess.Popen([sys.executable, "-c", rename + wait], stdout=subprocess.PIPE)
        for _ in range(3)
    ]
    try:
        for sleeper in sleepers:
            assert sleeper.stdout is not None and sleeper.stdout.readline()
        result = watch(
            TargetSpec(TargetKind.PROCESS, name),
            metric("threads", ProcField("stat", "num_threads"), Reduction.VALUE),
        )
    finally:
        for sleeper in sleepers:
            sleeper.kill()
            sleeper.wait()

    assert result.metrics["threads"] == 3


def test_a_field_that_is_not_there_is_refused_not_guessed(busy) -> None:
    target = TargetSpec(TargetKind.PID, str(busy.pid))
    for origin, why in (
        (ProcField("io", "nonsense"), "no field nonsense"),
        (ProcField("net/netstat", "TcpExt.Nonsense"), "no field Nonsense"),
        (CgroupField("nonsense.stat", "x"), "nonsense.stat"),
    ):
        if isinstance(origin, CgroupField):
            result = watch(target, metric("m", origin))
            assert (result.validity, why in result.reason) == (Validity.VOID, True)
            continue
        with pytest.raises(RefusedError, match=why):
            watch(target, metric("m", origin))


def test_a_service_that_is_not_there_is_refused_and_one_that_goes_voids_the_window() -> None:
    with pytest.raises(RefusedError, match="nothing to attach to"):
        watch(TargetSpec(TargetKind.UNIT, "ktune-no-such.service"))
    process = subprocess.Popen(["sleep", "600"])
    target = TargetSpec(TargetKind.PID, str(process.pid))
    with AttachSource(spec(target, metric("m", ProcField("stat", "minflt")))) as source:
        process.kill()
        process.wait()
        result = source.run(nothing)

    assert result.validity is Validity.VOID
    assert "the service is gone" in result.reason


def test_a_restart_within_the_window_voids_it(cgroup: Path) -> None:
    def start() -> subprocess.Popen[bytes]:
        process = subprocess.Popen(["sleep", "600"])
        (cgroup / "cgroup.procs").write_text(str(process.pid))
        return process

    running = [start()]
    polls = 0

    def poll() -> None:
        nonlocal polls
        polls += 1
        if polls == 3:
            running.append(start())
            running[0].kill()
            running[0].wait()

    target = TargetSpec(TargetKind.CGROUP, str(cgroup))
    with AttachSource(spec(target, metric("m", ProcField("stat", "minflt")))) as source:
        voided = source.run(poll)
        after = source.run(nothing)
    running[1].kill()
    running[1].wait()

    assert (voided.validity, "was restarted" in voided.reason) == (Validity.VOID, True)
    assert after.valid


def test_a_folder_that_is_no_cgroup_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="is no cgroup"):
        watch(TargetSpec(TargetKind.CGROUP, str(tmp_path)))


def test_a_service_of_another_namespace_is_refused(service: Service, root: None) -> None:
    wanted = metric("m", ProcField("stat", "minflt"))
    with EphemeralScope() as scope, pytest.raises(RefusedError, match="another network namespace"):
        AttachSource(spec(service.target, wanted), scope=scope.ref)


def test_pages_are_fetched_in_the_services_own_namespace(root: None) -> None:
    with EphemeralScope() as scope:
        program = Path(__file__).with_name("service.py")
        process = subprocess.Popen(
            ["nsenter", f"--net={scope.ref.netns}", sys.executable, str(program)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        inside = Service(process.pid, int(process.stdout.readline()))
        wanted = metric("work", inside.series("work_total"), None)
        try:
            with AttachSource(spec(inside.target, wanted), scope=scope.ref) as source:
                result = source.run(nothing)
        finally:
            process.kill()
            process.wait()

    assert result.validity is Validity.VALID, result.reason
    assert result.metrics["work"] > 0

"""A swap file and little memory, for real: swapped to, undone, and undone after any death."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from ktune.errors import BusyError, RefusedError
from ktune.measure.runner import CommandSource
from ktune.measure.services.errors import ServiceError
from ktune.measure.specs import MetricSpec
from ktune.measure.swap import area, ground
from ktune.measure.swap.from_profile import memory_of
from ktune.measure.swap.limited import LimitedMemory, SwapSpec
from ktune.measure.window import Validity
from ktune.profile.load import parse_profile
from tests.conftest import HostKnobs
from tests.measure.helpers import all_gone, nothing, shell
from tests.measure.swap.conftest import MIB, spec_in

# tail keeps all of a line that does not end: twice as much as there is.
GREEDY = """
head -c 48M /dev/zero | tail -c 48M | wc -c > /dev/null
group=$(sed -n 's/.*:memory://p' /proc/self/cgroup)
cd "/sys/fs/cgroup/memory/$group"
echo limit=$(cat memory.limit_in_bytes) swappiness=$(cat memory.swappiness) | tr ' ' '\\n'
echo held=$(cat memory.memsw.max_usage_in_bytes)
echo x=1
"""
METRICS = tuple(MetricSpec(name) for name in ("limit", "swappiness", "held", "x"))


def keeper_of(spec: SwapSpec) -> int:
    """Its process id, by its command line."""
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
        except OSError:
            continue
        if b"ktune.measure.swap.keeper" in words and os.fsencode(spec.folder) in words:
            return int(entry.name)
    raise AssertionError("no keeper runs")


def is_gone(spec: SwapSpec) -> bool:
    """Neither file nor group is left."""
    return not spec.folder.exists() and not area.is_on(spec.folder / area.FILE)


@contextmanager
def memory_begun(memory: LimitedMemory) -> Iterator[int]:
    """The keeper's process id; undone in the end."""
    memory.begin(nothing)
    try:
        yield keeper_of(memory.spec)
    finally:
        memory.close()


def test_a_window_that_wants_more_than_it_has_swaps_with_the_swappiness_in_force(
    spec: SwapSpec, host_knobs: HostKnobs
) -> None:
    memory = LimitedMemory(spec)
    workload = shell(GREEDY, metrics=METRICS, timeout_s=60.0)
    with CommandSource(workload, memory=memory) as source:
        seen = []
        for swappiness in ("60", "10"):
            host_knobs.write("/proc/sys/vm/swappiness", swappiness)
            result = source.run(nothing)
            assert (result.validity, result.reason) == (Validity.VALID, "")
            seen.append(result.metrics)
        assert area.is_on(spec.folder / area.FILE)
        group = Path(memory.group)
        assert [path.name for path in group.iterdir() if path.is_dir()] == []
    assert [item["limit"] for item in seen] == [24 * MIB] * 2
    assert [item["swappiness"] for item in seen] == [60, 10]
    assert min(item["held"] for item in seen) > 40 * MIB
    assert is_gone(spec)
    assert not group.exists()


def test_only_the_window_has_little_memory(spec: SwapSpec) -> None:
    where = "sed -n 's/.*:memory:/in=/p' /proc/self/cgroup >> $OUT; echo x=1"
    out = spec.folder.parent.parent / "out"
    workload = shell(where, user="root", environment=(("OUT", str(out)),))
    with CommandSource(workload, memory=LimitedMemory(spec)) as source:
        assert source.run(nothing).valid
        own = Path("/proc/self/cgroup").read_text()
    assert "/ktune-swap-" in out.read_text()
    assert "/ktune-window-" in out.read_text()
    assert "ktune" not in own


def test_a_keeper_that_dies_voids_its_window_and_is_replaced_for_the_next(spec: SwapSpec) -> None:
    memory = LimitedMemory(spec)
    kill = f"[ -e {spec.folder}.done ] || {{ : > {spec.folder}.done; kill -9 $KEEPER; }}; echo x=1"
    with memory_begun(memory) as keeper:
        workload = shell(kill, user="root", environment=(("KEEPER", str(keeper)),))
        with CommandSource(workload, memory=memory) as source:
            first, second = source.run(nothing), source.run(nothing)
            assert first.validity is Validity.VOID
            assert first.reason == "the process that keeps the swap file is gone"
            assert second.validity is Validity.VALID
            assert keeper_of(spec) != keeper
    assert is_gone(spec)


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """Somebody to be in the group."""
    with subprocess.Popen(["sleep", "300"], stdout=subprocess.DEVNULL) as process:
        yield process
        process.kill()


@pytest.mark.parametrize("stopped", [False, True])
def test_what_a_killed_keeper_leaves_is_found_and_undone(
    spec: SwapSpec, sleeper: subprocess.Popen[bytes], stopped: bool
) -> None:
    memory = LimitedMemory(spec)
    state = spec.folder.parents[2]
    memory.begin(nothing)
    keeper, group = keeper_of(spec), Path(memory.group)
    assert list(ground.left(state)) == []  # somebody answers for it
    (group / "cgroup.procs").write_text(str(sleeper.pid))
    if stopped:
        sleeper.send_signal(signal.SIGSTOP)
    os.kill(keeper, signal.SIGKILL)
    assert all_gone([keeper])
    with pytest.raises(ServiceError, match="is still on: its keeper was killed"):
        memory.close()
    assert list(ground.left(Path("/nowhere"))) == [spec.folder]  # registered
    os.seteuid(65534)
    try:
        assert list(ground.left(Path("/nowhere"))) == []  # root's, where nobody may look
    finally:
        os.seteuid(0)
    assert [*ground.undo_left(state)] == [(spec.folder, "")]
    assert sleeper.wait(5) == -signal.SIGKILL
    assert is_gone(spec)
    assert not group.exists()
    assert [*ground.undo_left(state)] == []


def test_two_runs_do_not_share_a_swap_file(spec: SwapSpec) -> None:
    one, other = LimitedMemory(spec), LimitedMemory(spec)
    with memory_begun(one):
        with pytest.raises(BusyError, match=rf"pid {os.getpid()}\)"):
            other.begin(nothing)
        assert one.health() is None
        assert area.is_on(spec.folder / area.FILE)
    with memory_begun(other):
        assert other.health() is None


def test_a_swap_file_that_somebody_switches_off_voids_the_window(spec: SwapSpec) -> None:
    memory = LimitedMemory(spec)
    off = f"swapoff {spec.folder}/{area.FILE}; echo x=1"
    with CommandSource(shell(off, user="root"), memory=memory) as source:
        result = source.run(nothing)
    assert result.reason == "somebody has switched the run's swap file off"
    assert is_gone(spec)


def test_a_file_system_that_holds_no_swap_is_named_and_so_is_a_full_one(spec: SwapSpec) -> None:
    here = Path("/dev/shm", f"kt-swap-{os.getpid()}", "services", "run", "SWAP-00000000")
    full = replace(spec, size_bytes=1 << 50)
    for bad, said in ((spec_in(here), "its file system can't hold"), (full, "free space where")):
        with pytest.raises(ServiceError, match="the swap file can't be had") as failed:
            LimitedMemory(bad).begin(nothing)
        assert said in (failed.value.hint or "")
        assert is_gone(bad)
    for path in (here.with_name("SWAP-00000000.lock"), *here.parents[:3]):
        path.rmdir() if path.is_dir() else path.unlink()


def test_only_root_is_offered_a_swap_file(state: Path) -> None:
    text = (
        "ktune: 1\nkind: profile\nname: p\nservices: [{kind: swap, size: 64M, memory: 24M}]\n"
        "workload:\n  command: [a]\n  metrics: {t: {from: duration, plausible: [1, 2]}}\n"
    )
    profile = parse_profile(text.encode(), file="p", state_dir=str(state))
    os.seteuid(65534)
    try:
        with pytest.raises(RefusedError, match="only root"):
            memory_of(profile)
    finally:
        os.seteuid(0)
    assert memory_of(profile) is not None


def test_what_a_dead_run_left_is_told_apart_from_other_files(state: Path) -> None:
    lock = state / "services" / "run" / "SWAP-12345678.lock"
    lock.parent.mkdir(parents=True)
    lock.write_text(json.dumps({"pid": 1}))
    assert list(ground.left(state)) == []  # no folder
    lock.with_suffix("").mkdir()
    assert list(ground.left(state)) == [lock.with_suffix("")]
    (lock.with_suffix("") / "group").write_text("/sys/fs/cgroup/memory")
    (told,) = ground.undo_left(state)
    assert told[1] == "/sys/fs/cgroup/memory is none of ours"

"""A whole `ktune tune` with its own swap file: whatever ends the run, the file is off and gone."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from ktune.measure.swap import area
from ktune.measure.swap.memory_group import NoMemoryGroup, own_memory_group
from tests.conftest import HostKnobs
from tests.faults.commands import DONE, Bench
from tests.measure.helpers import all_gone
from tests.proxy.rig import wait_until

KNOB = "/proc/sys/vm/page-cluster"
HOLD = 'if [ "$(cat /proc/sys/vm/page-cluster)" = 5 ]; then here; sleep 300; fi'
"""A hook: the first window of a candidate does not end."""


@pytest.fixture
def swapping(bench: Bench, host_knobs: HostKnobs) -> Iterator[Bench]:
    """A run with 32 MiB of swap and 24 MiB of memory, on a knob that is tried at 5 only."""
    try:
        own_memory_group()
    except NoMemoryGroup as problem:
        pytest.skip(str(problem))
    bench.state = bench.folder / "state"
    bench.knobs = {"sysctl": {"vm.page-cluster": {"choices": [3, 5]}}}
    bench.extra["services"] = [{"kind": "swap", "size": "32M", "memory": "24M"}]
    bench.extra["expert"] = [{"vm.page-cluster": 5}]
    host_knobs.write(KNOB, "3")
    yield bench
    bench.close()
    for path in areas(bench):
        area.switch_off(Path(path))


def areas(bench: Bench) -> list[str]:
    """What the kernel swaps to in the run's state folder."""
    return [path for path in area.switched_on() if path.startswith(f"{bench.state}/")]


def left(bench: Bench) -> list[Path]:
    return list((bench.state / "services" / "run").glob("SWAP-????????"))


def group_of(bench: Bench) -> Path:
    return Path((left(bench)[0] / "group").read_text())


def keeper(bench: Bench) -> int:
    folder = os.fsencode(left(bench)[0])
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
        except OSError:
            continue
        if b"ktune.measure.swap.keeper" in words and folder in words:
            return int(entry.name)
    raise AssertionError("no keeper runs")


@pytest.mark.full
def test_a_run_beside_its_swap_file_ends_without_it(swapping: Bench, host_knobs: HostKnobs) -> None:
    swapping.hook("grep -q services/run/SWAP- /proc/swaps || exit 9")
    ended = swapping.tune("--search-only")
    assert ended.code in DONE, ended.err
    assert areas(swapping) == left(swapping) == []
    assert host_knobs.read(KNOB) == "3"


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.full) for name in (signal.SIGKILL, signal.SIGTERM)],
)
def test_a_run_that_is_ended_leaves_no_swap_no_group_and_no_setting(
    swapping: Bench, host_knobs: HostKnobs, name: signal.Signals
) -> None:
    swapping.hook(HOLD)
    running = swapping.tune_until_hooked()
    assert len(areas(swapping)) == 1
    group = group_of(swapping)
    assert [inner.name for inner in group.iterdir() if inner.is_dir()]
    told = swapping.run("status").out
    assert "service swap of faults (swap 32 MiB, " in told
    assert f"started by pid {running.pid}" in told
    running.signal(name)
    if name is signal.SIGTERM:
        assert running.end().code == 143
        assert areas(swapping) == []
    wait_until(lambda: not areas(swapping) and not left(swapping))
    wait_until(lambda: host_knobs.read(KNOB) == "3")
    assert not group.exists()


@pytest.mark.parametrize("command", ["recover", pytest.param("tune", marks=pytest.mark.full)])
def test_what_is_left_when_the_keeper_is_killed_too_is_undone_by_the_next_command(
    swapping: Bench, host_knobs: HostKnobs, command: str
) -> None:
    swapping.hook(HOLD)
    running = swapping.tune_until_hooked()
    pid, group = keeper(swapping), group_of(swapping)
    os.kill(pid, signal.SIGSTOP)
    running.kill()
    os.kill(pid, signal.SIGKILL)
    assert all_gone([pid])
    wait_until(lambda: host_knobs.read(KNOB) == "3")
    (folder,) = left(swapping)
    assert len(areas(swapping)) == 1
    assert "ended with its run" in swapping.run("status").out
    assert f"{folder}: a dead run's swap file" in swapping.run("recover", "--dry-run").out
    assert len(areas(swapping)) == 1
    if command == "recover":
        ended = swapping.run("recover")
        assert ended.code == 0, ended.err
        assert f"that a dead run had left are gone: {folder}" in ended.out
        assert "nothing is pending" in swapping.run("recover").out
    else:
        swapping.hook("")
        ended = swapping.tune("--search-only")
        assert ended.code in DONE, ended.err
    assert areas(swapping) == left(swapping) == []
    assert not group.exists()


def test_a_plan_names_the_file_and_what_is_not_possible(swapping: Bench) -> None:
    told = swapping.run("plan", str(swapping.profile)).out
    assert "swap: 32 MiB in " in told and "each window has 24 MiB" in told
    assert not left(swapping)
    swapping.scope = "ephemeral"
    refused = swapping.run("plan", str(swapping.profile))
    assert refused.code == 2
    assert "swap is the whole host's: use `scope: host`" in refused.err

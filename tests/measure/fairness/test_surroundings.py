"""What happened between two looks: pure over records of both, and this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest

from ktune.kernel.processes import TICK_S, ProcessTime, spent_outside
from ktune.measure.fairness.cpus import CpuState
from ktune.measure.fairness.surroundings import Look, Surroundings, between
from ktune.measure.host_load import LoadSample

SECOND = round(1 / TICK_S)
TWO_CPUS = 2 * SECOND


def process(pid: int, name: str, ticks: int) -> ProcessTime:
    return ProcessTime(pid, 5, 1, name, ticks, kernel_thread=False)


def look(at_s: float, *processes: ProcessTime, memory_us: int = 0, own_us: int | None = 0) -> Look:
    load = LoadSample(at_s, 1 + round(at_s * TWO_CPUS), 0, {"memory_some": memory_us})
    own = {} if own_us is None else {"memory_some": own_us}
    rows = {(item.pid, item.start_ticks): item for item in processes}
    return Look(load, CpuState(), rows, frozenset({7}), own)


def test_others_are_added_up_by_name_and_the_run_is_none_of_them() -> None:
    before = look(0, process(7, "load", 0), process(8, "cc1", 0), process(9, "cc1", 50))
    after = look(
        1,
        process(7, "load", SECOND),
        process(8, "cc1", SECOND // 2),
        process(9, "cc1", 50 + SECOND // 4),
    )
    around = between(before, after)
    assert around.environment["others_share"] == pytest.approx(0.375)
    assert around.others == {"cc1": pytest.approx(0.375)}


def test_never_more_than_all_cpu_time() -> None:
    after = look(1, process(8, "busy", 5 * TWO_CPUS))
    assert between(look(0, process(8, "busy", 0)), after).environment["others_share"] == 1


def test_the_waiting_of_the_run_is_not_that_of_others() -> None:
    before = look(0, process(7, "load", 0))
    after = look(2, process(7, "load", 0), memory_us=900_000, own_us=500_000)
    assert between(before, after).environment["memory_outside_share"] == pytest.approx(0.2)
    own_alone = look(2, process(7, "load", 0), memory_us=400_000, own_us=500_000)
    assert between(before, own_alone).environment["memory_outside_share"] == 0


def test_what_could_not_be_seen_is_left_out_and_is_not_nothing() -> None:
    before = look(0, own_us=None)
    after = look(1, own_us=None)
    names = set(between(before, after).environment)
    assert not names & {
        "others_share",
        "memory_outside_share",
        "throttled_share",
        "frequency_share",
    }
    unread = replace(before, load=LoadSample(0.0, 0, 0))
    assert "steal_share" not in between(unread, after).environment


_SPIN = """
import os, sys, time
def spin(name):
    open("/proc/self/comm", "w").write(name)
    start = time.process_time()
    while time.process_time() - start < 0.3: pass
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.close(0)
        spin("gone-away")
        print(os.getpid(), flush=True)
        time.sleep(60)
    os._exit(0)
os.wait()
spin("stays-here")
print("done", flush=True)
sys.stdin.read()
"""


def test_a_child_of_ours_is_the_run_and_one_that_has_left_us_is_not() -> None:
    around = Surroundings()
    before = around.look()
    with subprocess.Popen(
        [sys.executable, "-c", _SPIN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        said = {child.stdout.readline().strip(), child.stdout.readline().strip()}
        (pid,) = (int(word) for word in said - {"done"})
        try:
            after = around.look()
        finally:
            os.kill(pid, signal.SIGKILL)
            child.kill()
    named = between_all(before, after)
    assert named["gone-away"] >= 0.28
    assert "stays-here" not in named


def between_all(before: Look, after: Look) -> dict[str, float]:
    """Seconds of everybody outside, by name; a result names only those who took most."""
    spent = spent_outside(before.processes, after.processes, before.inside | after.inside)
    return {after.processes[key].name: ticks * TICK_S for key, ticks in spent.items()}


def test_a_program_that_does_the_work_is_the_run() -> None:
    """Of any parent: process 1 is nobody's child."""
    with open("/proc/1/comm") as file:
        name = file.read().rstrip("\n")
    assert 1 in Surroundings(part_of_it=[name]).look().inside
    assert 1 not in Surroundings().look().inside

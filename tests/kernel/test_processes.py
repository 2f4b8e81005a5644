"""CPU time of processes: a pure account against a model, and this machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from hypothesis import given
from hypothesis import strategies as st

from ktune.kernel.processes import (
    TICK_S,
    Processes,
    ProcessTime,
    all_processes,
    family,
    hidden_processes,
    process_time,
    spent_outside,
)


def table(*rows: ProcessTime) -> Processes:
    return {(row.pid, row.start_ticks): row for row in rows}


def process(
    pid: int, ticks: int, *, parent: int = 1, start: int = 0, kernel: bool = False
) -> ProcessTime:
    return ProcessTime(pid, start, parent, f"p{pid}", ticks, kernel)


INIT = process(1, 0, parent=0)


@st.composite
def lives(draw: st.DrawFn) -> tuple[Processes, Processes, set[int], int]:
    """A tree of processes that run, start, end and are waited for; what those outside truly had."""
    parent = {1: 0}
    own = {1: 0}
    waited = {1: 0}
    inside = {2}
    for pid in range(2, draw(st.integers(3, 9))):
        parent[pid] = 1 if pid == 2 else draw(st.sampled_from(sorted(parent)))
        own[pid], waited[pid] = draw(st.integers(0, 500)), 0
        if parent[pid] in inside:
            inside.add(pid)

    def look() -> Processes:
        return table(*(process(pid, own[pid] + waited[pid], parent=parent[pid]) for pid in own))

    before = look()
    truth = 0
    for step in range(draw(st.integers(0, 12))):
        pid = draw(st.sampled_from(sorted(own)))
        match draw(st.sampled_from(["run", "start", "end"])):
            case "run":
                ticks = draw(st.integers(0, 50))
                own[pid] += ticks
                truth += ticks if pid not in inside else 0
            case "start":
                new = 100 + step
                parent[new], own[new], waited[new] = pid, 0, 0
                if pid in inside:
                    inside.add(new)
            case "end" if pid not in (1, 2) and pid not in parent.values():
                waited[parent[pid]] += own.pop(pid) + waited.pop(pid)
                del parent[pid]
    return before, look(), inside, truth


@given(lives())
def test_what_others_spent_is_all_that_they_had_whoever_ended_meanwhile(
    found: tuple[Processes, Processes, set[int], int],
) -> None:
    before, after, inside, truth = found
    assert sum(spent_outside(before, after, inside).values()) == truth


def test_a_number_used_again_is_another_process() -> None:
    before = table(INIT, process(7, 1000, start=5))
    after = table(INIT, process(7, 3, start=9))
    assert spent_outside(before, after, ()) == {(7, 9): 3}


def test_kernel_threads_work_for_whoever_asked() -> None:
    before = table(INIT, process(9, 0, kernel=True))
    assert spent_outside(before, table(INIT, process(9, 80, kernel=True)), ()) == {}


def test_a_child_that_nobody_waited_for_hides_nobody_elses_time() -> None:
    before = table(INIT, process(5, 10), process(6, 9000, parent=5), process(7, 0))
    after = table(INIT, process(5, 20), process(7, 40))
    assert spent_outside(before, after, ()) == {(7, 0): 40}


def test_a_family_is_everybody_below() -> None:
    rows = table(INIT, process(2, 0), process(3, 0, parent=2), process(4, 0, parent=3))
    assert family(rows, [3]) == {3, 4}
    assert family(rows, [99]) == {99}


def test_a_name_may_hold_anything() -> None:
    found = process_time(b"7 (a) S (b) R 4 7 7 0 -1 2097152 0 0 0 0 3 4 5 6 20 0 1 0 99 0")
    assert (found.name, found.parent, found.ticks, found.start_ticks) == ("a) S (b", 4, 18, 99)
    assert found.kernel_thread


def test_this_machine_counts_a_child_that_works_and_ends() -> None:
    assert hidden_processes() in ("", "only the processes of this container can be seen")
    before = all_processes()
    work = "import time\nwhile time.process_time() < 0.3: pass"
    subprocess.run([sys.executable, "-c", work], check=True)
    spent = spent_outside(before, all_processes(), ())
    own = {key: ticks for key, ticks in spent.items() if key[0] == os.getpid()}
    assert sum(own.values()) * TICK_S >= 0.28


def test_a_look_names_every_process_that_lives() -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        try:
            until = time.monotonic() + 10
            while not any(
                item.pid == child.pid and item.name == "sleep" for item in all_processes().values()
            ):
                assert time.monotonic() < until
            assert child.pid in family(all_processes(), [os.getpid()])
        finally:
            child.kill()

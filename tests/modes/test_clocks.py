"""Jumps of time: what two readings of the clocks say, and what a watch makes of it.

The clock of this host is never set: the readings are the test's.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktune.modes.watch import holder
from ktune.modes.watch.clocks import Clocks, TimeKeeper, jumped
from ktune.proxy.client import open_lease

from .watching import POLICY, Watching, watching

readings = st.builds(
    Clocks,
    *(st.integers(0, 10**9) for _ in range(3)),
)
intervals = st.integers(1, 3600)


def after(
    before: Clocks, passed_s: float, *, slept_s: float = 0.0, set_by_s: float = 0.0
) -> Clocks:
    """The clocks `passed_s` of running time later."""
    return Clocks(
        before.monotonic_s + passed_s,
        before.boottime_s + passed_s + slept_s,
        before.realtime_s + passed_s + slept_s + set_by_s,
    )


@given(readings, intervals, st.floats(0, 3), st.floats(0, 0.9), st.floats(-1.9, 1.9))
def test_late_looks_short_naps_and_slewing_are_no_jump(
    before: Clocks, expected_s: int, late: float, slept_s: float, slewed_s: float
) -> None:
    now = after(before, late * expected_s, slept_s=slept_s, set_by_s=slewed_s)
    assert jumped(before, now, expected_s) is None


@given(readings, intervals, st.integers(2, 10**6), st.integers(-(10**6), 10**6))
def test_a_sleep_is_told_whatever_the_clock_was_set_to_meanwhile(
    before: Clocks, expected_s: int, slept_s: int, set_by_s: int
) -> None:
    now = after(before, expected_s, slept_s=slept_s, set_by_s=set_by_s)
    assert jumped(before, now, expected_s) == f"the machine slept for {slept_s} s"


@given(readings, intervals, st.integers(3, 10**6), st.sampled_from([1, -1]))
def test_a_set_clock_is_told_with_its_sign(
    before: Clocks, expected_s: int, by_s: int, sign: int
) -> None:
    now = after(before, expected_s, set_by_s=sign * by_s)
    assert jumped(before, now, expected_s) == f"the clock was set by {sign * by_s:+d} s"


@given(readings, intervals, st.integers(6, 10**6))
def test_a_watcher_that_did_not_run_is_told(before: Clocks, expected_s: int, more_s: int) -> None:
    now = after(before, 3 * expected_s + more_s)
    told = jumped(before, now, expected_s)
    assert told == f"the watcher did not run for {3 * expected_s + more_s} s"


@given(readings, intervals, st.integers(0, 100), st.integers(0, 100), st.integers(-100, 100))
def test_only_differences_count(
    before: Clocks, expected_s: int, passed_s: int, slept_s: int, set_by_s: int
) -> None:
    now = after(before, passed_s, slept_s=slept_s, set_by_s=set_by_s)
    zero = Clocks(0, 0, 0)
    here = after(zero, passed_s, slept_s=slept_s, set_by_s=set_by_s)
    assert jumped(before, now, expected_s) == jumped(zero, here, expected_s)


def test_each_jump_is_told_once() -> None:
    seen = iter([Clocks(0, 0, 0), Clocks(1, 301, 301), Clocks(2, 302, 302), Clocks(3, 900, 900)])
    keeper = TimeKeeper(lambda: next(seen))
    assert keeper.jump(1) == "the machine slept for 300 s"
    assert keeper.jump(1) is None
    keeper.forget()


@pytest.fixture
def world(tmp_path: Path):
    with watching(tmp_path, "{probation_pairs: 8}") as made:
        yield made


@pytest.mark.parametrize("jump", ["slept", pytest.param("set", marks=pytest.mark.full)])
def test_a_jump_within_a_pair_voids_it_and_the_watch_goes_on(world: Watching, jump: str) -> None:
    """A policy that looks awful in the window that the jump cuts through."""
    ahead_s = 0.0

    def read() -> Clocks:
        real = Clocks.read()
        later = replace(real, realtime_s=real.realtime_s + ahead_s)
        return later if jump == "set" else replace(later, boottime_s=real.boottime_s + ahead_s)

    def in_window(number: int) -> None:
        nonlocal ahead_s
        if number == 5:
            ahead_s = 3600.0

    world.read_clocks = read
    source = world.source(
        lambda values, n: 0.1 if n == 5 else 100.0, noise=0.02, before=in_window, at_most=12
    )
    watcher = world.watch(source)
    assert world.live() == POLICY
    assert world.record.mode == "recommendation"
    assert watcher.driver.guarding.void == {"interrupted": 1}
    assert world.record.pairs >= 4
    lines = (world.paths.watches / world.record.id / "modes.jsonl").read_text().splitlines()
    events = [json.loads(line)["event"] for line in lines]
    assert events.count("TimeJumped") == 1


def test_a_guardian_that_takes_its_time_to_start_is_no_stopped_watcher(
    world: Watching, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole Python on a busy machine: 16 s were seen. Every pair of the watch begins with one."""
    ahead_s = 0.0

    def slow(*words: object, **more: object) -> object:
        nonlocal ahead_s
        ahead_s += 16.0
        return open_lease(*words, **more)  # type: ignore[arg-type]

    def read() -> Clocks:
        return after(Clocks.read(), ahead_s)

    monkeypatch.setattr(holder, "open_lease", slow)
    world.read_clocks = read
    watcher = world.watch(world.source(lambda values, n: 100.0, noise=0.02, at_most=8))
    assert ahead_s > 60
    assert watcher.driver.guarding.void == {}
    assert world.record.pairs >= 3
    assert not any("did not run" in note for note in world.notes)

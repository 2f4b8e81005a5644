"""Clocks that are set and a machine that sleeps: leases, and a watch of a committed policy.

`tests.guest --in-memory` runs these. The guest really suspends to RAM (S3), its runner wakes it
after `SLEEP_S`: CLOCK_BOOTTIME goes on meanwhile, CLOCK_MONOTONIC stands still.
"""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

from ktune.kernel.tunable import sysctl_path
from tests.faults.commands import FIN, RATE, Running
from tests.faults.watched import IN_BASELINE, IN_POLICY, INNOCENT, POLICY, QUICK, Watched
from tests.guest.waking import SLEEP_S
from tests.knobs import write_knob
from tests.proxy.rig import Net, Paths, lease, wait_until

HOUR_S = 3600.0
LEASED = ("--on-death", "baseline", *QUICK)
RELAXED = ("--interval", "2s", "--probation-every", "1h", "--holdback-every", "1h", "--quiet")
"""One pair at the start and then none for an hour, by a clock that nobody sets."""


def set_clock(by_s: float) -> None:
    """CLOCK_REALTIME jumps, as with `date -s`."""
    time.clock_settime(time.CLOCK_REALTIME, time.clock_gettime(time.CLOCK_REALTIME) + by_s)


def sleep() -> None:
    """Suspend to RAM; returns when the machine is awake again."""
    before = time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)
    write_knob("/sys/power/mem_sleep", "deep")
    write_knob("/sys/power/state", "mem")
    apart = time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)
    assert apart - before > SLEEP_S - 3, "the machine did not sleep"


def jumps(watched: Watched) -> list[str]:
    """What the watch was told of the clocks."""
    file = watched.folder() / "modes.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    return [line["reason"] for line in lines if line["event"] == "TimeJumped"]


def until_told(watched: Watched, running: Running, what: str) -> None:
    wait_until(lambda: any(what in text for text in jumps(watched)) or not running.alive, 60)
    assert running.alive, running.end().err


def until_another_pair(watched: Watched, running: Running) -> None:
    before = watched.pairs
    wait_until(lambda: watched.pairs > before or not running.alive, 60)
    assert running.alive, running.end().err


def ends_with_the_policy_and_nothing_else(watched: Watched, running: Running) -> None:
    """SIGTERM leaves the policy; `rollback` leaves the baseline, no journal and no lock-out."""
    assert watched.record["mode"] == "recommendation"
    running.signal(signal.SIGTERM)
    assert running.end().code == 143
    assert watched.live == POLICY
    assert watched.bench.run("rollback").code == 0
    assert watched.live == watched.baseline
    status = watched.status
    assert (status["policies"], status["journals"], status["lockouts"]) == ([], [], [])


# --- leases ---------------------------------------------------------------------------------------


def test_a_deadline_heeds_no_clock_that_is_set(net: Net, paths: Paths) -> None:
    before = net.read(FIN)
    held = lease(paths, FIN, namespace=net.ref)
    held.apply({FIN: 17}, deadline_s=HOUR_S)
    set_clock(+6 * HOUR_S)
    assert held.check() == ()
    assert net.read(FIN) == 17
    held.apply({FIN: 18}, deadline_s=3.0)
    set_clock(-12 * HOUR_S)
    wait_until(lambda: net.read(FIN) == before)  # on that clock it would be due in 12 hours
    set_clock(+6 * HOUR_S)


def test_a_deadline_that_passes_in_sleep_is_kept_on_waking_a_later_one_goes_on(
    net: Net, paths: Paths
) -> None:
    other = Net()
    try:
        before = net.read(FIN)
        short = lease(paths, FIN, namespace=net.ref)
        with lease(paths, FIN, namespace=other.ref, run_id="long") as held:
            held.apply({FIN: 18}, deadline_s=HOUR_S)
            # Above what is left of SLEEP_S when the machine is down at last.
            short.apply({FIN: 17}, deadline_s=SLEEP_S - 5)
            sleep()
            wait_until(lambda: net.read(FIN) == before)
            assert other.read(FIN) == 18
            assert held.check() == ()
        assert other.read(FIN) == before
    finally:
        other.close()


# --- the watch ------------------------------------------------------------------------------------


def test_a_watch_goes_on_when_the_clock_is_set_forward_and_back(watched: Watched) -> None:
    running = watched.until_idle(*RELAXED)
    pairs = watched.pairs
    set_clock(+6 * HOUR_S)
    until_told(watched, running, "the clock was set by +21600 s")
    wait_until(lambda: "the clock was set by +21600 s" in watched.record["reason"])
    assert "the clock was set by +21600 s" in watched.bench.run("status").out
    set_clock(-12 * HOUR_S)
    until_told(watched, running, "the clock was set by -43200 s")
    assert watched.live == POLICY
    assert watched.guarded
    assert watched.pairs == pairs, "the hour until the next pair is not of that clock"
    set_clock(+6 * HOUR_S)
    ends_with_the_policy_and_nothing_else(watched, running)


def test_a_clock_set_within_a_pair_voids_it_and_nothing_else(watched: Watched) -> None:
    running = watched.until_held(IN_BASELINE)
    pairs = watched.pairs
    set_clock(+6 * HOUR_S)
    watched.bench.hook(INNOCENT)
    until_told(watched, running, "the clock was set by +21600 s")
    wait_until(lambda: watched.pairs > pairs or not running.alive, 60)
    set_clock(-6 * HOUR_S)
    until_told(watched, running, "the clock was set by -21600 s")
    until_another_pair(watched, running)
    ends_with_the_policy_and_nothing_else(watched, running)


def test_a_watch_that_slept_says_so_and_goes_on(watched: Watched) -> None:
    running = watched.until_idle(*RELAXED)
    pairs = watched.pairs
    sleep()
    until_told(watched, running, "the machine slept for")
    assert "the machine slept for" in watched.bench.run("status").out
    assert watched.live == POLICY
    assert watched.guarded
    assert watched.pairs == pairs
    ends_with_the_policy_and_nothing_else(watched, running)


def test_sleep_in_a_baseline_window_ends_it_with_the_policy_in_force(watched: Watched) -> None:
    """The lease of the holdback passes in sleep: its guardian, not the watch, ends it."""
    running = watched.until_held(IN_BASELINE)
    assert watched.live == watched.baseline
    sleep()
    wait_until(lambda: watched.live == POLICY)
    watched.bench.hook(INNOCENT)
    until_told(watched, running, "the machine slept for")
    until_another_pair(watched, running)
    ends_with_the_policy_and_nothing_else(watched, running)


def test_under_a_lease_of_the_watchers_own_sleep_ends_in_the_baseline(watched: Watched) -> None:
    running = watched.until_held(IN_POLICY, *LEASED)
    assert watched.live == POLICY
    sleep()
    ended = running.end()
    assert ended.code == 8, ended.err
    assert watched.live == watched.baseline
    status = watched.status
    assert (status["policies"], status["journals"]) == ([], [])
    assert watched.record["mode"] == "emergency"


def test_nothing_of_all_this_reached_the_knobs_of_the_machine_itself() -> None:
    """They are the values the kernel booted with: every test above used a namespace of its own."""
    assert Path(sysctl_path(FIN)).read_text().strip() == "60"
    assert Path(sysctl_path(RATE)).read_text().strip() == "1000"

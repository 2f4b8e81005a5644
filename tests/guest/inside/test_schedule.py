"""A lease whose knobs the kernel switches by a schedule: through the guardian, whatever happens."""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ktune.proxy.allowlist import load_allowlist
from ktune.proxy.backends import ProxyChoice
from ktune.proxy.client import Lease, LeaseLost
from ktune.proxy.journal import load
from ktune.proxy.module import modes
from ktune.proxy.recover import recover_one
from ktune.proxy.schedule import Stamped, stamped, start_schedule, stop_schedule
from tests.guest.inside.module_rig import (
    BACK_BYTES,
    BACK_RATIO,
    LONG_S,
    SWAPPINESS,
    TRACING,
    live,
    needs_module,
    write,
)
from tests.proxy.rig import Paths, lease, wait_until

pytestmark = needs_module
ORIGINAL, CANDIDATE = 60, 17
WINDOW_S = 0.4
ROUNDED_NS = 1000
"""The trace tells microseconds."""


@pytest.fixture
def held(paths: Paths) -> Iterator[Lease]:
    write(SWAPPINESS, str(ORIGINAL))
    with lease(paths, SWAPPINESS, BACK_RATIO, BACK_BYTES, proxy=ProxyChoice.MODULE) as opened:
        yield opened


def begin(held: Lease, coins: list[bool], window_s: float = WINDOW_S, **more: int) -> str:
    wanted = {SWAPPINESS: CANDIDATE, **more}
    return start_schedule(held, wanted, coins, window_s, deadline_s=LONG_S)


def in_window(held: Lease, number: int) -> None:
    wait_until(lambda: len(stamped(held).windows) > number and stamped(held).windows[-1].begun_ns)


def over(held: Lease) -> Stamped:
    wait_until(lambda: stamped(held).over)
    return stamped(held)


def test_the_kernel_switches_by_the_coins_and_ends_at_the_originals(held: Lease) -> None:
    coins = [True, False, True]
    assert begin(held, coins) == ""
    seen = set()
    while not (found := stamped(held)).over:
        value = live(SWAPPINESS)
        again = stamped(held).windows
        if found.windows and again == found.windows and again[-1].begun_ns:
            seen.add((again[-1].candidate, value))
        assert held.check() == ()
    assert [stamp.candidate for stamp in found.windows] == [True, False, False, True, True, False]
    assert seen == {(True, CANDIDATE), (False, ORIGINAL)}
    for stamp in found.windows:
        assert stamp.ended_ns - stamp.begun_ns >= WINDOW_S * 1e9
        assert not (stamp.failed or stamp.cut)
    wait_until(lambda: live(SWAPPINESS) == ORIGINAL)


@pytest.fixture
def trace() -> Iterator[Path]:
    """The kernel's trace of our writes, by the clock of the stamps."""
    clock = TRACING / "trace_clock"
    clock.write_text("boot")
    (TRACING / "trace").write_text("")
    (TRACING / "events/ktune/ktune_apply/enable").write_text("1")
    yield TRACING / "trace"
    (TRACING / "events/ktune/ktune_apply/enable").write_text("0")
    clock.write_text("local")


def test_no_switch_lies_within_a_stamped_window(held: Lease, trace: Path) -> None:
    """A witness of its own: when the kernel wrote, by its trace points."""
    assert begin(held, [True, False, False]) == ""
    windows = over(held).windows
    wait_until(lambda: len(switches(trace)) == len(windows) + 1)
    told = switches(trace)
    assert [value for _, value in told] == [
        *(str(CANDIDATE if stamp.candidate else ORIGINAL) for stamp in windows),
        str(ORIGINAL),
    ]
    for number, stamp in enumerate(windows):
        assert told[number][0] - ROUNDED_NS <= stamp.begun_ns
        assert stamp.ended_ns <= told[number + 1][0] + ROUNDED_NS


def switches(trace: Path) -> list[tuple[int, str]]:
    """When the kernel had put which value in force; nanoseconds of CLOCK_BOOTTIME."""
    found = re.findall(
        rf' (\d+)\.(\d{{6}}): ktune_apply: .* knob={SWAPPINESS} .* after="(\d+)"', trace.read_text()
    )
    return [(int(s) * 1_000_000_000 + int(us) * 1000, value) for s, us, value in found]


def test_an_apply_ends_it_and_is_an_ordinary_switch_again(held: Lease) -> None:
    assert begin(held, [True, True], 30) == ""
    in_window(held, 0)
    assert live(SWAPPINESS) == CANDIDATE
    assert held.apply({SWAPPINESS: 33}, deadline_s=LONG_S).ok
    assert live(SWAPPINESS) == 33
    assert stamped(held).over and stamped(held).windows[-1].cut
    assert begin(held, [False]) == ""
    assert over(held).windows[1].candidate
    assert held.check() == ()
    assert held.apply({}, deadline_s=LONG_S).ok


def test_either_or_pairs_follow_the_kernels_switches(held: Lease) -> None:
    ratio = live(BACK_RATIO)
    assert begin(held, [True, False], **{BACK_BYTES: 1 << 24}) == ""
    for number, expected in ((0, (0, 1 << 24)), (1, (ratio, 0))):
        in_window(held, number)
        assert held.check() == ()
        assert (live(BACK_RATIO), live(BACK_BYTES)) == expected
    over(held)
    stop_schedule(held)
    assert held.check() == ()
    assert (live(BACK_RATIO), live(BACK_BYTES)) == (ratio, 0)


def test_somebody_elses_write_is_told_and_kept(held: Lease) -> None:
    assert begin(held, [True, True], 6.0) == ""
    in_window(held, 0)
    write(SWAPPINESS, "44")
    (foreign,) = held.check()
    assert (foreign.key, foreign.expected, foreign.found) == (SWAPPINESS, CANDIDATE, 44)
    assert held.check() == ()
    assert over(held).windows[-1].failed
    stop_schedule(held)
    assert live(SWAPPINESS) == 44
    assert [item.key for item in held.release().foreign] == [SWAPPINESS]
    write(SWAPPINESS, str(ORIGINAL))


def test_a_value_that_is_the_other_sides_is_somebody_elses_all_the_same(held: Lease) -> None:
    assert begin(held, [True, True], 30) == ""
    in_window(held, 0)
    write(SWAPPINESS, str(ORIGINAL))
    (foreign,) = held.check()
    assert (foreign.expected, foreign.found) == (CANDIDATE, ORIGINAL)


def test_the_clients_death_brings_the_originals(held: Lease) -> None:
    assert begin(held, [True, True], 30) == ""
    in_window(held, 0)
    held._channel.sock.shutdown(socket.SHUT_RDWR)  # what the end of its process does
    wait_until(lambda: live(SWAPPINESS) == ORIGINAL)
    wait_until(lambda: modes.shown("mode") == "idle")
    with pytest.raises(LeaseLost):
        held.check()


def test_the_guardians_death_brings_the_originals_and_its_journal_nothing_else(
    held: Lease,
) -> None:
    assert begin(held, [True, True], 30) == ""
    in_window(held, 0)
    state = load(held.journal, load_allowlist(), owner_uid=os.geteuid())
    assert (state.scheduled, state.held[SWAPPINESS].also) == (2, (CANDIDATE,))
    assert not state.held[SWAPPINESS].pending
    os.kill(held.guardian_pid, signal.SIGKILL)
    wait_until(lambda: live(SWAPPINESS) == ORIGINAL)
    with pytest.raises(LeaseLost, match="every knob is back"):
        held.check()
    report = recover_one(held.journal).report
    assert report is None or not report.restored


@pytest.mark.parametrize("when", ["under the schedule", "after the kernel's restore"])
def test_when_both_have_died_a_foreign_value_outlives_recover(held: Lease, when: str) -> None:
    assert begin(held, [True, True], 30) == ""
    in_window(held, 0)
    os.kill(held.guardian_pid, signal.SIGSTOP)  # it must not hear of it: nothing is on record
    if when == "under the schedule":
        write(SWAPPINESS, "44")
    os.kill(held.guardian_pid, signal.SIGKILL)
    wait_until(lambda: modes.shown("sessions") == "0")
    if when == "after the kernel's restore":
        assert live(SWAPPINESS) == ORIGINAL
        write(SWAPPINESS, "44")
    assert live(SWAPPINESS) == 44
    report = recover_one(held.journal).report
    assert report is not None
    assert live(SWAPPINESS) == 44
    assert [item.key for item in report.foreign] == [SWAPPINESS]
    assert not report.restored
    with pytest.raises(LeaseLost):
        held.check()
    write(SWAPPINESS, str(ORIGINAL))


def test_recover_puts_back_what_the_kernel_could_not(held: Lease) -> None:
    """Values of the schedule that are found in force are ours, a zeroed partner too."""
    ratio = live(BACK_RATIO)
    assert begin(held, [True, True], 30, **{BACK_BYTES: 1 << 24}) == ""
    in_window(held, 0)
    os.kill(held.guardian_pid, signal.SIGKILL)
    wait_until(lambda: modes.shown("sessions") == "0")
    assert (live(SWAPPINESS), live(BACK_RATIO)) == (ORIGINAL, ratio)
    write(SWAPPINESS, str(CANDIDATE))
    write(BACK_BYTES, str(1 << 24))
    assert live(BACK_RATIO) == 0
    report = recover_one(held.journal).report
    assert report is not None
    assert not report.foreign
    assert (live(SWAPPINESS), live(BACK_RATIO), live(BACK_BYTES)) == (ORIGINAL, ratio, 0)
    with pytest.raises(LeaseLost):
        held.check()


def test_what_can_not_be_had_is_said(paths: Paths) -> None:
    with lease(paths, SWAPPINESS, proxy=ProxyChoice.FILE) as files:
        assert "does not hold this lease" in begin(files, [True])
    with lease(paths, SWAPPINESS, proxy=ProxyChoice.MODULE) as held:
        same = {SWAPPINESS: live(SWAPPINESS)}
        said = start_schedule(held, same, [True], 1, deadline_s=LONG_S)
        assert "nothing differs" in said
        assert "Invalid argument" in begin(held, [True], 0.001)
        assert held.apply({SWAPPINESS: CANDIDATE}, deadline_s=LONG_S).ok
        assert held.check() == ()

"""Collaboration by a schedule: halves are halves, and stalls are seen in the stamps."""

from __future__ import annotations

import ctypes as c

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktune.proxy.module.modes import packed_schedule
from tests.kmod.core import RawSchedule, Schedule, ScheduleFault, Stamp, Stamped, Turn

MS = 1_000_000


def raw_schedule(coins: list[bool], window_ms: int = 100) -> RawSchedule:
    """As the guardian hands it over. A pair for each coin: True begins with the candidate."""
    return RawSchedule.from_buffer_copy(packed_schedule(coins, window_ms / 1000, 1))


def taken(lib: c.CDLL, raw: RawSchedule) -> Schedule:
    schedule = Schedule()
    assert lib.schedule_check(c.byref(raw), c.byref(schedule)) == ScheduleFault.GOOD
    return schedule


@given(
    st.lists(st.booleans(), min_size=1, max_size=70),
    st.lists(st.tuples(st.integers(0, 250 * MS), st.integers(0, 40 * MS)), max_size=400),
)
def test_each_arm_gets_its_windows_however_late_the_timer_is(
    lib: c.CDLL, coins: list[bool], delays: list[tuple[int, int]]
) -> None:
    schedule = taken(lib, raw_schedule(coins))
    stamps = (Stamp * len(coins * 2))()
    now, order = 7 * MS, []
    in_force: list[tuple[int, int]] = []  # from the end of a switch to the begin of the next
    late = iter(delays)
    while (turn := Turn(lib.schedule_turn(c.byref(schedule), stamps, now))) != Turn.OVER:
        if turn == Turn.WAIT:
            delay, _ = next(late, (0, 0))
            now = schedule.due_ns + delay
            continue
        order.append(stamps[schedule.window].arm)
        asked = now
        now += next(late, (0, 0))[1]
        lib.schedule_began(c.byref(schedule), stamps, now, False)
        in_force.append((now, asked))
    assert order == [arm for first in coins for arm in ((1, 0) if first else (0, 1))]
    nexts = [asked for _, asked in in_force[1:]] + [now]
    for number, stamp in enumerate(stamps):
        length = stamp.ended_ns - stamp.begun_ns
        assert stamp.window == number
        assert (stamp.begun_ns, stamp.asked_ns) == in_force[number], "no switch lies in a window"
        assert stamp.ended_ns == nexts[number]
        assert length >= 100 * MS
        assert (Stamped.LATE in Stamped(stamp.flags)) == (length > 110 * MS)


@given(st.lists(st.booleans(), min_size=1, max_size=5), st.integers(0, 9))
def test_a_failed_switch_ends_the_schedule(lib: c.CDLL, coins: list[bool], at: int) -> None:
    schedule = taken(lib, raw_schedule(coins))
    stamps = (Stamp * (2 * len(coins)))()
    now = 5
    for window in range(min(at, 2 * len(coins) - 1) + 1):
        assert lib.schedule_turn(c.byref(schedule), stamps, now) == Turn.SWITCH
        lib.schedule_began(c.byref(schedule), stamps, now, window == at)
        now = schedule.due_ns
    if at < 2 * len(coins):
        assert Stamped(stamps[at].flags) == Stamped.FAILED
        assert stamps[at].begun_ns == 0
    assert lib.schedule_turn(c.byref(schedule), stamps, now) == Turn.OVER


def test_a_schedule_that_is_cut_says_so_in_the_open_window(lib: c.CDLL) -> None:
    schedule = taken(lib, raw_schedule([True, False]))
    stamps = (Stamp * 4)()
    lib.schedule_turn(c.byref(schedule), stamps, 1)
    lib.schedule_began(c.byref(schedule), stamps, 2, False)
    lib.schedule_cut(c.byref(schedule), stamps, 50 * MS)
    assert (stamps[0].ended_ns, Stamped(stamps[0].flags)) == (50 * MS, Stamped.CUT)
    assert lib.schedule_turn(c.byref(schedule), stamps, 999 * MS) == Turn.OVER
    lib.schedule_cut(c.byref(schedule), stamps, 80 * MS)
    assert stamps[0].ended_ns == 50 * MS


def test_a_look_before_the_window_is_over_changes_nothing(lib: c.CDLL) -> None:
    schedule = taken(lib, raw_schedule([True]))
    stamps = (Stamp * 2)()
    lib.schedule_turn(c.byref(schedule), stamps, 1)
    lib.schedule_began(c.byref(schedule), stamps, 1, False)
    before = bytes(schedule), bytes(stamps)
    assert lib.schedule_turn(c.byref(schedule), stamps, 100 * MS) == Turn.WAIT
    assert (bytes(schedule), bytes(stamps)) == before


def broken(field: str, value: int) -> RawSchedule:
    raw = raw_schedule([True, False])
    if field == "bit":
        raw.bits[value // 64] ^= 1 << value % 64
    else:
        setattr(raw, field, value)
    return raw


@pytest.mark.parametrize(
    ("field", "value", "fault"),
    [
        ("version", 0, ScheduleFault.UNKNOWN_VERSION),
        ("windows", 0, ScheduleFault.BAD_SIZE),
        ("windows", 3, ScheduleFault.BAD_SIZE),
        ("windows", 4098, ScheduleFault.BAD_SIZE),
        ("windows", 6, ScheduleFault.ONE_SIDED),
        ("windows", 2, ScheduleFault.BAD_PADDING),
        ("window_ms", 19, ScheduleFault.BAD_PACE),
        ("window_ms", 3600001, ScheduleFault.BAD_PACE),
        ("slot", 0, ScheduleFault.BAD_SLOT),
        ("slot", 16, ScheduleFault.BAD_SLOT),
        ("bit", 0, ScheduleFault.ONE_SIDED),
        ("bit", 2, ScheduleFault.ONE_SIDED),
        ("bit", 4, ScheduleFault.BAD_PADDING),
        ("bit", 4095, ScheduleFault.BAD_PADDING),
    ],
)
def test_a_malformed_schedule_is_refused(
    lib: c.CDLL, field: str, value: int, fault: ScheduleFault
) -> None:
    schedule = Schedule()
    got = lib.schedule_check(c.byref(broken(field, value)), c.byref(schedule))
    assert ScheduleFault(got) == fault
    assert bytes(schedule) == bytes(Schedule())

"""When tuning is allowed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktune.profile.change_windows import next_opening, open_until, parse_window

BERLIN = ZoneInfo("Europe/Berlin")
MOMENTS = st.datetimes(datetime(2025, 1, 1), datetime(2027, 12, 31), timezones=st.just(UTC))
DAYS = st.sampled_from(["", "Mon ", "Mon-Fri ", "Sat,Sun ", "Fri-Mon ", "Wed,Fri-Sun "])
TIMES = st.tuples(st.integers(0, 23), st.integers(0, 59)).map(lambda t: f"{t[0]:02}:{t[1]:02}")
WINDOWS = st.lists(
    st.tuples(DAYS, TIMES, TIMES)
    .filter(lambda w: w[1] != w[2])
    .map(lambda w: parse_window(f"{w[0]}{w[1]}-{w[2]}")),
    min_size=1,
    max_size=3,
)


def at(text: str, zone: ZoneInfo = BERLIN) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=zone)


def test_a_weekday_window_opens_and_closes_on_the_wall_clock() -> None:
    windows = [parse_window("Mon-Fri 02:00-05:00")]

    assert open_until(windows, at("2026-11-20T03:00"), BERLIN) == at("2026-11-20T05:00")
    assert open_until(windows, at("2026-11-20T05:00"), BERLIN) is None
    assert open_until(windows, at("2026-11-21T03:00"), BERLIN) is None, "a Saturday"
    assert next_opening(windows, at("2026-11-21T03:00"), BERLIN) == at("2026-11-23T02:00")


def test_a_window_over_midnight_belongs_to_the_day_it_begins() -> None:
    windows = [parse_window("Fri 22:00-04:00")]

    assert open_until(windows, at("2026-11-21T03:59"), BERLIN) == at("2026-11-21T04:00")
    assert open_until(windows, at("2026-11-20T03:00"), BERLIN) is None


def test_windows_that_touch_are_one() -> None:
    windows = [parse_window("Sat 00:00-24:00"), parse_window("Sun 00:00-12:00")]

    assert open_until(windows, at("2026-11-21T10:00"), BERLIN) == at("2026-11-22T12:00")


def test_the_wall_clock_counts_where_the_clocks_change() -> None:
    windows = [parse_window("Sun 01:00-06:00")]
    summer = open_until(windows, at("2026-03-29T01:30"), BERLIN)
    winter = open_until(windows, at("2026-10-25T01:30"), BERLIN)

    assert summer is not None and winter is not None
    assert summer.timestamp() - at("2026-03-29T01:00").timestamp() == 4 * 3600
    assert winter.timestamp() - at("2026-10-25T01:00").timestamp() == 6 * 3600


def test_the_machines_own_zone_counts_where_none_is_given(monkeypatch) -> None:
    import time

    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        closes = open_until([parse_window("02:00-05:00")], at("2026-11-20T18:00", UTC), None)
    finally:
        monkeypatch.undo()
        time.tzset()

    assert closes is not None and closes.astimezone(UTC) == at("2026-11-20T20:00", UTC)


@given(WINDOWS, MOMENTS, st.sampled_from([BERLIN, ZoneInfo("UTC"), ZoneInfo("America/New_York")]))
def test_it_is_open_until_it_closes_and_closed_until_it_opens(windows, now, zone) -> None:
    closes = open_until(windows, now, zone)
    if closes is not None:
        assert closes > now
        assert open_until(windows, closes - timedelta(seconds=1), zone) is not None
    else:
        opens = next_opening(windows, now, zone)
        assert opens > now
        assert open_until(windows, opens, zone) is not None
        middle = now + (opens - now) / 2
        assert open_until(windows, middle, zone) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "02:00",
        "2:00-5:00",
        "02:00-02:00",
        "24:00-02:00",
        "02:60-03:00",
        "25:00-26:00",
        "Monday 02:00-05:00",
        "Mon 02:00-05:00 ",
        "mon 02:00-05:00",
    ],
)
def test_what_is_no_window_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_window(text)

"""When tuning is allowed: `Mon-Fri 02:00-05:00`. Pure: the moment is given, no clock is read.

Times are wall time, so a window lasts an hour less or more where the clocks change within it; a
wall time that does not exist that day means the moment after the gap (PEP 495, fold 0).
"""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema

from ktune.profile.errors import shown
from ktune.profile.fields import wrong

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_DAY = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_WINDOW = re.compile(
    rf"(?:(?P<days>{_DAY}(?:-{_DAY})?(?:,{_DAY}(?:-{_DAY})?)*) )?"
    r"(?P<from>\d\d:\d\d)-(?P<to>\d\d:\d\d)\Z"
)
_MINUTES_A_DAY = 24 * 60
_WEEK = 7


@dataclass(frozen=True)
class Weekly:
    """From minute `begins` of each of `days` (Monday is 0) on, until minute `ends`, which lies on
    the next day where it is not after `begins`."""

    days: frozenset[int]
    begins: int
    ends: int

    @property
    def minutes(self) -> int:
        """How long one lasts on the wall clock."""
        return (self.ends - self.begins - 1) % _MINUTES_A_DAY + 1

    @property
    def text(self) -> str:
        """As a profile writes it, each day by itself.

        >>> parse_window("Fri-Sun 22:00-04:30").text
        'Fri,Sat,Sun 22:00-04:30'
        """
        days = ",".join(_DAYS[day] for day in sorted(self.days)) if len(self.days) < _WEEK else ""
        clock = "-".join(f"{at // 60:02d}:{at % 60:02d}" for at in (self.begins, self.ends))
        return f"{days} {clock}".strip()


def parse_window(text: str) -> Weekly:
    """`[DAYS ]HH:MM-HH:MM`; DAYS are `Mon`, `Mon-Fri` or `Sat,Sun`, every day where not given.

    Raises ValueError.

    >>> parse_window("Fri-Sun 22:00-04:30").minutes
    390
    """
    found = _WINDOW.match(text)
    if found is None:
        raise ValueError(f"expected such as 'Mon-Fri 02:00-05:00', found {shown(text)}")
    begins, ends = _minutes(found["from"]), _minutes(found["to"])
    if begins in (ends, _MINUTES_A_DAY):
        raise ValueError(f"{shown(text)} is no stretch of time (the whole day: 00:00-24:00)")
    return Weekly(frozenset(_days(found["days"])), begins, ends)


def open_until(
    windows: Iterable[Weekly], now: datetime, zone: zoneinfo.ZoneInfo | None
) -> datetime | None:
    """When the window that is open at `now` (aware) closes, windows that touch or overlap counted
    as one; None when none is open. `zone` None: the machine's own."""
    spans = sorted(_spans(windows, now, zone))
    closes: datetime | None = None
    for begins, ends in spans:
        if begins <= (closes or now) < ends:
            closes = ends
    return closes


def next_opening(
    windows: Iterable[Weekly], now: datetime, zone: zoneinfo.ZoneInfo | None
) -> datetime:
    """When the next window opens after `now`. Raises ValueError without windows."""
    later = [begins for begins, _ in _spans(windows, now, zone) if begins > now]
    if not later:
        raise ValueError("there is no change window")
    return min(later)


def _spans(
    windows: Iterable[Weekly], now: datetime, zone: zoneinfo.ZoneInfo | None
) -> Iterator[tuple[datetime, datetime]]:
    """Every stretch from the day before yesterday to more than a week ahead."""
    today = now.astimezone(zone).date()
    for window in windows:
        for offset in range(-2, 2 * _WEEK):
            day = today + timedelta(days=offset)
            if day.weekday() in window.days:
                begins = _moment(day, window.begins, zone)
                ends = _moment(day, window.begins + window.minutes, zone)
                if begins < ends:  # else the clocks jump over it
                    yield begins, ends


def _moment(day: date, minutes: int, zone: zoneinfo.ZoneInfo | None) -> datetime:
    wall = datetime.combine(day, time()) + timedelta(minutes=minutes)
    # to UTC and back: arithmetic on aware times is on the wall clock
    aware = wall.astimezone() if zone is None else wall.replace(tzinfo=zone)
    return datetime.fromtimestamp(aware.timestamp(), tz=aware.tzinfo)


def _minutes(text: str) -> int:
    hours, minutes = int(text[:2]), int(text[3:])
    total = 60 * hours + minutes
    if minutes > 59 or total > _MINUTES_A_DAY:
        raise ValueError(f"{text} is no time of day")
    return total


def _days(text: str | None) -> Iterator[int]:
    if text is None:
        yield from range(_WEEK)
        return
    for part in text.split(","):
        first, _, last = part.partition("-")
        begin, end = _DAYS.index(first), _DAYS.index(last or first)
        yield from (day % _WEEK for day in range(begin, end + 1 + (_WEEK if end < begin else 0)))


def _window(value: object) -> object:
    if isinstance(value, Weekly):
        return value
    if not isinstance(value, str):
        raise wrong("expected a text such as 'Mon-Fri 02:00-05:00'")
    try:
        return parse_window(value)
    except ValueError as error:
        raise wrong(str(error)) from None


def _zone(value: object) -> object:
    if isinstance(value, zoneinfo.ZoneInfo):
        return value
    if not isinstance(value, str):
        raise wrong("expected a time zone such as Europe/Berlin")
    try:
        return zoneinfo.ZoneInfo(value)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise wrong(f"this machine knows no time zone {shown(value)}") from None


ChangeWindow = Annotated[
    Weekly,
    BeforeValidator(_window),
    WithJsonSchema({"type": "string", "pattern": r"^.* ?\d\d:\d\d-\d\d:\d\d$"}),
]
TimeZone = Annotated[zoneinfo.ZoneInfo, BeforeValidator(_zone), WithJsonSchema({"type": "string"})]

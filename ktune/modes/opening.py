"""Change windows: a run is refused outside them, and ends in time to be gone on with later."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

from ktune.errors import RefusedError
from ktune.profile.change_windows import next_opening, open_until
from ktune.profile.goals import Safety


class ChangeWindowClosed(RefusedError):
    """The time for changes is over: the run ends, everything is restored (exit 4)."""


def refuse_outside(safety: Safety, now: datetime | None = None) -> None:
    """Raises ChangeWindowClosed where tuning is not allowed now."""
    now = now or datetime.now(UTC)
    if safety.change_windows and open_until(safety.change_windows, now, safety.time_zone) is None:
        raise ChangeWindowClosed(
            "tuning is not allowed now: no change window of the profile is open",
            hint=f"the next one opens {_opening(safety, now)}",
        )


def until_closed(safety: Safety, now_s: Callable[[], float] = time.time) -> Callable[[], None]:
    """A check for every poll: raises ChangeWindowClosed once the window that is open now closes."""
    if not safety.change_windows:
        return lambda: None
    closes = open_until(
        safety.change_windows, datetime.fromtimestamp(now_s(), UTC), safety.time_zone
    )
    closes_s = closes.timestamp() if closes else 0.0

    def check() -> None:
        at_s = now_s()
        if at_s >= closes_s:
            raise ChangeWindowClosed(
                "the change window has closed: the run ends here",
                hint=f"the next one opens {_opening(safety, datetime.fromtimestamp(at_s, UTC))}",
            )

    return check


def _opening(safety: Safety, now: datetime) -> str:
    opens = next_opening(safety.change_windows, now, safety.time_zone)
    return f"{opens.astimezone(safety.time_zone):%a %Y-%m-%d %H:%M %Z}"

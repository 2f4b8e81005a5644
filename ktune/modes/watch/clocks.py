"""Has time jumped? Pure: two readings of the clocks in, what happened out.

CLOCK_MONOTONIC stands still while the machine sleeps, CLOCK_BOOTTIME does not; CLOCK_REALTIME can
be set (clock_gettime(2)). Measurements that a jump cuts through mean nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

_SLEPT_S = 1.0
_SET_S = 2.0
"""NTP slews slowly; a step is above this."""


@dataclass(frozen=True)
class Clocks:
    """One reading, in seconds."""

    monotonic_s: float
    boottime_s: float
    realtime_s: float

    @classmethod
    def read(cls) -> Clocks:
        return cls(
            time.clock_gettime(time.CLOCK_MONOTONIC),
            time.clock_gettime(time.CLOCK_BOOTTIME),
            time.clock_gettime(time.CLOCK_REALTIME),
        )


class TimeKeeper:
    """Looks at the clocks again and again. `read` is how."""

    def __init__(self, read: Callable[[], Clocks] = Clocks.read) -> None:
        self._read = read
        self._last = read()

    def jump(self, expected_s: float) -> str | None:
        """What happened since the last look, which was to be `expected_s` ago."""
        before, self._last = self._last, self._read()
        return jumped(before, self._last, expected_s)

    def forget(self) -> None:
        """Look from now on: what came before was no watching."""
        self._last = self._read()


def jumped(before: Clocks, now: Clocks, expected_s: float) -> str | None:
    """What happened between two looks that were to be `expected_s` apart; None: nothing.

    >>> jumped(Clocks(0, 0, 0), Clocks(10, 310, 310), 10)
    'the machine slept for 300 s'
    """
    passed_s = now.monotonic_s - before.monotonic_s
    slept_s = now.boottime_s - before.boottime_s - passed_s
    if slept_s > _SLEPT_S:
        return f"the machine slept for {slept_s:.0f} s"
    if passed_s > 3 * expected_s + 5:
        return f"the watcher did not run for {passed_s:.0f} s"
    set_s = (now.realtime_s - before.realtime_s) - (now.boottime_s - before.boottime_s)
    if abs(set_s) > _SET_S:
        return f"the clock was set by {set_s:+.0f} s"
    return None

"""Guardrails of a profile: limits that end a window at once, whatever the objective says.

PSI averages: Documentation/accounting/psi.rst. OOM kills: `oom_kill` in /proc/vmstat (mm/oom_kill.c
counts every task it kills, memory cgroups included).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ktune.kernel.tunable import read_text


@dataclass(frozen=True)
class PressureLimit:
    """Crossed when avg10 of one pressure line stays above `avg10_above` for `lasting_s`."""

    resource: str
    line: str
    avg10_above: float
    """A share from 0 to 1."""
    lasting_s: float


def pressure_avg10(text: str, line: str) -> float:
    """avg10 of a line of /proc/pressure/*, as a share from 0 to 1. Raises ValueError.

    >>> pressure_avg10("some avg10=12.50 avg60=0.00 avg300=0.00 total=1", "some")
    0.125
    """
    for row in text.splitlines():
        kind, *fields = row.split()
        if kind == line:
            numbers = dict(field.split("=", 1) for field in fields)
            return float(numbers["avg10"]) / 100
    raise ValueError(f"no line {line!r}")


def oom_kills(text: str) -> int:
    """The counter of /proc/vmstat. Raises ValueError when the kernel has none (< 4.13)."""
    for row in text.splitlines():
        name, _, number = row.partition(" ")
        if name == "oom_kill":
            return int(number)
    raise ValueError("no oom_kill counter")


_GAP_S = 5.0
"""Looks further apart than this say nothing about the time between them."""


class Guardrails:
    """Watches during windows. `crossed()` is cheap enough for every poll.

    Pressure is counted on from window to window: a limit that must last four seconds could never
    be crossed in windows of one.
    """

    def __init__(
        self,
        pressure: Sequence[PressureLimit],
        oom_kills_above: int | None,
        *,
        clock_s: Callable[[], float] = time.monotonic,
        read: Callable[[str], str] = read_text,
    ) -> None:
        self._pressure = pressure
        self._oom_above = oom_kills_above
        self._clock_s = clock_s
        self._read = read
        self._above_since_s: dict[PressureLimit, float] = {}
        self._oom_at_start = 0
        self._next_look_s = 0.0
        self._last_look_s = 0.0

    def start_window(self) -> None:
        """Look at once; OOM kills from before do not count."""
        self._next_look_s = 0.0
        if self._oom_above is not None:
            self._oom_at_start = oom_kills(self._read("/proc/vmstat"))

    def crossed(self) -> str | None:
        """Which guardrail is crossed now; looks at most every 200 ms."""
        now_s = self._clock_s()
        if now_s < self._next_look_s:
            return None
        self._next_look_s = now_s + 0.2
        if now_s - self._last_look_s > _GAP_S:
            self._above_since_s.clear()
        self._last_look_s = now_s
        if self._oom_above is not None:
            killed = oom_kills(self._read("/proc/vmstat")) - self._oom_at_start
            if killed > self._oom_above:
                return f"{killed} OOM kills in the window (limit {self._oom_above})"
        for limit in self._pressure:
            said = self._pressure_crossed(limit, now_s)
            if said:
                return said
        return None

    def quiet(self) -> bool:
        """No pressure is above its limit any more (an average over 10 s takes its time)."""
        return not any(self._share(limit) > limit.avg10_above for limit in self._pressure)

    def forget(self) -> None:
        """Count pressure from now on."""
        self._above_since_s.clear()

    def _pressure_crossed(self, limit: PressureLimit, now_s: float) -> str | None:
        share = self._share(limit)
        if share <= limit.avg10_above:
            self._above_since_s.pop(limit, None)
            return None
        since_s = self._above_since_s.setdefault(limit, now_s)
        if now_s - since_s < limit.lasting_s:
            return None
        return (
            f"{limit.resource} pressure ({limit.line} avg10) {share:.0%} is above "
            f"{limit.avg10_above:.0%}"
        )

    def _share(self, limit: PressureLimit) -> float:
        return pressure_avg10(self._read(f"/proc/pressure/{limit.resource}"), limit.line)

"""Pressure stall information: averages that stay high, and stalls within a short time.

Source: Documentation/accounting/psi.rst. A trigger (`some 200000 2000000` written to the file)
wakes poll(2) with POLLPRI as soon as tasks have stalled so long within so long. Without
CAP_SYS_RESOURCE its window must be a multiple of 2 s, older kernels refuse it altogether: it is
tried, and the `total` of the same line is polled where it is refused.
"""

from __future__ import annotations

import os
import select
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ktune.measure.guardrails.source import Guardrail, KeptFile, Unwatchable, reason_of

_GAP_S = 12.0
"""An average over ten seconds says nothing about a time longer ago than that."""


@dataclass(frozen=True)
class PressureLimit:
    """Crossed when avg10 of one pressure line stays above `avg10_above` for `lasting_s`."""

    resource: str
    line: str
    avg10_above: float
    """A share from 0 to 1."""
    lasting_s: float


@dataclass(frozen=True)
class StallLimit:
    """Crossed when tasks stalled for `stalled_s` within any `within_s`."""

    resource: str
    line: str
    stalled_s: float
    within_s: float


def pressure_field(text: str, line: str, field: str) -> float:
    """A field of a line of /proc/pressure/*, as it stands there. Raises ValueError.

    >>> pressure_field("some avg10=12.50 avg60=0.00 avg300=0.00 total=7", "some", "avg10")
    12.5
    """
    for row in text.splitlines():
        kind, *pairs = row.split() or [""]
        if kind == line:
            for pair in pairs:
                name, _, number = pair.partition("=")
                if name == field:
                    return float(number)
    raise ValueError(f"no {field} in a line {line!r}")


class PressureAverage(Guardrail):
    """avg10 above a share, for some time. Counted on from window to window: a limit that must
    last four seconds could never be crossed in windows of one."""

    every_s = 0.5  # the kernel computes the averages every 2 s

    def __init__(self, limit: PressureLimit, read: Callable[[], bytes] | None = None) -> None:
        self.name = f"psi {limit.resource} {limit.line} avg10"
        self._limit = limit
        self._read = read
        self._file: KeptFile | None = None
        self._above_since_s: float | None = None
        self._last_look_s = 0.0

    def open(self) -> str:
        """See Guardrail."""
        if self._read is None:
            self._file = _open(self._limit.resource, os.O_RDONLY)
            self._read = self._file.read
        try:
            self._share()
        except (OSError, ValueError) as error:
            raise Unwatchable(f"/proc/pressure/{self._limit.resource}: {error}") from None
        return ""

    def crossed(self, now_s: float) -> str | None:
        """See Guardrail."""
        limit = self._limit
        if now_s - self._last_look_s > _GAP_S:
            self._above_since_s = None
        self._last_look_s = now_s
        share = self._share()
        if share <= limit.avg10_above:
            self._above_since_s = None
            return None
        if self._above_since_s is None:
            self._above_since_s = now_s
        if now_s - self._above_since_s < limit.lasting_s:
            return None
        return (
            f"{limit.resource} pressure ({limit.line} avg10) {share:.0%} is above "
            f"{limit.avg10_above:.0%}"
        )

    def quiet(self, now_s: float) -> bool:
        """See Guardrail; an average over 10 s takes its time."""
        return self._share() <= self._limit.avg10_above

    def forget(self) -> None:
        """See Guardrail."""
        self._above_since_s = None

    def close(self) -> None:
        """See Guardrail."""
        if self._file is not None:
            self._file.close()
            self._file = self._read = None

    def _share(self) -> float:
        assert self._read is not None
        return pressure_field(
            self._read().decode("ascii", "replace"), self._limit.line, "avg10"
        ) / (100)


class StallSamples:
    """`total` of a pressure line over time; finds a stall that is long enough.

    Looks further apart than `within_s` see the mean over the time between: a short stall in a
    long time without a look is missed.
    """

    def __init__(self, limit: StallLimit) -> None:
        self._limit = limit
        self._samples: deque[tuple[float, float]] = deque()

    def clear(self) -> None:
        """Begin anew."""
        self._samples.clear()

    def add(self, now_s: float, total_us: float) -> bool:
        """Whether the limit is reached with this sample."""
        samples, within_s = self._samples, self._limit.within_s
        samples.append((now_s, total_us))
        while len(samples) > 2 and samples[1][0] <= now_s - within_s:
            samples.popleft()
        first_s, first_us = samples[0]
        span_s = now_s - first_s
        if span_s <= 0:
            return False
        stalled_s = (total_us - first_us) / 1e6 * min(1.0, within_s / span_s)
        return stalled_s >= self._limit.stalled_s


class PressureStall(Guardrail):
    """Stalled so long within so long: by the kernel's trigger, else by polling `total`."""

    def __init__(self, limit: StallLimit, *, clock_s: Callable[[], float] = time.monotonic) -> None:
        self.name = f"psi {limit.resource} {limit.line} stalled"
        self.every_s = min(limit.within_s / 4, 1.0)
        self._limit = limit
        self._clock_s = clock_s
        self._file: KeptFile | None = None
        self._triggered = False
        self._reached = False
        self._broken = False
        self._last_reached_s = -limit.within_s
        self._samples = StallSamples(limit)

    def open(self) -> str:
        """See Guardrail."""
        limit = self._limit
        try:
            self._file = KeptFile(f"/proc/pressure/{limit.resource}", os.O_RDWR)
            wanted = f"{limit.line} {round(limit.stalled_s * 1e6)} {round(limit.within_s * 1e6)}"
            os.write(self._file.fd, wanted.encode() + b"\0")
        except OSError as error:
            self._file = _open(limit.resource, os.O_RDONLY)
            try:
                self._total_us()
            except (OSError, ValueError) as worse:
                raise Unwatchable(f"{self._file.path}: {worse}") from None
            return f"the kernel takes no such trigger ({error.strerror}); polled instead"
        self._triggered = True
        self.every_s = 3600.0  # the trigger wakes
        return ""

    @property
    def triggered(self) -> bool:
        """Whether the kernel wakes us."""
        return self._triggered

    def crossed(self, now_s: float) -> str | None:
        """See Guardrail."""
        if not self._look(now_s):
            return None
        limit = self._limit
        return (
            f"{limit.resource} pressure: {limit.line} stalled {limit.stalled_s * 1000:.0f} ms "
            f"within {limit.within_s * 1000:.0f} ms"
        )

    def quiet(self, now_s: float) -> bool:
        """See Guardrail: one whole window without it."""
        self._look(now_s)
        return now_s - self._last_reached_s >= self._limit.within_s

    def forget(self) -> None:
        """See Guardrail."""
        self._reached = False
        self._samples.clear()

    def fds(self) -> Mapping[int, int]:
        """See Guardrail."""
        if self._triggered and self._file is not None:
            return {self._file.fd: select.POLLPRI}
        return {}

    def woken(self, fd: int, events: int) -> None:
        """See Guardrail. The kernel tells each event once; a trigger that is gone polls as an
        error (psi_trigger_poll in kernel/sched/psi.c)."""
        if events & (select.POLLERR | select.POLLNVAL):
            self._broken = True
        elif events & select.POLLPRI:
            self._reached = True

    def close(self) -> None:
        """See Guardrail."""
        if self._file is not None:
            self._file.close()  # the trigger goes with it
            self._file = None
        self._triggered = False

    def _look(self, now_s: float) -> bool:
        if self._broken:
            raise OSError(f"the trigger on /proc/pressure/{self._limit.resource} is gone")
        if not self._triggered:
            self._reached = self._samples.add(now_s, self._total_us())
        reached, self._reached = self._reached, False
        if reached:
            self._last_reached_s = now_s
            self._samples.clear()
        return reached

    def _total_us(self) -> float:
        assert self._file is not None
        return pressure_field(
            self._file.read().decode("ascii", "replace"), self._limit.line, "total"
        )


def _open(resource: str, flags: int) -> KeptFile:
    try:
        return KeptFile(f"/proc/pressure/{resource}", flags)
    except OSError as error:
        raise Unwatchable(f"{reason_of(error)} (CONFIG_PSI, psi=1)") from None

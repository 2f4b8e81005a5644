"""All guardrails of a run or a policy together: one object to ask, or to wait with."""

from __future__ import annotations

import math
import select
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType

from ktune.errors import RefusedError
from ktune.measure.guardrails.source import Guardrail, Unwatchable, reason_of

_LOOK_EVERY_S = 0.2
_AFTER_WAKING_S = 0.02
"""A flood of kernel messages must not keep us busy."""


@dataclass(frozen=True)
class Wanted:
    """A guardrail of a profile. `optional`: where it can't be watched, go on without."""

    guardrail: Guardrail
    optional: bool = False


@dataclass(frozen=True)
class Watchability:
    """Whether one guardrail can be watched here: `reason` is empty where it can. `note`: what is
    weaker here than asked for."""

    name: str
    optional: bool
    reason: str = ""
    note: str = ""

    @property
    def works(self) -> bool:
        """It is watched."""
        return not self.reason

    @property
    def text(self) -> str:
        """One line for people."""
        if self.works:
            return f"{self.name}: watched" + (f" ({self.note})" if self.note else "")
        return f"{self.name}: can't be watched here: {self.reason}"


@dataclass
class _Entry:
    guardrail: Guardrail
    optional: bool
    due_s: float = 0.0


class Guardrails:
    """Opened at the first use, or by `open()`; `close()` gives the descriptors back.

    `crossed()` is cheap enough for every poll of a workload; `wait()` sleeps until something is
    crossed, for those who have nothing else to do.
    """

    def __init__(
        self, wanted: Sequence[Wanted], *, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._wanted = tuple(wanted)
        self._clock_s = clock_s
        self._entries: list[_Entry] = []
        self._found: list[Watchability] = []
        self._next_look_s = 0.0
        self._began = False
        self._poll = select.poll()
        self._of_fd: dict[int, list[_Entry]] = {}

    def open(self) -> tuple[Watchability, ...]:
        """Begin to watch; what was found out for each, in the order of the profile.

        Raises RefusedError (exit 4) when one that is not optional can't be watched: a guardrail
        that somebody relies on is never left out silently.
        """
        if not self._found:
            for wanted in self._wanted:
                self._found.append(self._try(wanted))
            refused = [item for item in self._found if not item.works and not item.optional]
            if refused:
                self.close()
                raise RefusedError(
                    "guardrails that can't be watched here: "
                    + "; ".join(f"{item.name}: {item.reason}" for item in refused),
                    hint="`ktune doctor` says what is missing; `optional: true` on a guardrail "
                    "goes on without it",
                )
            self._register()
        return tuple(self._found)

    def also(self, guardrail: Guardrail) -> None:
        """Watch this one too, which came later (its metrics come with the workload)."""
        self._wanted = (*self._wanted, Wanted(guardrail))
        if self._found:
            self._found.append(self._try(self._wanted[-1]))
            self._register()

    def notes(self) -> list[str]:
        """What a run should say at its start: what is not watched, or more weakly than asked for.

        Raises RefusedError, as `open`.
        """
        return [f"guardrail {item.text}" for item in self.open() if not item.works or item.note]

    def survey(self) -> tuple[Watchability, ...]:
        """Try each and close it again; refuses nothing."""
        try:
            return tuple(self._try(wanted) for wanted in self._wanted)
        finally:
            self.close()

    def close(self) -> None:
        """Stop watching; may be called twice."""
        for entry in self._entries:
            entry.guardrail.close()
        self._entries.clear()
        self._found.clear()
        self._poll = select.poll()
        self._of_fd.clear()
        self._began = False

    def __enter__(self) -> Guardrails:
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def start_window(self) -> None:
        """Look at once; what guardrails count by window (OOM kills) starts at zero.

        Pressure, kernel warnings and device errors go on from window to window: what happens
        between two windows is not lost.
        """
        self.open()
        if not self._began:
            self.forget()
            self._began = True
        self._next_look_s = 0.0
        for entry in self._entries:
            entry.guardrail.start()
            entry.due_s = 0.0

    def crossed(self) -> str | None:
        """Which guardrail is crossed now; looks at most every 200 ms. Raises RefusedError when it
        was not open and can't be."""
        now_s = self._clock_s()
        if now_s < self._next_look_s:
            return None
        self.open()
        self._next_look_s = now_s + _LOOK_EVERY_S
        self._take_events(0.0)
        for entry in list(self._entries):
            if now_s < entry.due_s:
                continue
            said = self._look(entry, now_s)
            entry.due_s = now_s + entry.guardrail.every_s
            if said:
                return said
        return None

    def wait(self, timeout_s: float, also: Sequence[int] = ()) -> str | None:
        """Sleep until a guardrail is crossed (why), or the time is over, or one of the descriptors
        `also` can be read (None). Kernel triggers and kernel messages wake at once."""
        until_s = self._clock_s() + timeout_s
        while True:
            said = self.crossed()
            now_s = self._clock_s()
            if said or now_s >= until_s:
                return said
            due_s = min((entry.due_s for entry in self._entries), default=until_s)
            due_s = max(due_s, self._next_look_s)
            woken = self._take_events(max(0.0, min(until_s, due_s) - now_s), also)
            if woken & set(also):
                return None
            if woken:
                self._next_look_s = 0.0
                time.sleep(_AFTER_WAKING_S)

    def fds(self) -> Mapping[int, int]:
        """For a poll(2) of one's own: descriptor -> events. What it gives must be told to
        `woken()`, because the kernel tells an event of a trigger once."""
        self.open()
        return {
            fd: events for entry in self._entries for fd, events in entry.guardrail.fds().items()
        }

    def woken(self, fd: int, events: int) -> None:
        """A poll(2) gave `events` for one of `fds()`; the next `crossed()` looks at once."""
        for entry in self._of_fd.get(fd, ()):
            entry.guardrail.woken(fd, events)
            entry.due_s = 0.0
        self._next_look_s = 0.0

    def quiet(self) -> bool:
        """What can be over is over (an average over 10 s takes its time)."""
        self.open()
        self._take_events(0.0)
        now_s = self._clock_s()
        return all(entry.guardrail.quiet(now_s) for entry in self._entries)

    def forget(self) -> None:
        """Count from now on."""
        self.open()
        self._take_events(0.0)
        for entry in self._entries:
            entry.guardrail.forget()

    def _try(self, wanted: Wanted) -> Watchability:
        guardrail = wanted.guardrail
        try:
            note = guardrail.open()
        except Unwatchable as reason:
            guardrail.close()
            return Watchability(guardrail.name, wanted.optional, reason=str(reason))
        self._entries.append(_Entry(guardrail, wanted.optional))
        return Watchability(guardrail.name, wanted.optional, note=note)

    def _look(self, entry: _Entry, now_s: float) -> str | None:
        try:
            return entry.guardrail.crossed(now_s)
        except (OSError, ValueError) as error:
            reason = reason_of(error) if isinstance(error, OSError) else str(error)
            entry.guardrail.close()
            self._entries.remove(entry)
            self._register()
            if entry.optional:
                return None
            return f"{entry.guardrail.name} can't be watched any more: {reason}"

    def _register(self) -> None:
        self._poll = select.poll()
        self._of_fd.clear()
        for entry in self._entries:
            for fd, events in entry.guardrail.fds().items():
                self._of_fd.setdefault(fd, []).append(entry)
                self._poll.register(fd, events)

    def _take_events(self, timeout_s: float, also: Sequence[int] = ()) -> set[int]:
        """poll(2), hand out the events; the descriptors that were ready."""
        for fd in also:
            self._poll.register(fd, select.POLLIN)
        try:
            ready = self._poll.poll(math.ceil(timeout_s * 1000))
        finally:
            for fd in also:
                self._poll.unregister(fd)
        for fd, events in ready:
            for entry in self._of_fd.get(fd, ()):
                entry.guardrail.woken(fd, events)
                entry.due_s = 0.0
        return {fd for fd, _ in ready}

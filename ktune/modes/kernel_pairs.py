"""Pairs between which the kernel switches: ktune follows its schedule and never holds it up.

The coins of all pairs that may come are handed over at once, before the first of them begins; they
are the same that ktune would toss (`evidence.coin`). A window that the kernel's stamps do not cover
from end to end is void. Whatever makes a window invalid ends the schedule: the baseline is in force
until the next pair begins another.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from ktune.kernel.tunable import Assignment
from ktune.measure.window import Poll, Validity
from ktune.modes.bench import LIVE_LEASE_S, Bench, Measured, boottime_ns
from ktune.modes.slots import NS, Pace, not_in_force, overheads_of, pace_of, stamp_record
from ktune.profile.workload import Workload
from ktune.proxy.backends import Standing
from ktune.proxy.client import Lease
from ktune.proxy.schedule import stamped, start_schedule, stop_schedule
from ktune.proxy.stamps import PAIRS_MOST, Stamp
from ktune.report.progress import Note

_POLL_S = 0.02
_OVERDUE_S = 5.0
"""A kernel that has not switched so long after it should have is not waited for."""
NO_LENGTH = "its windows are programs that run to their end, each under one side"
"""Why a command's pairs need no schedule: its time can't be told, and no stall can move a switch
into its run."""


def fixed_window_s(workload: Workload | None) -> float | None:
    """How long each window lasts, settling included; None where its end is the workload's."""
    if workload is None or workload.attach is None:
        return None
    return workload.settle + workload.watch_time.lasting


def why_not(standing: Standing, window_s: float | None) -> str:
    """Why the kernel can't switch for a lease that stands so; empty: it can."""
    if not standing.by_module:
        because = f": {standing.module_why}" if standing.module_why else ""
        return f"the kernel module does not hold the lease{because}"
    return NO_LENGTH if window_s is None else ""


def switched_by(why: str) -> str:
    """`why`: why not by the kernel."""
    return f"switched by ktune: {why}" if why else "switched by the kernel, by a schedule of coins"


@dataclass
class _Running:
    """A schedule at work, for draws from `first` on."""

    first: int
    pairs: int
    pace: Pace


@dataclass
class KernelPairs:
    """The schedules of one run. `why`: why ktune switches itself; empty while the kernel does."""

    bench: Bench
    window_s: float
    settle_s: Mapping[str, float]
    why: str = ""
    overheads_s: list[float] = field(default_factory=list)
    _running: _Running | None = None

    @property
    def text(self) -> str:
        """Who switches, for people."""
        return switched_by(self.why)

    def slots(
        self, finalist: Assignment, draw: int, candidate_first: Sequence[bool]
    ) -> tuple[Slot, Slot] | None:
        """Both slots of pair `draw`; None: ktune has to switch for it.

        `candidate_first`: the coins of this draw and of those that may follow it.
        """
        if self.why:
            return None
        running = self._running
        if running is None or not running.first <= draw < running.first + running.pairs:
            running = self._start(finalist, draw, candidate_first[:PAIRS_MOST])
        if running is None:
            return None
        number = 2 * (draw - running.first)
        first = candidate_first[0]
        return Slot(self, running.pace, number, first), Slot(
            self, running.pace, number + 1, not first
        )

    def end(self) -> None:
        """No schedule from here on, until the next pair. Raises LeaseLost."""
        if self._running is not None:
            self._running = None
            stop_schedule(self.bench.lease)

    def _start(
        self, finalist: Assignment, draw: int, candidate_first: Sequence[bool]
    ) -> _Running | None:
        self.end()
        changed = [key for key, value in finalist.items() if self.bench.baseline[key] != value]
        settle_s = max((self.settle_s.get(key, 0.0) for key in changed), default=0.0)
        windows = () if self.overheads_s else self.bench.study.windows().records
        overheads_s = self.overheads_s or overheads_of(windows, settle_s, self.window_s)
        pace = pace_of(settle_s, self.window_s, overheads_s)
        if not pace.possible:
            self._give_up(f"the kernel's windows last an hour at most, not {pace.slot_s:.0f} s")
            return None
        if not self.bench.takes(finalist):
            return None  # this pair by ktune, which finds out what is the matter
        refused = start_schedule(
            self.bench.lease,
            self.bench.project(finalist),
            candidate_first,
            pace.slot_s,
            deadline_s=LIVE_LEASE_S,
            why=f"pairs from {draw} on",
        )
        if refused:
            self._give_up(refused)
            return None
        self._running = _Running(draw, len(candidate_first), pace)
        return self._running

    def _give_up(self, why: str) -> None:
        self.why = why
        self.bench.observe(Note(f"pairs are {self.text}"))


class Slot:
    """One slot of the schedule under way, and the window in it."""

    def __init__(self, pairs: KernelPairs, pace: Pace, number: int, candidate: bool) -> None:
        self._pairs = pairs
        self._pace = pace
        self._number = number
        self._candidate = candidate
        self._from_ns = 0

    @property
    def _lease(self) -> Lease:
        return self._pairs.bench.lease

    def enter(self, poll: Poll) -> Measured | None:
        """Wait until its side is in force and settled; a void result when that will not be."""
        begun = self._begun(poll)
        if isinstance(begun, str):
            return Measured({}, Validity.VOID, begun)
        while (left_ns := self._pace.settled_ns(begun) - boottime_ns()) > 0:
            poll()
            time.sleep(min(left_ns / NS, 0.05))
        late_ns = boottime_ns() - self._pace.latest_ns(begun)
        if late_ns > 0:
            self._took(boottime_ns() - self._pace.settled_ns(begun))
            why = f"ktune came {late_ns / NS:.2f} s too late for the kernel's slot: it stood still"
            return Measured({}, Validity.VOID, why)
        self._from_ns = boottime_ns()
        return None

    def judged(self, measured: Measured, poll: Poll) -> Measured:
        """The window has just ended: void unless the kernel's stamps cover it. Of a valid one the
        end of its slot is waited for, to have the whole stamp."""
        to_ns = boottime_ns()
        stamp = self._stamp()
        while measured.valid and not stamp.ended_ns and not self._overdue(stamp):
            poll()
            time.sleep(_POLL_S)
            stamp = self._stamp()
        why = self._problem(stamp, to_ns)
        self._took(to_ns - self._pace.settled_ns(stamp) - round(self._pace.window_s * NS))
        if why:
            return replace(measured, metrics={}, validity=Validity.VOID, reason=why)
        if not measured.valid:
            return measured
        if not stamp.ended_ns:
            return replace(
                measured, metrics={}, validity=Validity.VOID, reason="the kernel did not switch"
            )
        return replace(measured, stamp=stamp_record(stamp, self._pace, self._from_ns, to_ns))

    def held_until(self, to_ns: int) -> bool:
        """Whether its side was in force from the window's beginning until then."""
        return bool(self._from_ns) and not self._problem(self._stamp(), to_ns)

    def _problem(self, stamp: Stamp, to_ns: int) -> str:
        return not_in_force(
            stamp, self._pace, candidate=self._candidate, from_ns=self._from_ns, to_ns=to_ns
        )

    def _begun(self, poll: Poll) -> Stamp | str:
        """Its stamp, once its side is in force; why it never will be."""
        asked_s = time.monotonic()
        while True:
            found = stamped(self._lease, self._number)
            if found.windows and found.windows[0].begun_ns:
                return found.windows[0]
            if found.over or (found.windows and found.windows[0].failed):
                return "the kernel could not put the next side in force: the schedule is over"
            if time.monotonic() - asked_s > self._pace.slot_s + _OVERDUE_S:
                return "the kernel did not switch in time"
            poll()
            time.sleep(_POLL_S)

    def _stamp(self) -> Stamp:
        return stamped(self._lease, self._number).windows[0]

    def _overdue(self, stamp: Stamp) -> bool:
        return boottime_ns() > stamp.begun_ns + round((self._pace.slot_s + _OVERDUE_S) * NS)

    def _took(self, beside_ns: int) -> None:
        self._pairs.overheads_s.append(max(0.0, beside_ns / NS))

"""Measures one assignment: lease, settle, window, look for foreign writes, record.

The thin shell between decisions and effects; everything that learning and collaboration measure
goes through `Bench.measure`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ktune.errors import ExitCode, KtuneError
from ktune.evidence.pairs import Arm
from ktune.kernel.tunable import Assignment, Outcome
from ktune.measure.guardrails.watch import Guardrails
from ktune.measure.window import Poll, Validity, WindowResult, WindowSource
from ktune.proxy.client import Lease
from ktune.proxy.model import ForeignWrite, foreign_message
from ktune.records.clock import now
from ktune.records.study import Study
from ktune.records.types import Phase, StampRecord, WindowRecord
from ktune.records.unfair import Unfair
from ktune.report.progress import Note, Observer

LEASE_S = 15.0
"""A tuner that says nothing for so long (hung, stopped) loses the lease."""
LIVE_LEASE_S = 5.0
"""... of a service that people use: a candidate of a hung tuner is gone that soon."""
_RENEW_EVERY_S = 4.0
_LOOK_EVERY_S = 1.0
"""While a write settles: how often to look whether somebody else has written."""
_QUIET_S = 2.0
_QUIET_AT_MOST_S = 30.0
"""Quiet time after a crossed guardrail: at least, and while the pressure is still above it."""


class GuardrailTripped(Exception):
    """Raised inside a window to end it; the workload is killed on the way out."""


class ForeignHeard(Exception):
    """Raised inside a window to end it: somebody else has written a knob of the lease."""

    def __init__(self, writes: tuple[ForeignWrite, ...]) -> None:
        super().__init__("; ".join(map(foreign_message, writes)))
        self.writes = writes


class Disturbed(KtuneError):
    """The baseline itself can't be measured or put in force."""


class NothingLeft(KtuneError):
    """Others have taken every knob over (exit 5, as for any foreign change)."""

    exit_code = ExitCode.DRIFT


@dataclass(frozen=True)
class Measured:
    """One window with what happened around it."""

    metrics: Mapping[str, float]
    validity: Validity
    reason: str = ""
    tripped: bool = False
    stamp: StampRecord | None = None
    """What the kernel says of its slot, where the kernel switched."""
    environment: Mapping[str, float] = field(default_factory=dict)
    others: Mapping[str, float] = field(default_factory=dict)
    cause: str = ""
    """As of a `WindowResult`."""

    @property
    def valid(self) -> bool:
        return self.validity is Validity.VALID


class Turn(Protocol):
    """A window whose side somebody else puts in force (`modes.kernel_pairs`)."""

    def enter(self, poll: Poll) -> Measured | None:
        """Wait until it is in force and settled; a result when the window can't even start."""
        ...

    def judged(self, measured: Measured, poll: Poll) -> Measured:
        """The window has just ended: void where its side was not in force all the time."""
        ...

    def held_until(self, to_ns: int) -> bool:
        """Whether its side was in force from the window's beginning until then (CLOCK_BOOTTIME)."""
        ...


@dataclass
class Bench:
    """Everything needed to measure one assignment.

    `settle_s`: by key, how long the kernel needs after a write (catalog).
    `live`: people use the service: a candidate is in force during its windows only, and under a
    short lease. `allowed`: raises when the run must not go on (asked at each poll).
    `foreign`: what others wrote during the run; their knobs are in `dropped` and no longer ours.
    `unfair`: how many windows something outside has voided.
    """

    lease: Lease
    source: WindowSource
    study: Study
    guardrails: Guardrails
    baseline: Assignment
    settle_s: Mapping[str, float]
    observe: Observer
    dropped: set[str] = field(default_factory=set)
    foreign: list[ForeignWrite] = field(default_factory=list)
    sequence: int = 0
    live: bool = False
    allowed: Callable[[], None] = lambda: None
    unfair: Unfair = field(default_factory=Unfair)
    _in_force: dict[str, object] = field(default_factory=dict)
    _renewed_s: float = 0.0
    _deadline_s: float = LEASE_S
    _noted: set[str] = field(default_factory=set)

    def project(self, assignment: Assignment) -> Assignment:
        """`assignment` without the knobs that are no longer ours."""
        return {key: value for key, value in assignment.items() if key not in self.dropped}

    def complete(self, assignment: Assignment) -> Assignment:
        """`assignment` with the baseline's values for what it does not name, ours only."""
        return self.project({**self.baseline, **assignment})

    def measure(
        self,
        assignment: Assignment,
        *,
        phase: Phase,
        arm: Arm,
        pair: int | None = None,
        trial: int | None = None,
        turn: Turn | None = None,
    ) -> Measured:
        """Put `assignment` in force under a lease and measure one window.

        `turn`: it is put in force by somebody else, and for how long is known afterwards.

        Raises:
            LeaseLost: the guardian is gone.
            Disturbed: the baseline can't be put in force.
        """
        wanted = self.complete(assignment)
        started_at, started_s = now(), time.monotonic()
        if turn is not None:
            self._deadline_s = LIVE_LEASE_S
        self.guardrails.start_window()
        try:
            not_begun = turn.enter(self._poll) if turn else self._switch(wanted, arm, phase)
            measured = not_begun or self._window(turn)
        except GuardrailTripped as tripped:
            at_ns = boottime_ns()
            self._go_home("guardrail crossed")  # the knobs first, the records after
            self.observe(Note(f"guardrail crossed: {tripped}; restored"))
            why = f"guardrail: {tripped}"
            guilty = turn is None or turn.held_until(at_ns)
            fate = Validity.CANDIDATE_FAILED if guilty else Validity.VOID
            measured = Measured({}, fate, why, tripped=True)
        except ForeignHeard as heard:
            measured = self._void_by_foreign(heard.writes)
        if self.live and arm is Arm.CANDIDATE and turn is None:
            self._go_home("between windows")
        self._record(
            WindowRecord(
                seq=self.sequence,
                phase=phase,
                arm=arm,
                pair=pair,
                trial=trial,
                assignment=wanted,
                metrics=measured.metrics,
                validity=measured.validity.value,
                reason=measured.reason,
                started_at=started_at,
                duration_s=time.monotonic() - started_s,
                stamp=measured.stamp,
                environment=_rounded(measured.environment),
                others=_rounded(measured.others),
                cause=measured.cause,
            )
        )
        return measured

    def takes(self, assignment: Assignment) -> bool:
        """Put `assignment` in force for a moment: whether every knob took it, and nobody else has
        written. Raises LeaseLost, Disturbed."""
        report = self.lease.apply(
            self.complete(assignment), deadline_s=self._deadline_s, why="before its pairs"
        )
        foreign = self._ours(report.foreign)
        if foreign:
            self._void_by_foreign(foreign)
        self._go_home("before its pairs")
        return not foreign and all(result.outcome.success for result in report.results)

    def rest(self) -> None:
        """Go back to the baseline and leave the machine alone for a moment."""
        self._go_home("quiet time")
        started_s = time.monotonic()
        while (rested_s := time.monotonic() - started_s) < _QUIET_S or (
            rested_s < _QUIET_AT_MOST_S and not self.guardrails.quiet()
        ):
            self.poll_lease()
            time.sleep(0.05)
        self.guardrails.forget()

    def poll_lease(self) -> None:
        """Renew in time; raises LeaseLost as soon as the guardian is gone."""
        self.lease.ensure_alive()
        if time.monotonic() - self._renewed_s >= min(_RENEW_EVERY_S, self._deadline_s / 4):
            self.lease.renew(deadline_s=self._deadline_s)
            self._renewed_s = time.monotonic()

    def _switch(self, wanted: Assignment, arm: Arm, phase: Phase) -> Measured | None:
        """Apply; a result when the window can't even start."""
        self._deadline_s = LIVE_LEASE_S if self.live and arm is Arm.CANDIDATE else LEASE_S
        why = f"{phase.value} {arm.value}"
        report = self.lease.apply(wanted, deadline_s=self._deadline_s, why=why)
        self._renewed_s = time.monotonic()
        foreign = self._ours(report.foreign)
        if foreign:
            return self._void_by_foreign(foreign)
        bad = [result for result in report.results if not result.outcome.success]
        if not bad:
            return self._settle(wanted)
        why = "; ".join(result.message for result in bad)
        gone = [result.key for result in bad if result.outcome is Outcome.MISSING]
        for key in gone:
            self._drop(key, f"{key} is no longer there: dropped from the search")
        if len(gone) == len(bad):
            return Measured({}, Validity.VOID, why)  # no fault of either arm
        if arm is Arm.BASELINE:
            raise Disturbed(f"the baseline can't be put in force: {why}")
        return Measured({}, Validity.CANDIDATE_FAILED, why)

    def _settle(self, wanted: Assignment) -> Measured | None:
        """Give the kernel its time; a void result when somebody else has written meanwhile."""
        changed = [key for key, value in wanted.items() if self._in_force.get(key) != value]
        self._in_force.update(wanted)
        until_s = time.monotonic() + max(
            (self.settle_s.get(key, 0.0) for key in changed), default=0
        )
        look_s = time.monotonic() + _LOOK_EVERY_S
        while (left_s := until_s - time.monotonic()) > 0:
            self._poll()
            time.sleep(min(left_s, 0.05))
            if time.monotonic() >= look_s:
                foreign = self._ours(self.lease.check())
                if foreign:
                    return self._void_by_foreign(foreign)
                look_s = time.monotonic() + _LOOK_EVERY_S
        return None

    def _window(self, turn: Turn | None) -> Measured:
        measured = self._measured(self.source.run(self._poll))
        if turn is not None:
            measured = turn.judged(measured, self._poll)
        foreign = self._ours(self.lease.check())
        return self._void_by_foreign(foreign) if foreign else measured

    def _measured(self, result: WindowResult) -> Measured:
        for text in result.notes:
            self._note_once(text)
        return Measured(
            result.metrics,
            result.validity,
            result.reason,
            environment=result.environment,
            others=result.others,
            cause=result.cause,
        )

    def _note_once(self, text: str) -> None:
        """The same remark comes with every window of a workload; process ids differ."""
        shape = "".join("#" if char.isdigit() else char for char in text)
        if shape not in self._noted:
            self._noted.add(shape)
            self.observe(Note(f"{text} (said once)"))

    def _go_home(self, why: str) -> None:
        """Put the baseline in force. Raises Disturbed: a knob does not take it; the lease's end
        tries once more and says so."""
        self._deadline_s = LEASE_S
        report = self.lease.apply(self.project(self.baseline), deadline_s=LEASE_S, why=why)
        self._renewed_s = time.monotonic()
        self._in_force = dict(self.project(self.baseline))
        bad = [
            result.message
            for result in report.results
            if not result.outcome.success and result.outcome is not Outcome.MISSING
        ]
        if bad:
            raise Disturbed(f"the baseline can't be put in force: {'; '.join(bad)}")

    def _poll(self) -> None:
        self.allowed()
        self.poll_lease()
        foreign = self._ours(self.lease.heard())
        if foreign:
            raise ForeignHeard(foreign)
        crossed = self.guardrails.crossed()
        if crossed:
            raise GuardrailTripped(crossed)

    def _ours(self, writes: tuple[ForeignWrite, ...]) -> tuple[ForeignWrite, ...]:
        """Without the knobs that others have taken over already: they may go on writing them."""
        return tuple(item for item in writes if item.key not in self.dropped)

    def _void_by_foreign(self, foreign: tuple[ForeignWrite, ...]) -> Measured:
        for item in foreign:
            self.foreign.append(item)
            self._drop(item.key, f"{foreign_message(item)}; the knob is dropped from this run")
        keys = ", ".join(item.key for item in foreign)
        return Measured({}, Validity.VOID, f"{keys} changed by somebody else")

    def _drop(self, key: str, why: str) -> None:
        self.dropped.add(key)
        self._in_force.pop(key, None)
        self.observe(Note(why))
        if self.dropped >= set(self.baseline):
            raise NothingLeft("no knob is left to tune: all were changed by others or vanished")

    def _count(self, record: WindowRecord) -> None:
        """Say so when the surroundings void a window for the first time, and once when many are."""
        many = self.unfair.many
        self.unfair.add(record)
        if record.cause and self.unfair.by_cause[record.cause] == 1:
            self.observe(Note(f"a window is void: {record.reason}"))
        if self.unfair.many and not many:
            self.observe(Note(f"{self.unfair.text}; {self.unfair.advice}"))

    def _record(self, record: WindowRecord) -> None:
        self.sequence += 1
        self._count(record)
        try:
            # A power cut may cost windows of the search, never windows of the proof.
            self.study.append_window(record, sync=record.phase in (Phase.DECISION, Phase.AFTER))
        except OSError as error:
            raise KtuneError(
                f"the study can't be written: {error.strerror}",
                hint="free space in the state directory; everything is restored",
            ) from error


def _rounded(shares: Mapping[str, float]) -> dict[str, float]:
    """A record is no place for the noise of a clock."""
    return {name: round(share, 4) for name, share in shares.items()}


def boottime_ns() -> int:
    """The clock of the lease's deadline, and of the kernel's stamps."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)

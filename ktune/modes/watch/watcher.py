"""The watch itself: looks, measures pairs, tells the mode machine, obeys it.

Every event goes through `_handle`: step, write down, carry out. Inside a window an event first
unwinds the window (`Heard`), so that the policy is in force again before anything else happens.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from ktune.errors import ExitCode, KtuneError
from ktune.evidence.pairs import Arm
from ktune.measure.guardrails.watch import Guardrails
from ktune.measure.window import WindowSource
from ktune.modes.machine import (
    Command,
    ContextChanged,
    Event,
    ForeignWrite,
    GuardrailCrossed,
    Interrupted,
    LeaseFailed,
    MetricsGone,
    Mode,
    PauseAsked,
    PauseEnded,
    PolicyGone,
    ProbationPassed,
    State,
    TimeJumped,
    WatchPhase,
    WatchStarted,
    Write,
    may,
    step,
)
from ktune.modes.watch.adaptive import Adaptive
from ktune.modes.watch.clocks import TimeKeeper
from ktune.modes.watch.diary import Diary, evidence_lines
from ktune.modes.watch.guarding import (
    Guarding,
    WatchedPair,
    after_pair,
    restarted,
    voided,
)
from ktune.modes.watch.holdback import HeldBack, PairMeter
from ktune.modes.watch.holder import Holder
from ktune.modes.watch.interrupts import Heard
from ktune.modes.watch.liveness import Liveness
from ktune.modes.watch.spec import WatchSpec
from ktune.modes.watch.tenancy import Lock, Tenancy
from ktune.policy.hooks import fire
from ktune.policy.rollback import NotRecorded
from ktune.profile.configuration import HookEvent
from ktune.proxy.pause import PauseDoor
from ktune.records import lockouts
from ktune.records.paths import StatePaths
from ktune.report.progress import Note, Observer

_LOOK_IN_WINDOW_S = 0.2
_REST_S = 300.0
"""When the next pair is further away than this, no helper of the window source waits for it."""

_T = TypeVar("_T")


@dataclass
class Watcher:
    """One watch. Make it, `run()` it; the way out is written down whatever happens.

    `relearn` begins a new search after a rollback; `rest` ends what the window source keeps ready
    (its next window starts it again); `vouch` is told the state after each look while the policy is
    in force.
    """

    holder: Holder
    source: WindowSource
    guardrails: Guardrails
    diary: Diary
    guarding: Guarding
    door: PauseDoor
    lock: Lock
    paths: StatePaths
    observe: Observer
    relearn: Callable[[], None]
    rest: Callable[[], None] | None = None
    vouch: Callable[[State], None] | None = None
    adaptive: Adaptive | None = None
    in_force: bool = True
    until_settled: bool = False
    time_keeper: TimeKeeper = field(default_factory=TimeKeeper)
    state: State = field(init=False)
    exit_code: ExitCode = ExitCode.OK
    _over: bool = False
    _liveness: Liveness = field(default_factory=Liveness)
    _next_pair_s: float = 0.0
    _last_look_s: float = 0.0
    _crossed: str | None = None
    _failed: KtuneError | None = None
    _ended: KeyboardInterrupt | None = None
    _said_unwritten: str = ""

    def __post_init__(self) -> None:
        mode = Mode(self.diary.record.mode)
        self.state = State(mode=mode if mode is Mode.RECOMMENDATION else Mode.IDLE)
        self.state = dataclasses.replace(self.state, conduct=self.spec.conduct)
        self._tenancy = Tenancy(self.door, self.lock)

    @property
    def spec(self) -> WatchSpec:
        """What is watched; knobs that others took over have left it."""
        return self.holder.spec

    def run(self) -> ExitCode:
        """Watch until the policy is out of force or somebody ends the watch.

        Raises:
            KeyboardInterrupt: ended from outside; the policy is as its conduct says.
            KtuneError: it can't go on; everything that it knows is in the record.
        """
        with self._tenancy:
            try:
                self._watch()
            except KeyboardInterrupt as interrupt:
                if self.exit_code is not ExitCode.ROLLED_BACK:
                    # Before the start there is nothing to end: a policy in force stays so.
                    if self.state.mode is Mode.RECOMMENDATION:
                        self._handle(Interrupted(str(interrupt) or "Ctrl-C"))
                    raise
            finally:
                self.diary.end()
        if self._failed is not None:
            raise self._failed
        return self.exit_code

    def _watch(self) -> None:
        phase = self.guarding.phase
        self._told(
            WatchStarted(self.spec.identity.policy, self.in_force, phase, f"{phase.value} begins")
        )
        self._note_tests()
        if self.adaptive is not None:
            self.adaptive.discard()
            self.diary.leaf(self.adaptive.chosen.leaf, switched=False)
        while not self._over:
            self._wait()
            self._told(*self._around())
            self._adapt()
            if not self._over and self._pair_is_due():
                self._pair()
            if self.vouch is not None and self.state.mode is Mode.RECOMMENDATION:
                self.vouch(self.state)
            self._say_what_is_unwritten()

    # -- looking -----------------------------------------------------------------------------

    def _wait(self) -> None:
        """Sleep until the next look or pair, until somebody knocks or a guardrail is crossed."""
        now_s = time.monotonic()
        due_s = self._last_look_s + self.spec.timing.interval_s
        stale = self.adaptive is not None and not self.adaptive.fresh
        if self.state.phase is not WatchPhase.ALERT_ONLY and not stale:
            due_s = min(due_s, self._next_pair_s)
        if self.adaptive is not None and may(self.state, Write.POLICY):
            due_s = min(due_s, self.adaptive.due_s)
        left_s = max(0.0, due_s - now_s)
        self._crossed = self.guardrails.wait(left_s, also=[self.door.fileno()])

    def _around(self) -> tuple[Event, ...]:
        """What a look outside of windows finds."""
        self._time_passed()
        jump = self._jump(self.spec.timing.interval_s)
        gone = self.holder.still_there()
        if gone is not None:
            return (PolicyGone(gone),)
        found: list[Event] = [] if jump is None else [TimeJumped(jump)]
        if self._crossed is not None:
            return (*found, GuardrailCrossed(self._crossed))
        who = self._tenancy.guest(self.spec)
        if who is not None:
            return (PauseAsked(who),)
        try:
            self.holder.renew()
            drift = self.holder.drift()
        except KtuneError as error:
            return (*found, self._lost(error))
        if drift:
            text = ", ".join(f"{key} = {value}" for key, value in drift.items())
            found.append(ForeignWrite(f"changed by somebody else: {text}"))
        return tuple(found)

    def _time_passed(self) -> None:
        now_s = time.monotonic()
        if self._last_look_s:
            self.diary.watched(now_s - self._last_look_s)
        self._last_look_s = now_s

    def _jump(self, expected_s: float) -> str | None:
        jump = self.time_keeper.jump(expected_s)
        if jump is not None:
            self.guardrails.forget()
        return jump

    def _look_in_window(self) -> None:
        """Within a window: time, guardrails, and whoever knocks. Raises Heard."""
        jump = self._jump(_LOOK_IN_WINDOW_S)
        if jump is not None:
            raise Heard(TimeJumped(jump))
        crossed = self.guardrails.crossed()
        if crossed is not None:
            raise Heard(GuardrailCrossed(crossed))
        who = self._tenancy.guest(self.spec)
        if who is not None:
            raise Heard(PauseAsked(who))

    def _lost(self, error: KtuneError) -> PolicyGone | LeaseFailed:
        """A write failed: because the policy's scope is gone, or for a reason to be afraid of."""
        gone = self.holder.still_there()
        return LeaseFailed(error.message) if gone is None else PolicyGone(gone)

    def _adapt(self) -> None:
        """An adaptive policy: look at the workload, switch by difference."""
        if self.adaptive is None or self._over or not may(self.state, Write.POLICY):
            return
        try:
            leaf = self.adaptive.wanted()
            if leaf is None:
                return
            self.holder.spec = self.adaptive.spec_of(self.spec)
            self.holder.apply_policy(f"the workload is in the context of {leaf}")
        except KtuneError as error:
            self._told(LeaseFailed(error.message))
            return
        self.diary.leaf(leaf, switched=True)
        self.observe(Note(f"switched to {leaf}"))

    # -- pairs -------------------------------------------------------------------------------

    def _pair_is_due(self) -> bool:
        due = time.monotonic() >= self._next_pair_s and may(self.state, Write.HOLDBACK)
        if due and self.adaptive is not None:
            if self.spec.policy == self.spec.baseline:
                self._schedule()  # a leaf that is the baseline has nothing to be compared with
                return False
            return self.adaptive.fresh
        return due

    def _pair(self) -> None:
        """Measure one, count it, tell what it means."""
        try:
            self._measure_pair()
        finally:
            if self.adaptive is not None:
                self.adaptive.discard()

    def _measure_pair(self) -> None:
        self.time_keeper.forget()
        self.guardrails.start_window()
        meter = PairMeter(self.holder, self.source, self._look_in_window)
        draw = self.guarding.draws
        try:
            held = meter.measure(draw)
        except Heard as heard:
            self.guarding = voided(self.guarding, "interrupted")
            self._schedule()
            self._told(heard.event)
            return
        except KtuneError as error:
            self._told(self._lost(error))
            return
        jump = self._jump(_LOOK_IN_WINDOW_S)
        if jump is not None and held.void is not None:
            self._told(TimeJumped(jump))
        self._time_passed()
        events = self._count(held)
        self._schedule()
        self._told(*events)
        self._note_tests()

    def _count(self, held: HeldBack) -> tuple[Event, ...]:
        if held.void is not None:
            self.guarding = voided(self.guarding, held.void.value)
            self.diary.pair(held, {}, self.guarding)
            self.observe(Note(f"pair {held.draw} void: {held.reason}"))
            gone = self._liveness.void(held.reason)
            return () if gone is None else (MetricsGone(gone),)
        metrics = {arm: dict(window.metrics) for arm, window in held.windows.items()}
        worsening = self.spec.worsening(metrics[Arm.BASELINE], metrics[Arm.CANDIDATE])
        load = self.spec.load(metrics[Arm.BASELINE], metrics[Arm.CANDIDATE])
        before = self.guarding
        self.guarding, event = after_pair(before, WatchedPair(worsening, load), self.spec.guard)
        self.diary.pair(held, worsening, self.guarding)
        gone = self._liveness.measured(metrics)
        found = (event, None if gone is None else MetricsGone(gone))
        return tuple(item for item in found if item is not None)

    def _schedule(self) -> None:
        timing = self.spec.timing
        steady = self.guarding.phase is WatchPhase.STEADY
        wait_s = timing.holdback_every_s if steady else timing.probation_every_s
        self._next_pair_s = time.monotonic() + wait_s
        if self.rest is not None and wait_s >= _REST_S:
            self.rest()

    def _note_tests(self) -> None:
        lines = evidence_lines(self.guarding, self.spec)
        self.diary.tests(self.guarding, lines)
        self.observe(Note("; ".join(lines)))

    # -- the machine -------------------------------------------------------------------------

    def _told(self, *events: Event) -> None:
        for event in events:
            if not self._over:
                self._handle(event)

    def _handle(self, event: Event) -> None:
        """Step, restore if that is what it says, write down, obey the rest.

        The restore comes first: the disk may be what the workload saturates.
        """
        before = self.state
        self.state, commands = step(before, event)
        failed = None
        if Command.RESTORE_BASELINE in commands:
            failed = self._finished(lambda: self._restore(self.state.reason))
        self._finished(lambda: self.diary.transition(before, event, self.state))
        if self.state != before:
            phase = f" ({self.state.phase.value})" if self.state.phase else ""
            self.observe(Note(f"{self.state.mode.value}{phase}: {self.state.reason}"))
        if failed is not None:
            self._not_restored(failed)
            commands = [item for item in commands if item is Command.LOCK_OUT]
        restored = Command.RESTORE_BASELINE in commands and failed is None
        for command in commands:
            if command is Command.RELEARN:  # a search of its own: people hear of the rest before
                restored = self._tell_hooks(before, restored=restored)
            self._obey(command, event)
        self._tell_hooks(before, restored=restored)
        if self._ended is not None:
            raise self._ended
        if self.until_settled and self.state.phase is WatchPhase.STEADY:
            self._over = True

    def _obey(self, command: Command, event: Event) -> None:
        why = self.state.reason
        match command:
            case Command.APPLY_POLICY:
                self._reapply(event, why)
            case Command.LOCK_OUT:
                digest = self.spec.identity.digest
                self._finished(lambda: self._lock_out(digest, self.spec.lock_out_s, why))
            case Command.REFUSE_ALL:
                self._finished(lambda: self._lock_out("", self.spec.quiet_s, why))
            case Command.RESTART_TEST:
                self._restart(event)
            case Command.KEEP_FOREIGN:
                self._keep_foreign()
            case Command.ALERT:
                self._alert(_what(event))
            case Command.LEAVE_SCOPE:
                self._pause(event)
            case Command.TAKE_SCOPE:
                self._take_scope()
            case Command.RELEARN:
                self.diary.end()
                self._tenancy.leave()
                self.relearn()
                self._over = True
            case Command.END:
                self._over = True

    def _finished(self, action: Callable[[], _T]) -> _T:
        """A signal does not cut this short: it is heard after the event that is being handled."""
        try:
            return action()
        except KeyboardInterrupt as interrupt:
            self._ended = interrupt
            return action()

    def _restore(self, why: str) -> KtuneError | None:
        """The baseline; what went wrong, if it is not in force."""
        try:
            self.holder.roll_back(why)
        except NotRecorded as error:
            self._alert(error.message)
        except KtuneError as error:
            return error
        self.exit_code = ExitCode.ROLLED_BACK
        self.observe(Note(f"rolled back: {why}"))
        return None

    def _not_restored(self, error: KtuneError) -> None:
        """An emergency tries once more; what it can't undo either is left to a person."""
        if self.state.mode is not Mode.EMERGENCY:
            self._handle(LeaseFailed(f"the baseline could not be restored: {error.message}"))
            return
        self._alert(f"NOT at the baseline: {error.message}")
        self._failed = error
        self._over = True

    def _tell_hooks(self, before: State, *, restored: bool) -> bool:
        """Gives False: told once."""
        if restored:
            self._fire(HookEvent.ROLLED_BACK, self.state.reason)
        if self.state.mode is Mode.EMERGENCY and before.mode is not Mode.EMERGENCY:
            self._fire(HookEvent.EMERGENCY, self.state.reason)
        return False

    def _fire(self, event: HookEvent, why: str) -> None:
        identity = self.spec.identity
        about = {"policy": identity.policy, "digest": identity.digest, "why": why}
        about["scope"] = identity.scope.text
        fire(event, about, lambda text: self.observe(Note(text)))

    def _reapply(self, event: Event, why: str) -> None:
        try:
            self.holder.apply_policy(why)
        except KtuneError as error:
            self._alert(f"the policy could not be put in force: {error.message}")
            self._handle(self._lost(error))
            return
        if isinstance(event, ForeignWrite):
            self.observe(Note("the policy's values are in force again"))

    def _lock_out(self, digest: str, for_s: float, why: str) -> None:
        identity = self.spec.identity
        try:
            lockouts.lock_out(
                self.paths,
                scope=lockouts.scope_name(identity.scope.cookie),
                boot_id=identity.scope.boot_id,
                digest=digest,
                subject=identity.policy,
                why=why,
                for_s=for_s,
            )
        except (KtuneError, OSError) as error:
            self._alert(f"the lock-out could not be recorded: {error}")

    def _alert(self, text: str) -> None:
        self.diary.alert(text)
        self.observe(Note(f"ALERT: {text}"))

    def _say_what_is_unwritten(self) -> None:
        if self.diary.unwritten != self._said_unwritten:
            self._said_unwritten = self.diary.unwritten
            if self._said_unwritten:
                self._alert(f"the record of the watch can't be written: {self._said_unwritten}")

    def _restart(self, event: Event) -> None:
        if isinstance(event, ContextChanged | ProbationPassed):
            return  # `after_pair` has begun the new test already
        self.guarding = restarted(self.guarding, self.state.phase or self.spec.first_phase)
        self._note_tests()

    def _keep_foreign(self) -> None:
        """A knob that somebody else holds now is no longer the policy's."""
        taken = self.holder.drift()
        left = tuple(knob for knob in self.spec.knobs if knob.tunable.key not in taken)
        self.holder.spec = dataclasses.replace(self.spec, knobs=left)
        if not left:
            self._handle(PolicyGone("every knob of it was changed by somebody else"))

    def _pause(self, event: Event) -> None:
        """Leave the scope until the other command is done, then see what it left."""
        who = _what(event)
        self._tenancy.lend()
        self._handle(PauseEnded(who))
        gone = self.holder.still_there()
        if gone is not None:
            self._handle(PolicyGone(gone))

    def _take_scope(self) -> None:
        self._tenancy.take_back()
        self.time_keeper.forget()
        self._last_look_s = time.monotonic()
        self.guardrails.forget()


def _what(event: Event) -> str:
    for name in ("what", "who", "reason"):
        text = getattr(event, name, None)
        if text:
            return str(text)
    return type(event).__name__

"""The watch itself: looks, measures pairs, tells the mode machine (`driver.py`) what it found.

Inside a window an event first unwinds the window (`Heard`), so that the policy is in force again
before anything else happens. So does a signal: it is noted when it comes, and asked for at every
look, here and inside a window.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import InitVar, dataclass, field

from ktune.errors import ExitCode, KtuneError
from ktune.evidence.pairs import Arm
from ktune.kernel.ending import Noted, noting
from ktune.kernel.residence import let_go_of_code
from ktune.measure.guardrails.watch import Guardrails
from ktune.measure.window import WindowSource
from ktune.modes.events import (
    Event,
    ForeignWrite,
    GuardrailCrossed,
    Interrupted,
    LeaseFailed,
    MetricsGone,
    PauseAsked,
    PolicyGone,
    TimeJumped,
    WatchPhase,
    WatchStarted,
)
from ktune.modes.machine import Mode, State, Write, may
from ktune.modes.watch.adaptive import Adaptive
from ktune.modes.watch.clocks import TimeKeeper
from ktune.modes.watch.diary import Diary
from ktune.modes.watch.driver import Driver
from ktune.modes.watch.guarding import (
    Guarding,
    WatchedPair,
    after_pair,
    voided,
)
from ktune.modes.watch.holdback import HeldBack, PairMeter
from ktune.modes.watch.holder import Holder
from ktune.modes.watch.interrupts import Heard
from ktune.modes.watch.kernel_holder import KernelSays
from ktune.modes.watch.liveness import Liveness
from ktune.modes.watch.spec import WatchSpec
from ktune.modes.watch.tenancy import Lock, Tenancy
from ktune.proxy.pause import PauseDoor
from ktune.records.paths import StatePaths
from ktune.report.progress import Note, Observer

_LOOK_IN_WINDOW_S = 0.2
_GUARDIAN_S = 15.0
"""What it may take to answer; we are stopped or asleep only beyond that (see `jumped`)."""
_REST_S = 300.0
"""When the next pair is further away than this, no helper of the window source waits for it."""


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
    guarding: InitVar[Guarding]
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
    driver: Driver = field(init=False)
    _noted: Noted = field(default_factory=Noted)
    _liveness: Liveness = field(default_factory=Liveness)
    _next_pair_s: float = 0.0
    _last_look_s: float = 0.0
    _crossed: str | None = None
    _said_unwritten: str = ""

    def __post_init__(self, guarding: Guarding) -> None:
        self.driver = Driver(
            self.holder,
            self.guardrails,
            self.diary,
            guarding,
            Tenancy(self.door, self.lock),
            self.paths,
            self.observe,
            self.relearn,
            self.time_keeper,
            self._noted,
            self.until_settled,
        )

    @property
    def spec(self) -> WatchSpec:
        """What is watched; knobs that others took over have left it."""
        return self.holder.spec

    @property
    def _state(self) -> State:
        return self.driver.state

    def run(self) -> ExitCode:
        """Watch until the policy is out of force or somebody ends the watch.

        Raises:
            KeyboardInterrupt: ended from outside; the policy is as its conduct says.
            KtuneError: it can't go on; everything that it knows is in the record.
        """
        driver = self.driver
        with noting(self._noted), driver.tenancy:
            try:
                self._watch()
            except KeyboardInterrupt as interrupt:
                if driver.exit_code is not ExitCode.ROLLED_BACK:
                    # Before the start there is nothing to end: a policy in force stays so.
                    if driver.state.mode is Mode.RECOMMENDATION:
                        driver.handle(Interrupted(str(interrupt) or "Ctrl-C"))
                    raise
            finally:
                self.diary.end()
        if driver.failed is not None:
            raise driver.failed
        return driver.exit_code

    def _watch(self) -> None:
        phase = self.driver.guarding.phase
        self._told(
            WatchStarted(self.spec.identity.policy, self.in_force, phase, f"{phase.value} begins")
        )
        self.time_keeper.forget()  # to put the policy in force took its time
        self.driver.note_tests()
        if self.adaptive is not None:
            self.adaptive.discard()
            self.diary.leaf(self.adaptive.chosen.leaf, switches=0)
            self._decided_by(self.adaptive)
        while not self.driver.over:
            self._wait()
            self._noted.check()
            self._told(*self._around())
            self._adapt()
            if not self.driver.over and self._pair_is_due():
                self._pair()
            if self.vouch is not None and self._state.mode is Mode.RECOMMENDATION:
                self.vouch(self._state)
            self._say_what_is_unwritten()

    # -- looking -----------------------------------------------------------------------------

    def _wait(self) -> None:
        """Sleep until the next look or pair, until somebody knocks or a guardrail is crossed."""
        now_s = time.monotonic()
        due_s = self._last_look_s + self.spec.timing.interval_s
        stale = self.adaptive is not None and not self.adaptive.fresh
        if self._state.phase is not WatchPhase.ALERT_ONLY and not stale:
            due_s = min(due_s, self._next_pair_s)
        if self.adaptive is not None and may(self._state, Write.POLICY):
            due_s = min(due_s, self.adaptive.due_s)
        left_s = max(0.0, due_s - now_s)
        self._crossed = self.guardrails.wait(
            left_s,
            also=[self.door.fileno(), self._noted.fileno(), *self.holder.wake_fds()],
        )

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
        who = self.driver.tenancy.guest(self.spec)
        if who is not None:
            return (PauseAsked(who),)
        try:
            self.holder.renew()
            writers = self.holder.writers()
            drift = self.holder.drift()
        except KtuneError as error:
            return (*found, self.driver.lost(error))
        if drift:
            lines = [
                f"{key} = {value}" + (f" by {writers[key].text}" if key in writers else "")
                for key, value in drift.items()
            ]
            found.append(ForeignWrite(f"changed by somebody else: {', '.join(lines)}"))
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

    def _guardian_worked(self) -> None:
        """Its start is a whole Python: on a busy machine that takes seconds, in which we are not
        stopped. Raises Heard."""
        jump = self._jump(_GUARDIAN_S)
        if jump is not None:
            raise Heard(TimeJumped(jump))

    def _look_in_window(self) -> None:
        """Within a window: signals, time, guardrails, and whoever knocks.

        Raises Heard, KeyboardInterrupt.
        """
        self._noted.check()
        jump = self._jump(_LOOK_IN_WINDOW_S)
        if jump is not None:
            raise Heard(TimeJumped(jump))
        crossed = self.guardrails.crossed()
        if crossed is not None:
            raise Heard(GuardrailCrossed(crossed))
        who = self.driver.tenancy.guest(self.spec)
        if who is not None:
            raise Heard(PauseAsked(who))

    def _adapt(self) -> None:
        """An adaptive policy: look at the workload, switch by difference."""
        if self.adaptive is None or self.driver.over or not may(self._state, Write.POLICY):
            return
        try:
            says = self.adaptive.followed()
            if says is not None:
                self._kernel_chose(self.adaptive, says)
                return
            leaf = self.adaptive.wanted()
            if leaf is None:
                return
            self.holder.spec = self.adaptive.spec_of(self.spec)
            self.holder.apply_policy(f"the workload is in the context of {leaf}")
        except KtuneError as error:
            self._told(LeaseFailed(error.message))
            return
        self.diary.leaf(leaf, switches=1)
        self.observe(Note(f"switched to {leaf}"))

    def _kernel_chose(self, adaptive: Adaptive, says: KernelSays) -> None:
        """It is in force already."""
        if says.changes:
            self.holder.spec = adaptive.spec_of(self.spec)
            self.diary.leaf(says.leaf, switches=says.changes)
            self.observe(Note(f"the kernel switched to {says.leaf}"))

    def _decided_by(self, adaptive: Adaptive) -> None:
        who = self.holder.decider.text
        self.diary.decided_by(who, adaptive.leaves)
        self.observe(Note(f"decided by: {who}"))

    # -- pairs -------------------------------------------------------------------------------

    def _pair_is_due(self) -> bool:
        due = time.monotonic() >= self._next_pair_s and may(self._state, Write.HOLDBACK)
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
        meter = PairMeter(self.holder, self.source, self._look_in_window, self._guardian_worked)
        draw = self.driver.guarding.draws
        try:
            held = meter.measure(draw)
        except Heard as heard:
            self.driver.guarding = voided(self.driver.guarding, "interrupted")
            self._schedule()
            self._told(heard.event)
            return
        except KtuneError as error:
            self._told(self.driver.lost(error))
            return
        jump = self._jump(_LOOK_IN_WINDOW_S)
        if jump is not None and held.void is not None:
            self._told(TimeJumped(jump))
        self._time_passed()
        events = self._count(held)
        self._schedule()
        self._told(*events)
        self.driver.note_tests()

    def _count(self, held: HeldBack) -> tuple[Event, ...]:
        if held.void is not None:
            self.driver.guarding = voided(self.driver.guarding, held.void.value)
            self.diary.pair(held, {}, self.driver.guarding)
            self.observe(Note(f"pair {held.draw} void: {held.reason}"))
            gone = self._liveness.void(held.reason)
            return () if gone is None else (MetricsGone(gone),)
        metrics = {arm: dict(window.metrics) for arm, window in held.windows.items()}
        worsening = self.spec.worsening(metrics[Arm.BASELINE], metrics[Arm.CANDIDATE])
        load = self.spec.load(metrics[Arm.BASELINE], metrics[Arm.CANDIDATE])
        before = self.driver.guarding
        self.driver.guarding, event = after_pair(
            before, WatchedPair(worsening, load), self.spec.guard
        )
        self.diary.pair(held, worsening, self.driver.guarding)
        gone = self._liveness.measured(metrics)
        found = (event, None if gone is None else MetricsGone(gone))
        return tuple(item for item in found if item is not None)

    def _schedule(self) -> None:
        timing = self.spec.timing
        steady = self.driver.guarding.phase is WatchPhase.STEADY
        wait_s = timing.holdback_every_s if steady else timing.probation_every_s
        self._next_pair_s = time.monotonic() + wait_s
        if wait_s >= _REST_S:
            if self.rest is not None:
                self.rest()
            let_go_of_code()  # what only starting and a pair need

    def _told(self, *events: Event) -> None:
        pause = any(isinstance(event, PauseAsked) for event in events)
        if pause and self.rest is not None:
            self.rest()  # the guest may want the ports and folders of the same services
        self.driver.tell(*events)
        if pause:
            self._last_look_s = time.monotonic()  # a pause is no time that was watched

    def _say_what_is_unwritten(self) -> None:
        if self.diary.unwritten != self._said_unwritten:
            self._said_unwritten = self.diary.unwritten
            if self._said_unwritten:
                self.driver.alert(
                    f"the record of the watch can't be written: {self._said_unwritten}"
                )

"""What the mode machine says is done here: every event of a watch goes through `Driver.handle`,
which steps, writes down and carries out.

Signals are noted, not raised, while a watch runs (`ktune.kernel.ending`), so nothing in here is cut
short: a rollback is always finished together with its lock-out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from ktune.errors import ExitCode, KtuneError
from ktune.kernel.ending import Noted, raising
from ktune.measure.guardrails.watch import Guardrails
from ktune.modes.events import (
    ContextChanged,
    Event,
    ForeignWrite,
    LeaseFailed,
    PauseEnded,
    PolicyGone,
    ProbationPassed,
    WatchPhase,
)
from ktune.modes.machine import Command, Mode, State, step
from ktune.modes.watch.clocks import TimeKeeper
from ktune.modes.watch.diary import Diary, evidence_lines
from ktune.modes.watch.guarding import Guarding, restarted
from ktune.modes.watch.holder import Holder
from ktune.modes.watch.spec import WatchSpec
from ktune.modes.watch.tenancy import Tenancy
from ktune.policy.hooks import fire
from ktune.policy.rollback import NotRecorded
from ktune.profile.configuration import HookEvent
from ktune.records import lockouts
from ktune.records.lockouts import Lockout
from ktune.records.paths import StatePaths
from ktune.report.progress import Note, Observer

_REFUSING = (Command.LOCK_OUT, Command.REFUSE_ALL)


@dataclass
class Driver:
    """The mode of one watch. `guarding` is the state of its tests; `over` ends it."""

    holder: Holder
    guardrails: Guardrails
    diary: Diary
    guarding: Guarding
    tenancy: Tenancy
    paths: StatePaths
    observe: Observer
    relearn: Callable[[], None]
    time_keeper: TimeKeeper
    noted: Noted
    until_settled: bool = False
    state: State = field(init=False)
    exit_code: ExitCode = ExitCode.OK
    over: bool = False
    failed: KtuneError | None = None

    def __post_init__(self) -> None:
        mode = Mode(self.diary.record.mode)
        self.state = State(mode=mode if mode is Mode.RECOMMENDATION else Mode.IDLE)
        self.state = dataclasses.replace(self.state, conduct=self.spec.conduct)

    @property
    def spec(self) -> WatchSpec:
        """What is watched; knobs that others took over have left it."""
        return self.holder.spec

    def tell(self, *events: Event) -> None:
        """Handle each, as long as the watch is not over."""
        for event in events:
            if not self.over:
                self.handle(event)

    def lost(self, error: KtuneError) -> PolicyGone | LeaseFailed:
        """A write failed: because the policy's scope is gone, or for a reason to be afraid of."""
        gone = self.holder.still_there()
        return LeaseFailed(error.message) if gone is None else PolicyGone(gone)

    def note_tests(self) -> None:
        """Where the tests stand: on record, and for who looks on."""
        lines = evidence_lines(self.guarding, self.spec)
        self.diary.tests(self.guarding, lines)
        self.observe(Note("; ".join(lines)))

    def alert(self, text: str) -> None:
        """Something a person should know."""
        self.diary.alert(text)
        self.observe(Note(f"ALERT: {text}"))

    def handle(self, event: Event) -> None:
        """Step, restore if that is what it says, write down, obey the rest.

        The restore comes before the records: the disk may be what the workload saturates. Lock-outs
        are announced before it, in memory: death in between must not forget them.
        """
        before = self.state
        self.state, commands = step(before, event)
        refused = {item: self._lockout(item) for item in commands if item in _REFUSING}
        failed = None
        if Command.RESTORE_BASELINE in commands:
            self._announce(refused.values())
            failed = self._restore(self.state.reason)
        self.diary.transition(before, event, self.state)
        if self.state != before:
            phase = f" ({self.state.phase.value})" if self.state.phase else ""
            self.observe(Note(f"{self.state.mode.value}{phase}: {self.state.reason}"))
        if failed is not None:
            self._not_restored(failed)
            commands = [item for item in commands if item is Command.LOCK_OUT]  # the rest is done
        restored = Command.RESTORE_BASELINE in commands and failed is None
        for command in commands:
            if command is Command.RELEARN:  # a search of its own: people hear of the rest before
                restored = self._tell_hooks(before, restored=restored)
            if command in refused:
                self._lock_out(refused[command])
            else:
                self._obey(command, event)
        self._tell_hooks(before, restored=restored)
        if self.until_settled and self.state.phase is WatchPhase.STEADY:
            self.over = True

    def _obey(self, command: Command, event: Event) -> None:
        why = self.state.reason
        match command:
            case Command.APPLY_POLICY:
                self._reapply(event, why)
            case Command.RESTART_TEST:
                self._restart(event)
            case Command.KEEP_FOREIGN:
                self._keep_foreign()
            case Command.ALERT:
                self.alert(what_of(event))
            case Command.LEAVE_SCOPE:
                self._pause(event)
            case Command.TAKE_SCOPE:
                self._take_scope()
            case Command.RELEARN:
                self._relearn()
            case Command.END:
                self.over = True

    def _restore(self, why: str) -> KtuneError | None:
        """The baseline; what went wrong, if it is not in force."""
        try:
            self.holder.roll_back(why)
        except NotRecorded as error:
            self.alert(error.message)
        except KtuneError as error:
            return error
        self.exit_code = ExitCode.ROLLED_BACK
        self.observe(Note(f"rolled back: {why}"))
        return None

    def _not_restored(self, error: KtuneError) -> None:
        """An emergency tries once more; what it can't undo either is left to a person."""
        if self.state.mode is not Mode.EMERGENCY:
            self.handle(LeaseFailed(f"the baseline could not be restored: {error.message}"))
            return
        self.alert(f"NOT at the baseline: {error.message}")
        self.failed = error
        self.over = True

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
            self.alert(f"the policy could not be put in force: {error.message}")
            self.handle(self.lost(error))
            return
        if isinstance(event, ForeignWrite):
            self.observe(Note("the policy's values are in force again"))

    def _lockout(self, command: Command) -> Lockout:
        """Of the policy, or of the scope as a whole."""
        identity, whole = self.spec.identity, command is Command.REFUSE_ALL
        return lockouts.made(
            scope=lockouts.scope_name(identity.scope.cookie),
            boot_id=identity.scope.boot_id,
            digest="" if whole else identity.digest,
            subject=identity.policy,
            why=self.state.reason,
            for_s=self.spec.quiet_s if whole else self.spec.lock_out_s,
            place=identity.scope.text,
        )

    def _announce(self, refused: Iterable[Lockout]) -> None:
        for lockout in refused:
            with suppress(OSError):  # nothing may stand before the restore; `_lock_out` tells
                lockouts.announce(self.paths, lockout)

    def _lock_out(self, lockout: Lockout) -> None:
        try:
            lockouts.keep(self.paths, lockout)
        except (KtuneError, OSError) as error:
            self.alert(f"the lock-out could not be recorded: {error}")

    def _relearn(self) -> None:
        """Unless somebody wants us to end."""
        self.diary.end()
        self.over = True
        if self.noted.interrupt is None:
            self.tenancy.leave()
            with raising():  # the search is a program of its own: nothing else would end the wait
                self.relearn()

    def _restart(self, event: Event) -> None:
        if isinstance(event, ContextChanged | ProbationPassed):
            return  # `after_pair` has begun the new test already
        self.guarding = restarted(self.guarding, self.state.phase or self.spec.first_phase)
        self.note_tests()

    def _keep_foreign(self) -> None:
        """A knob that somebody else holds now is no longer the policy's."""
        taken = self.holder.drift()
        left = tuple(knob for knob in self.spec.knobs if knob.tunable.key not in taken)
        self.holder.spec = dataclasses.replace(self.spec, knobs=left)
        if not left:
            self.handle(PolicyGone("every knob of it was changed by somebody else"))

    def _pause(self, event: Event) -> None:
        """Leave the scope until the other command is done, then see what it left."""
        who = what_of(event)
        self.tenancy.lend(self.noted)
        self.handle(PauseEnded(who))
        gone = self.holder.still_there()
        if gone is not None:
            self.handle(PolicyGone(gone))

    def _take_scope(self) -> None:
        self.tenancy.take_back(self.noted)
        self.time_keeper.forget()
        self.guardrails.forget()


def what_of(event: Event) -> str:
    """Its own words."""
    for name in ("what", "who", "reason"):
        text = getattr(event, name, None)
        if text:
            return str(text)
    return type(event).__name__

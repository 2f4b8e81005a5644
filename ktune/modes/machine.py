"""The mode machine: a pure function from state and event to state and commands.

Time, kernel and workload are events; nothing here reads a clock or touches a file, so every
transition can be tested without a kernel. The drivers carry out the commands, in their order, and
ask `may` before each write.

    idle -> learning -> collaboration -> idle (proven or not)
    idle -> recommendation: a frozen policy is watched
    recommendation -> idle or learning: a regression was rolled back; idle: the policy is gone
    learning, collaboration -> emergency: a guardrail crossed `max_trips` times, the lease lost,
    a restore that could not be verified
    recommendation -> emergency: a guardrail crossed, the lease lost, a restore not verified
    emergency -> idle: by hand, or after the quiet time
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from ktune.modes.events import (
    Cleared,
    Confirmed,
    ContextChanged,
    Event,
    ForeignWrite,
    GuardrailCrossed,
    Interrupted,
    LeaseFailed,
    MetricsGone,
    PauseAsked,
    PauseEnded,
    PolicyGone,
    ProbationPassed,
    Regressed,
    SearchEnded,
    Started,
    TimeJumped,
    WatchPhase,
    WatchStarted,
)


class Mode(StrEnum):
    """What is in force: see docs/architecture.md."""

    IDLE = "idle"
    LEARNING = "learning"
    COLLABORATION = "collaboration"
    RECOMMENDATION = "recommendation"
    EMERGENCY = "emergency"


class Drift(StrEnum):
    """What happens when somebody else writes a knob of the policy."""

    REAPPLY = "reapply"
    KEEP = "keep"


@dataclass(frozen=True)
class Conduct:
    """What the profile, the policy or the command line decided beforehand."""

    max_trips: int = 3
    relearn: bool = False
    """After a rollback: learn again, or stay at the baseline."""
    rollback_on_missing: bool = False
    """Metrics that are gone are no evidence against a policy, unless it is asked for."""
    stays_without_watcher: bool = True
    """A committed policy stays when its watcher ends; a leased one goes back to the baseline."""
    drift: Drift = Drift.REAPPLY


@dataclass(frozen=True)
class State:
    """The mode and why we are in it; `phase` and `paused` belong to recommendation mode."""

    mode: Mode = Mode.IDLE
    reason: str = "not started"
    trips: int = 0
    """How often a guardrail was crossed in this run."""
    phase: WatchPhase | None = None
    paused: bool = False
    """Another command holds the scope; the policy stays in force and nothing is written."""
    conduct: Conduct = field(default_factory=Conduct)


class Command(StrEnum):
    """What a driver must do next, in this order."""

    RESTORE_BASELINE = "restore_baseline"
    """Put the baseline in force now, and verify it."""
    COUNT_INFEASIBLE = "count_infeasible"
    """The candidate under test is infeasible."""
    WAIT_QUIET = "wait_quiet"
    """Leave the machine alone until the guardrail is quiet again."""
    SEARCH = "search"
    CONFIRM = "confirm"
    REFUSE_ALL = "refuse_all"
    """No recommendation is applied any more."""
    APPLY_POLICY = "apply_policy"
    """Put the policy in force: under a lease, or committed with its way back on record."""
    RETURN_TO_POLICY = "return_to_policy"
    """End the lease of a holdback: the policy is in force again."""
    VOID_PAIR = "void_pair"
    """The pair under way does not count; the next one has a new coin."""
    RESTART_TEST = "restart_test"
    """What was measured before belongs to another situation: the tests begin anew."""
    KEEP_FOREIGN = "keep_foreign"
    """Somebody else's value stays; the knob is no longer the policy's."""
    ALERT = "alert"
    LOCK_OUT = "lock_out"
    """The policy is refused for a stated time."""
    RELEARN = "relearn"
    LEAVE_SCOPE = "leave_scope"
    """Let another command have the scope."""
    TAKE_SCOPE = "take_scope"
    END = "end"


class Write(StrEnum):
    """The kinds of writes to the kernel."""

    RESTORE = "restore"
    """The baseline, for good."""
    CANDIDATE = "candidate"
    """A candidate or finalist, or the baseline beside it, under a lease."""
    POLICY = "policy"
    HOLDBACK = "holdback"
    """The baseline for one window, under a lease that goes back to the policy."""


Step = tuple[State, Sequence[Command]]

_HEARD_WHILE_PAUSED = (PauseEnded, PolicyGone, Interrupted, WatchStarted)

_ENDING = (Command.RESTORE_BASELINE, Command.END)
_RESTART = (Command.VOID_PAIR, Command.RESTART_TEST)


def may(state: State, write: Write) -> bool:
    """Whether a driver in `state` may write so. The way back is always open."""
    if write is Write.RESTORE:
        return True
    if write is Write.CANDIDATE:
        return state.mode in (Mode.LEARNING, Mode.COLLABORATION)
    watching = state.mode is Mode.RECOMMENDATION and not state.paused
    return watching and (write is Write.POLICY or state.phase is not WatchPhase.ALERT_ONLY)


def step(state: State, event: Event) -> Step:
    """One transition. An event that has no place in the mode changes nothing.

    >>> step(State(Mode.LEARNING, trips=2), GuardrailCrossed("oom"))[0].mode.value
    'emergency'
    """
    if isinstance(event, LeaseFailed):
        return _emergency(state, event.what)
    match state.mode:
        case Mode.IDLE:
            return _from_idle(state, event)
        case Mode.LEARNING | Mode.COLLABORATION:
            return _while_tuning(state, event)
        case Mode.RECOMMENDATION:
            return _while_watching(state, event)
        case Mode.EMERGENCY:
            return _in_emergency(state, event)


def _from_idle(state: State, event: Event) -> Step:
    match event:
        case Started():
            return _to(state, Mode.LEARNING, "search started"), (Command.SEARCH,)
        case WatchStarted(_, in_force, phase, reason):
            after = replace(_to(state, Mode.RECOMMENDATION, reason), phase=phase)
            return after, (() if in_force else (Command.APPLY_POLICY,))
        case Interrupted(what):
            return _to(state, Mode.IDLE, what), _ENDING
    return state, ()


def _while_tuning(state: State, event: Event) -> Step:
    learning = state.mode is Mode.LEARNING
    match event:
        case Interrupted(what):
            return _to(state, Mode.IDLE, what), _ENDING
        case Started() if learning:
            return state, (Command.SEARCH,)
        case SearchEnded(finalists, reason) if learning and finalists:
            return _to(state, Mode.COLLABORATION, reason), (Command.CONFIRM,)
        case SearchEnded(_, reason) if learning:
            return _to(state, Mode.IDLE, f"{reason}; no finalist"), _ENDING
        case Confirmed(_, reason):
            return _to(state, Mode.IDLE, reason), _ENDING
        case GuardrailCrossed(what):
            tripped = replace(state, trips=state.trips + 1)
            if tripped.trips >= state.conduct.max_trips:
                return _emergency(tripped, f"{what} (trip {tripped.trips})")
            return replace(tripped, reason=what), (
                Command.RESTORE_BASELINE,
                Command.COUNT_INFEASIBLE,
                Command.WAIT_QUIET,
            )
        case ForeignWrite() | TimeJumped() | MetricsGone():
            return state, (Command.VOID_PAIR,)
    return state, ()


def _while_watching(state: State, event: Event) -> Step:
    conduct = state.conduct
    if state.paused and not isinstance(event, _HEARD_WHILE_PAUSED):
        return state, ()  # whoever holds the scope has guardrails of its own, and may write
    match event:
        case GuardrailCrossed(what):
            return _emergency(state, what, Command.LOCK_OUT)
        case Regressed(what):
            return _rolled_back(state, what)
        case MetricsGone(what):
            if conduct.rollback_on_missing:
                return _rolled_back(state, what)
            return state, (Command.VOID_PAIR, Command.ALERT)
        case WatchStarted(_, in_force, phase, reason):  # a watcher again, after the last one died
            again = replace(state, phase=phase, paused=False, reason=reason)
            return again, (() if in_force else (Command.APPLY_POLICY,))
        case ProbationPassed(reason) if state.phase is WatchPhase.PROBATION:
            return replace(state, phase=WatchPhase.STEADY, reason=reason), (Command.RESTART_TEST,)
        case ContextChanged(what, phase):
            return replace(state, phase=phase, reason=what), (Command.RETURN_TO_POLICY, *_RESTART)
        case ForeignWrite(what):
            settle = (
                Command.APPLY_POLICY if conduct.drift is Drift.REAPPLY else Command.KEEP_FOREIGN
            )
            return replace(state, reason=what), (*_RESTART, settle, Command.ALERT)
        case TimeJumped(what):
            return replace(state, reason=f"goes on: {what}"), (
                Command.RETURN_TO_POLICY,
                Command.VOID_PAIR,
            )
        case PauseAsked(who):
            return replace(state, paused=True, reason=f"paused: {who}"), (
                Command.RETURN_TO_POLICY,
                Command.VOID_PAIR,
                Command.LEAVE_SCOPE,
            )
        case PauseEnded(who) if state.paused:
            return replace(state, paused=False, reason=f"goes on after {who}"), (
                Command.TAKE_SCOPE,
            )
        case PolicyGone(what):
            return _to(state, Mode.IDLE, what), (Command.VOID_PAIR, Command.END)
        case Interrupted(what) if conduct.stays_without_watcher:
            after = replace(state, reason=f"unguarded: {what}", paused=False)
            return after, (Command.RETURN_TO_POLICY, Command.VOID_PAIR, Command.END)
        case Interrupted(what):
            return _to(state, Mode.IDLE, what), _ENDING
    return state, ()


def _in_emergency(state: State, event: Event) -> Step:
    match event:
        case Cleared(what):
            return replace(_to(state, Mode.IDLE, what), trips=0), ()
        case Interrupted():
            return state, _ENDING
    return state, (Command.REFUSE_ALL,)


def _rolled_back(state: State, what: str) -> Step:
    undo = (Command.RESTORE_BASELINE, Command.LOCK_OUT)
    if state.conduct.relearn:
        return _to(state, Mode.LEARNING, what), (*undo, Command.RELEARN)
    return _to(state, Mode.IDLE, what), (*undo, Command.END)


def _emergency(state: State, reason: str, *more: Command) -> Step:
    return _to(state, Mode.EMERGENCY, reason), (
        Command.RESTORE_BASELINE,
        *more,
        Command.REFUSE_ALL,
        Command.END,
    )


def _to(state: State, mode: Mode, reason: str) -> State:
    return replace(state, mode=mode, reason=reason, phase=None, paused=False)

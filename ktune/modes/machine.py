"""The mode machine: a pure function from state and event to state and commands.

Time, kernel and workload are events; nothing here reads a clock or touches a file, so every
transition can be tested without a kernel. The drivers carry out the commands.

    idle -> learning -> collaboration -> idle (proven or not)
    learning, collaboration -> emergency: a guardrail crossed `max_trips` times, the lease lost,
    a restore that could not be verified
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum


class Mode(StrEnum):
    """What is in force: see docs/architecture.md."""

    IDLE = "idle"
    LEARNING = "learning"
    COLLABORATION = "collaboration"
    EMERGENCY = "emergency"


@dataclass(frozen=True)
class State:
    """The mode, why we are in it, and how often a guardrail was crossed."""

    mode: Mode = Mode.IDLE
    reason: str = "not started"
    trips: int = 0
    max_trips: int = 3


class Command(StrEnum):
    """What a driver must do next, in this order."""

    RESTORE_BASELINE = "restore_baseline"
    """Put the baseline in force now."""
    COUNT_INFEASIBLE = "count_infeasible"
    """The candidate under test is infeasible."""
    WAIT_QUIET = "wait_quiet"
    """Leave the machine alone until the guardrail is quiet again."""
    SEARCH = "search"
    CONFIRM = "confirm"
    REFUSE_ALL = "refuse_all"
    """No recommendation is applied any more."""
    END = "end"


@dataclass(frozen=True)
class Started:
    """`tune` begins to search (or goes on)."""


@dataclass(frozen=True)
class SearchEnded:
    """Budget or stopping rule reached."""

    finalists: int
    reason: str


@dataclass(frozen=True)
class Confirmed:
    """The confirmation is over."""

    proven: bool
    reason: str


@dataclass(frozen=True)
class GuardrailCrossed:
    """A safety limit of the profile was crossed in a window."""

    what: str


@dataclass(frozen=True)
class LeaseFailed:
    """The guardian is gone, or a restore could not be verified."""

    what: str


@dataclass(frozen=True)
class Interrupted:
    """A person or the system ends the run."""

    what: str


Event = Started | SearchEnded | Confirmed | GuardrailCrossed | LeaseFailed | Interrupted

_ENDING = (Command.RESTORE_BASELINE, Command.END)


def step(state: State, event: Event) -> tuple[State, Sequence[Command]]:
    """One transition. In emergency only an interruption is still heard.

    >>> step(State(Mode.LEARNING, trips=2), GuardrailCrossed("oom"))[0].mode.value
    'emergency'
    """
    match event:
        case Interrupted(what):
            return _to(state, Mode.IDLE, what), _ENDING
        case LeaseFailed(what):
            return _emergency(state, what)
        case _ if state.mode is Mode.EMERGENCY:
            return state, (Command.REFUSE_ALL,)
        case Started():
            return _to(state, Mode.LEARNING, "search started"), (Command.SEARCH,)
        case SearchEnded(finalists, reason) if finalists:
            return _to(state, Mode.COLLABORATION, reason), (Command.CONFIRM,)
        case SearchEnded(_, reason):
            return _to(state, Mode.IDLE, f"{reason}; no finalist"), _ENDING
        case Confirmed(_, reason):
            return _to(state, Mode.IDLE, reason), _ENDING
        case GuardrailCrossed(what):
            tripped = replace(state, trips=state.trips + 1)
            if tripped.trips >= tripped.max_trips:
                return _emergency(tripped, f"{what} (trip {tripped.trips})")
            return replace(tripped, reason=what), (
                Command.RESTORE_BASELINE,
                Command.COUNT_INFEASIBLE,
                Command.WAIT_QUIET,
            )


def _emergency(state: State, reason: str) -> tuple[State, Sequence[Command]]:
    return _to(state, Mode.EMERGENCY, reason), (
        Command.RESTORE_BASELINE,
        Command.REFUSE_ALL,
        Command.END,
    )


def _to(state: State, mode: Mode, reason: str) -> State:
    return replace(state, mode=mode, reason=reason)

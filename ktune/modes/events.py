"""What the mode machine is told: plain data, each with the words that a person reads later."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class WatchPhase(StrEnum):
    """How a policy in recommendation mode is looked after."""

    PROBATION = "probation"
    """Pairs against the baseline; a bounded chance to roll back an innocent policy, in total."""
    STEADY = "steady"
    """Pairs now and then; a bounded rate of rolling back an innocent policy."""
    ALERT_ONLY = "alert_only"
    """Pairs are impossible: guardrails act, everything else is only said."""


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
    """A safety limit of the profile was crossed."""

    what: str


@dataclass(frozen=True)
class LeaseFailed:
    """The guardian is gone, or a restore could not be verified."""

    what: str


@dataclass(frozen=True)
class Interrupted:
    """A person or the system ends the run."""

    what: str


@dataclass(frozen=True)
class WatchStarted:
    """`watch` begins to look after a policy, or goes on after its own death.

    `in_force`: it is in force already.
    """

    policy: str
    in_force: bool
    phase: WatchPhase
    reason: str = "watch started"


@dataclass(frozen=True)
class ProbationPassed:
    """The pairs of the probation are used up without a regression."""

    reason: str


@dataclass(frozen=True)
class Regressed:
    """A test says that the policy is worse than the baseline."""

    what: str


@dataclass(frozen=True)
class ContextChanged:
    """Kernel, boot, load band or workload are others than those of the pairs so far.

    `phase`: where to begin anew.
    """

    what: str
    phase: WatchPhase


@dataclass(frozen=True)
class ForeignWrite:
    """Somebody else wrote a knob that a lease or the policy holds."""

    what: str


@dataclass(frozen=True)
class MetricsGone:
    """The metric source does not answer, or its numbers stand still."""

    what: str


@dataclass(frozen=True)
class TimeJumped:
    """The clock was set, the machine slept, or the watcher did not run for a while."""

    what: str


@dataclass(frozen=True)
class PauseAsked:
    """Another command (tune, apply, rollback) needs the scope."""

    who: str


@dataclass(frozen=True)
class PauseEnded:
    """It is done; the policy is still in force."""

    who: str


@dataclass(frozen=True)
class PolicyGone:
    """Rolled back by hand, or its scope has ended: there is nothing to watch."""

    what: str


@dataclass(frozen=True)
class Cleared:
    """A person ends the emergency, or the quiet time is over."""

    what: str


Event = (
    Started
    | SearchEnded
    | Confirmed
    | GuardrailCrossed
    | LeaseFailed
    | Interrupted
    | WatchStarted
    | ProbationPassed
    | Regressed
    | ContextChanged
    | ForeignWrite
    | MetricsGone
    | TimeJumped
    | PauseAsked
    | PauseEnded
    | PolicyGone
    | Cleared
)

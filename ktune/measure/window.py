"""One measurement: what came out, how long it took, and whether it may be scored.

A window voided from outside says nothing about the candidate and is never turned into a number;
a failure of the candidate (crash, timeout, implausible metric) counts against it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, runtime_checkable

Poll = Callable[[], None]
"""Called at least every 100 ms while a window runs; may raise to abort it."""


class Validity(StrEnum):
    """Whether a window's metrics may be used."""

    VALID = "valid"
    CANDIDATE_FAILED = "candidate_failed"
    """Crash, timeout, no output, missing or implausible metric: a loss for the candidate."""
    VOID = "void"
    """Disturbed from outside (stolen CPU time, the link died): never scored, measured again."""


@dataclass(frozen=True)
class WindowResult:
    """One window. `metrics` is empty unless the window is valid.

    `reason` says why it is not valid; `notes` are remarks that do not change the validity
    (children that were left behind); `environment` holds what the host did meanwhile
    (`steal_share`, `others_share`, `psi_cpu_some_share`...: shares of the window between 0 and 1),
    `others` which programs outside the run used the CPUs (share of all CPU time by name), `cause`
    by which of the limits it is void (`measure.fairness.limits.Cause`; empty for other reasons).
    """

    metrics: Mapping[str, float]
    duration_s: float
    validity: Validity
    reason: str = ""
    notes: tuple[str, ...] = ()
    environment: Mapping[str, float] = field(default_factory=dict)
    others: Mapping[str, float] = field(default_factory=dict)
    cause: str = ""

    @property
    def valid(self) -> bool:
        """May the metrics be scored?"""
        return self.validity is Validity.VALID


class WindowSource(Protocol):
    """Whatever can measure one window of the workload under the settings now in force."""

    def run(self, poll: Poll) -> WindowResult:
        """Measure one window. Raises KtuneError when no window can ever be measured, and
        whatever `poll` raises (the workload is killed first)."""
        ...


@runtime_checkable
class Grouped(Protocol):
    """A source whose workload runs in a cgroup2 group of its own."""

    def group(self) -> str | None:
        """The group's folder, made by this run; None where there can be none."""
        ...

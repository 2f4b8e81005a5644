"""What drivers tell whoever watches: plain events, no rendering."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ktune.evidence.pairs import Arm, Direction
from ktune.kernel.tunable import Assignment
from ktune.records.types import Phase


@dataclass(frozen=True)
class PhaseStarted:
    """A phase begins; `total` windows, pairs or trials at most, as `unit` says."""

    phase: Phase
    detail: str
    total: int
    unit: str


@dataclass(frozen=True)
class WindowDone:
    """One window is measured. `gain` is the log ratio to the baseline, where one can be told."""

    phase: Phase
    arm: Arm
    number: int
    validity: str
    reason: str
    metrics: Mapping[str, float]
    gain: float | None = None
    direction: Direction | None = None
    """Which way the one objective is better; None for several."""


@dataclass(frozen=True)
class BestSoFar:
    """The search likes this one best: unconfirmed, and as a number biased upward."""

    assignment: Assignment
    gain: float
    trial: int
    direction: Direction | None = None


@dataclass(frozen=True)
class PairDone:
    """One pair is counted; `summary` says where the tests stand."""

    phase: Phase
    number: int
    total: int
    gain: float | None
    summary: str
    direction: Direction | None = None


@dataclass(frozen=True)
class Note:
    """Something a person should know: a knob dropped, a guardrail crossed."""

    text: str


Progress = PhaseStarted | WindowDone | BestSoFar | PairDone | Note
Observer = Callable[[Progress], None]

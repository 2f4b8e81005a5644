"""What is asked and told, and the table of everything measured; pure data, without Optuna."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

from ktune.kernel.values import Value
from ktune.search.space import Assignment


class AssignmentKey(tuple[tuple[str, Value], ...]):
    """An assignment as a dictionary key: pairs in order. It keeps its hash, which Python computes
    anew for a tuple at each look-up: with many knobs and trials that adds up."""

    def __hash__(self) -> int:
        try:
            return self._hash
        except AttributeError:
            self._hash: int = super().__hash__()
            return self._hash


class Origin(StrEnum):
    """Where a candidate came from."""

    BASELINE = "baseline"
    EXPERT = "expert"
    SAMPLER = "sampler"
    REMEASURE = "remeasure"
    WARM = "warm"
    """From an earlier study or a shared file: a hint, measured here like any other."""


@dataclass(frozen=True)
class Candidate:
    """An assignment to measure.

    `number` names the trial (ascending, with gaps where a draw was rejected); `measured_before`
    says how often this assignment has a score already.
    """

    number: int
    assignment: Mapping[str, Value]
    origin: Origin
    measured_before: int


@dataclass(frozen=True)
class ScoredTrial:
    """A measured candidate.

    `score`: log ratio against the neighbouring baselines, above 0 when better
    (`ktune.search.baseline`). `constraints`: by name the worsening minus its margin, in log
    ratios: at or below 0 is feasible.
    """

    score: float
    constraints: Mapping[str, float] = field(default_factory=dict)
    objectives: Mapping[str, float] = field(default_factory=dict)
    """Each objective's own log ratio; empty where the search has only the weighted one."""

    def __post_init__(self) -> None:
        numbers = (self.score, *self.constraints.values(), *self.objectives.values())
        if not all(math.isfinite(x) for x in numbers):
            raise ValueError(f"a score and its constraints are finite numbers, got {self}")


@dataclass(frozen=True)
class InfeasibleTrial:
    """The candidate itself failed: refused or clamped write, crash, timeout, guardrail."""

    reason: str


@dataclass(frozen=True)
class VoidTrial:
    """The window was spoilt from outside: never scored. With `retry` the candidate comes again."""

    reason: str
    retry: bool = True


Told = ScoredTrial | InfeasibleTrial | VoidTrial


@dataclass(frozen=True)
class Row:
    """One told trial."""

    number: int
    assignment: Mapping[str, Value]
    origin: Origin
    told: Told
    pruned: bool = False
    """Measured again and found behind the best (`pruning.py`): not worth a further window."""

    @cached_property
    def key(self) -> AssignmentKey:
        """Of its assignment; asked for at every trial, of every row."""
        return key_of(self.assignment)


@dataclass(frozen=True)
class Ranked:
    """All measurements of one assignment together; `first` is its first trial."""

    assignment: Mapping[str, Value]
    score: float
    measured: int
    first: int
    objectives: Mapping[str, float] = field(default_factory=dict)
    """Mean log ratio of each objective; empty where the search has only the weighted one."""


def key_of(assignment: Assignment) -> AssignmentKey:
    """An assignment as a dictionary key."""
    return AssignmentKey(sorted(assignment.items()))


def ranking(rows: Sequence[Row]) -> tuple[Ranked, ...]:
    """Assignments by their mean score, best first; ties to the earlier.

    Left out: the baseline (its lead would be luck), what ever failed, and what breaks a constraint
    on average.
    """
    groups: dict[AssignmentKey, list[Row]] = {}
    for row in rows:
        if not isinstance(row.told, VoidTrial):
            groups.setdefault(row.key, []).append(row)
    ranked = []
    for group in groups.values():
        scored = [row.told for row in group if isinstance(row.told, ScoredTrial)]
        is_baseline = any(row.origin is Origin.BASELINE for row in group)
        if not is_baseline and len(scored) == len(group) and feasible(scored):
            ranked.append(
                Ranked(
                    assignment=group[0].assignment,
                    score=mean_score(scored),
                    measured=len(scored),
                    first=group[0].number,
                    objectives=mean_objectives(scored),
                )
            )
    return tuple(sorted(ranked, key=lambda entry: (-entry.score, entry.first)))


def mean_score(scored: Sequence[ScoredTrial]) -> float:
    """Mean log ratio of the measurements of one assignment."""
    return math.fsum(told.score for told in scored) / len(scored)


def mean_constraints(scored: Sequence[ScoredTrial]) -> dict[str, float]:
    """Each constraint's mean over the measurements of one assignment."""
    return {
        name: math.fsum(told.constraints[name] for told in scored) / len(scored)
        for name in scored[0].constraints
    }


def mean_objectives(scored: Sequence[ScoredTrial]) -> dict[str, float]:
    """Each objective's mean over the measurements of one assignment."""
    return {
        name: math.fsum(told.objectives[name] for told in scored) / len(scored)
        for name in scored[0].objectives
    }


def feasible(scored: Sequence[ScoredTrial]) -> bool:
    """Whether all constraints hold on average."""
    return all(value <= 0 for value in mean_constraints(scored).values())


def wants_remeasure(rows: Sequence[Row]) -> bool:
    """Whether the last trial took the lead with a single measurement.

    Measured once more at once, its mean falls back to earth before the search and the stopping
    rule believe it. Of n candidates without differences about log(n) take the lead, so this costs
    little. The baseline scores 0 by definition: what does not beat it is not re-measured.
    """
    if not rows or not isinstance(rows[-1].told, ScoredTrial):
        return False
    top = ranking(rows)
    return bool(top) and top[0].first == rows[-1].number and top[0].score > 0

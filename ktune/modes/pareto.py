"""The front of a Pareto search as a record, and trials that a person picked to be proven. Pure.

A pick is made after a look at the search only: none of its windows enters the proof. Several picks
share alpha like several finalists, and once fixed they can't be exchanged for others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ktune.errors import UsageError
from ktune.evidence.pairs import change_of
from ktune.kernel.tunable import Assignment
from ktune.modes.scoring import Goals
from ktune.records.finalists import Finalists
from ktune.records.front import Front, FrontPoint
from ktune.records.types import Arm, Phase, WindowRecord
from ktune.search.front import front
from ktune.search.trials import InfeasibleTrial, Ranked, Row, VoidTrial, key_of, ranking


def front_record(ranked: Sequence[Ranked], goals: Goals, why: str) -> Front:
    """The front of everything measured, log ratios turned into fractions better."""
    directions = {goal.metric: goal.direction for goal in goals.objectives}
    return Front(
        tuple(
            FrontPoint(
                trial=item.first,
                assignment=dict(item.assignment),
                gains={
                    name: change_of(item.objectives[name], directions[name]) for name in directions
                },
                windows=item.measured,
                beyond_margin=tuple(
                    name for name in directions if _is_beyond(goals, name, item.objectives[name])
                ),
            )
            for item in front(ranked)
        ),
        why,
    )


def _is_beyond(goals: Goals, metric: str, gain: float) -> bool:
    margin = goals.margin_of(metric)
    return margin is not None and -gain > margin


def picked(
    trials: Sequence[int],
    rows: Sequence[Row],
    records: Sequence[WindowRecord],
    complete: Callable[[Assignment], Assignment],
) -> Finalists:
    """The trials of a search as finalists, in the order given.

    Raises:
        UsageError: there is no such trial, it failed, or it is the baseline.
    """
    by_number = {row.number: row for row in rows}
    measured = {
        record.trial: dict(record.assignment)
        for record in records
        if record.phase is Phase.LEARNING and record.arm is Arm.CANDIDATE
    }
    scores = {key_of(item.assignment): item.score for item in ranking(rows)}
    chosen: dict[int, tuple[Assignment, float]] = {}
    for number in trials:
        row = by_number.get(number)
        if row is None or number not in measured:
            raise UsageError(
                f"the study has no trial {number}", hint="`ktune report STUDY` lists its front"
            )
        if isinstance(row.told, (InfeasibleTrial, VoidTrial)):
            raise UsageError(f"trial {number} was not measured: {row.told.reason}")
        assignment = complete(row.assignment)
        if dict(assignment) != measured[number]:
            raise UsageError(
                f"trial {number} was measured without a knob that somebody else had taken over",
                hint="start a new study",
            )
        score = scores.get(key_of(row.assignment))
        if score is None:
            raise UsageError(
                f"trial {number} is the baseline, failed once, or breaks a constraint on average"
            )
        chosen[number] = (assignment, score)
    names = ", ".join(map(str, chosen))
    return Finalists(
        tuple(assignment for assignment, _ in chosen.values()),
        f"picked by hand: trial {names}",
        tuple(score for _, score in chosen.values()),
    )


def refuse_other(fixed: Finalists, wanted: Finalists) -> None:
    """Raises UsageError where a confirmation has begun with other finalists."""
    if [key_of(item) for item in fixed.assignments] != [
        key_of(item) for item in wanted.assignments
    ]:
        raise UsageError(
            f"the finalists of this study are fixed ({fixed.why}): its error rate holds for them "
            "and for no others",
            hint="start a new study, and name all trials to confirm at once (--trial N --trial M)",
        )

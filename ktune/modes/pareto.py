"""The front of a Pareto search as a record, and trials that a person picked to be proven. Pure.

A pick is made after a look at the search only: none of its windows enters the proof. Several picks
share alpha like several finalists, and once fixed they can't be exchanged for others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ktune.errors import UsageError
from ktune.evidence.pairs import Arm, change_of
from ktune.kernel.tunable import Assignment
from ktune.measure.window import Validity
from ktune.modes.scoring import Goals
from ktune.records.finalists import Finalists
from ktune.records.front import Front, FrontPoint
from ktune.records.types import Phase, WindowRecord
from ktune.search.front import front
from ktune.search.trials import AssignmentKey, Ranked, Row, ScoredTrial, key_of, mean_score


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
    trials: Sequence[int], records: Sequence[WindowRecord], baseline: Assignment
) -> dict[int, Assignment]:
    """The assignments of the trials of a search, in the order given.

    Raises:
        UsageError: there is no such trial, it failed, or it is the baseline.
    """
    measured = {
        record.trial: record
        for record in records
        if record.phase is Phase.LEARNING and record.arm is Arm.CANDIDATE
    }
    found: dict[int, Assignment] = {}
    for number in trials:
        record = measured.get(number)
        if record is None:
            raise UsageError(
                f"the study has no trial {number}", hint="`ktune report STUDY` lists its front"
            )
        if record.validity != Validity.VALID.value:
            raise UsageError(f"trial {number} was not measured: {record.reason}")
        if record.assignment.keys() != baseline.keys():
            raise UsageError(
                f"trial {number} was measured without a knob that somebody else had taken over",
                hint="start a new study",
            )
        if dict(record.assignment) == dict(baseline):
            raise UsageError(f"trial {number} is the baseline itself")
        found[number] = record.assignment
    return found


def finalists_of(picks: Mapping[int, Assignment], rows: Sequence[Row]) -> Finalists:
    """Picked trials as finalists, with what the search claims of each.

    Raises:
        UsageError: the run died between a trial's window and its score.
    """
    scores: dict[AssignmentKey, list[ScoredTrial]] = {}
    for row in rows:
        if isinstance(row.told, ScoredTrial):
            scores.setdefault(key_of(row.assignment), []).append(row.told)
    cut_off = [n for n, assignment in picks.items() if key_of(assignment) not in scores]
    if cut_off:
        raise UsageError(f"trial {cut_off[0]} was cut off before it was scored")
    return Finalists(
        tuple(picks.values()),
        f"picked by hand: trial {', '.join(map(str, picks))}",
        tuple(mean_score(scores[key_of(assignment)]) for assignment in picks.values()),
    )


def refuse_other(fixed: Finalists | None, picks: Mapping[int, Assignment]) -> None:
    """Raises UsageError where a confirmation has begun with other finalists."""
    if fixed is None:
        return
    if [key_of(item) for item in fixed.assignments] != [key_of(item) for item in picks.values()]:
        raise UsageError(
            f"the finalists of this study are fixed ({fixed.why}): its error rate holds for them "
            "and for no others",
            hint="start a new study, and name all trials to confirm at once (--trial N --trial M)",
        )

"""From a decision and its pairs to the records that a proof keeps. Pure functions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from ktune.evidence.decide import TEST, Decision, Rule
from ktune.evidence.estimate import Bound, Estimate, bound_constraint, estimate_gain
from ktune.evidence.outliers import far_pairs
from ktune.evidence.pairs import Direction, PairResult, PairState, change_of, of_metric
from ktune.measure.window import Validity
from ktune.modes.scoring import Goals
from ktune.records.types import (
    ConstraintRecord,
    GainRecord,
    ObjectiveRecord,
    PairCounts,
    Phase,
    RuleRecord,
    SwitchingRecord,
    WindowRecord,
)

KERNEL, KTUNE = "kernel", "ktune"


def rule_record(rule: Rule, decision: Decision | None) -> RuleRecord:
    """The rule and where it stood when it stopped."""
    return RuleRecord(
        tests=(TEST,),
        alpha=rule.alpha,
        hypothesis=f"gain <= {change_of(rule.minimum_gain):.3g}",
        fired=TEST if decision is not None and decision.fired else None,
        e_value=None if decision is None else decision.e_value,
        threshold=None if decision is None else decision.threshold,
    )


def counts(
    decision: Decision, decision_pairs: Sequence[PairResult], further: Sequence[PairResult]
) -> PairCounts:
    """What the proof rests on."""
    states = [pair.state for pair in further]
    return PairCounts(
        decision=decision.pairs,
        after=len(states) - states.count(PairState.VOID),
        void=decision.void + states.count(PairState.VOID),
        lost=decision.lost + states.count(PairState.LOST),
        outliers=len(far_pairs(decision_pairs)) + len(far_pairs(further)),
    )


def switching_record(windows: Sequence[WindowRecord], why: str) -> SwitchingRecord:
    """Who switched in the pairs of a proof, by their windows. `why`: why not the kernel (now)."""
    counted = [window for window in windows if window.validity == Validity.VALID]
    stamps = [window.stamp for window in counted if window.stamp is not None]
    by_kernel = KERNEL if stamps or (not counted and not why) else ""
    by_ktune = KTUNE if len(stamps) < len(counted) or not by_kernel else ""
    slots: dict[tuple[Phase, int | None], list[float]] = defaultdict(list)
    for window in counted:
        if window.stamp is not None:
            slots[window.phase, window.pair].append(window.stamp.slot_s)
    return SwitchingRecord(
        by=" and ".join(filter(None, (by_kernel, by_ktune))),
        why=why,
        kernel_windows=len(stamps),
        worst_switch_s=max((stamp.switch_s for stamp in stamps), default=0.0),
        worst_late_s=max((stamp.slot_s - stamp.asked_slot_s for stamp in stamps), default=0.0),
        worst_skew_s=max((max(both) - min(both) for both in slots.values()), default=0.0),
    )


def direction_of(goals: Goals) -> Direction:
    """Of the single objective; several combined read as something to maximise."""
    return Direction.MAXIMIZE if goals.several else goals.objectives[0].direction


def gain_record(estimate: Estimate, goals: Goals) -> GainRecord:
    """The gain on the goal: the single objective, or all of them by weight."""
    main = estimate.main
    names = "+".join(goal.metric for goal in goals.objectives)
    return GainRecord(names, main.gain, (main.low, main.high), main.level)


def bounds(pairs: Sequence[PairResult], goals: Goals, level: float) -> tuple[Bound, ...]:
    """Every margin once more, by the pairs after the decision."""
    return tuple(
        bound_constraint(pairs, limit.metric, limit.margin, limit.direction, level)
        for limit in goals.limits
        if limit.margin is not None
    )


def objective_records(
    pairs: Sequence[PairResult], goals: Goals, judged: Sequence[Bound]
) -> tuple[ObjectiveRecord, ...]:
    """Each of several objectives by itself, from the pairs after the decision; () for one."""
    if not goals.several:
        return ()
    by_metric = {bound.metric: bound for bound in judged}
    found = []
    for goal in goals.objectives:
        main = estimate_gain(of_metric(pairs, goal.metric), goal.direction).main
        bound = by_metric[goal.metric]
        found.append(
            ObjectiveRecord(
                metric=goal.metric,
                estimate=main.gain,
                interval=(main.low, main.high),
                level=main.level,
                worst=bound.upper,
                margin=bound.margin,
                held=bound.held,
            )
        )
    return tuple(found)


def constraint_records(goals: Goals, judged: Sequence[Bound]) -> tuple[ConstraintRecord, ...]:
    """The profile's constraints; margins of objectives stand with the objectives."""
    own = {limit.metric for limit in goals.limits if limit.of_objective}
    return tuple(
        ConstraintRecord(item.metric, item.change, item.upper, item.margin, item.held)
        for item in judged
        if item.metric not in own
    )

"""From the studies of the phases and their fingerprints to an adaptive policy, or why not. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ktune.kernel.tunable import Assignment
from ktune.modes.contexts.grow import Sample, grow
from ktune.policy.tree import leaves
from ktune.records.contexts import ContextsRecord, FingerprintRecord, LeafRecord

MAX_ERROR = 0.10
"""A tree that takes more of one leaf's windows for another's makes no policy."""
MIN_SAMPLES = 10
"""Of each leaf: fewer say nothing about a share of 10 %."""


@dataclass(frozen=True)
class PhaseResult:
    """The study of one phase. `assignment` is the baseline's where nothing was proven."""

    phase: str
    study: str
    assignment: Assignment
    proven: bool


def leaves_of(results: Sequence[PhaseResult]) -> tuple[LeafRecord, ...]:
    """Phases with the same best assignment share a leaf, named after the first of them."""
    groups: dict[tuple[tuple[str, object], ...], list[PhaseResult]] = {}
    for result in results:
        groups.setdefault(tuple(sorted(result.assignment.items())), []).append(result)
    return tuple(
        LeafRecord(
            name=group[0].phase,
            phases=tuple(item.phase for item in group),
            assignment=group[0].assignment,
            study=group[0].study if group[0].proven else "",
        )
        for group in groups.values()
    )


def samples_of(
    looks: Sequence[FingerprintRecord],
    own: Sequence[FingerprintRecord],
    found: Sequence[LeafRecord],
) -> list[Sample]:
    """Windows under the settings that will be in force: the looks, which were taken under a leaf's
    or the baseline's, and those of the studies' `own` that were measured under one of these.

    What the workload looks like depends on them, so each context is to be known under all.
    """
    leaf_of = {phase: leaf.name for leaf in found for phase in leaf.phases}
    wanted = [item.settings for item in looks]
    return [
        Sample(leaf_of[item.phase], item.features)
        for item in (*looks, *own)
        if item.settings in wanted and item.phase in leaf_of
    ]


def learned(
    results: Sequence[PhaseResult],
    baseline: Assignment,
    looks: Sequence[FingerprintRecord],
    own: Sequence[FingerprintRecord],
    *,
    seed: int,
) -> ContextsRecord:
    """The answer; its `tree` is None where no adaptive policy is worth it."""
    found = leaves_of(results)
    samples = samples_of(looks, own, found)
    counts = Counter(sample.context for sample in samples)
    record = ContextsRecord(
        studies={item.phase: item.study for item in results},
        leaves=found,
        baseline=baseline,
        samples=dict(counts),
    )
    reason = single(found)
    few = [leaf.name for leaf in found if counts[leaf.name] < MIN_SAMPLES]
    if not reason and few:
        reason = f"too few windows show what {', '.join(few)} looks like (under {MIN_SAMPLES})"
    if reason:
        return _answer(record, reason=reason)
    grown = grow(samples, seed=seed)
    worst = max(grown.errors, key=lambda name: grown.errors[name])
    missing = sorted({leaf.name for leaf in found} - set(leaves(grown.tree)))
    if grown.worst_error > MAX_ERROR or missing:
        name = missing[0] if missing else worst
        reason = (
            f"from outside {name} can't be told from the others: {grown.errors[name]:.0%} of its "
            f"windows were taken for another's (at most {MAX_ERROR:.0%})"
        )
        return _answer(record, reason=reason, errors=grown.errors)
    tree = grown.tree if isinstance(grown.tree, str) else grown.tree.to_plain()
    return _answer(record, tree=tree, errors=grown.errors)


def single(found: Sequence[LeafRecord]) -> str:
    """Why there is nothing to switch between; empty where there is."""
    if len(found) > 1:
        return ""
    if found and found[0].study:
        return f"one setting is the best in every phase: `ktune freeze {found[0].study}`"
    return "no phase has a setting that is proven better than the baseline"


def _answer(
    record: ContextsRecord,
    *,
    tree: object = None,
    errors: Mapping[str, float] | None = None,
    reason: str = "",
) -> ContextsRecord:
    return ContextsRecord(
        record.studies,
        record.leaves,
        record.baseline,
        tree,
        dict(errors or {}),
        record.samples,
        reason,
    )

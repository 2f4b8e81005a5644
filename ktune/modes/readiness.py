"""Is a profile's measurement fit for a proof? Pure: from the windows of a calibration to an answer.

The answer rests on the *upper* 90 % limit of the noise, and on the promotion rule itself.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ktune.evidence.decide import Decision, Outcome, decide
from ktune.evidence.pairs import Direction, PairResult, PairState, change_of
from ktune.evidence.power import (
    MOST_PAIRS,
    RUNS,
    TARGET,
    Noise,
    pairs_needed,
    power,
    shows,
    smallest_gain,
)
from ktune.evidence.readiness import (
    Effect,
    Spread,
    against_control,
    autocorrelation,
    order_effect,
    second_against_first,
    spread,
)
from ktune.modes.scoring import Goals
from ktune.modes.settings import Settings
from ktune.records.types import Arm, Phase, WindowRecord

BLOCK = 4
"""Windows of a block A-B-B-A."""


@dataclass(frozen=True)
class Proof:
    """What a proof of the gain in question will take."""

    gain: float
    """The true gain asked about, as a fraction: the MEI (`against: mei`: on top of the MEI)."""
    power: float
    """Share of proofs that would show it."""
    pairs_allowed: int
    pairs_needed: int | None
    """For a power of 80 %; None where MOST_PAIRS are not enough."""
    smallest_gain: float | None
    """Shown with a power of 80 % within the pairs allowed; None where no gain is."""
    expected_s: float
    longest_s: float
    """The pairs of decision and gain together."""


@dataclass(frozen=True)
class Gate:
    """The promotion rule, run on pairs of identical settings."""

    fired: bool
    e_value: float
    threshold: float
    reason: str


@dataclass(frozen=True)
class Readiness:
    """All that a calibration found. Spreads and effects are log ratios."""

    ready: bool
    pairs: int
    windows: int
    window_s: float
    """Median length of a window, switching and settling included."""
    noise: Spread
    constraints: Mapping[str, Spread]
    order: Effect
    autocorrelation: float
    carry_over: Effect | None
    """None: too few blocks could be measured."""
    warm_up: Effect | None
    gate: Gate
    proof: Proof
    problems: tuple[str, ...]
    """Why it is not ready."""
    helps: tuple[str, ...]
    remarks: tuple[str, ...]
    """Disturbances that cost power and don't make a proof wrong."""


def judge(
    pairs: Sequence[PairResult],
    records: Sequence[WindowRecord],
    settings: Settings,
    *,
    runs: int = RUNS,
) -> Readiness:
    """Pairs of identical settings and all windows in their order -> the answer.

    `runs`: simulated proofs a question.

    Raises:
        ValueError: fewer than two measured pairs.
    """
    rule, goals = settings.rule, settings.goals
    gains = [pair.gain for pair in pairs if pair.gain is not None]
    noise = spread(gains)
    limits = {
        name: spread([p.worsening[name] for p in pairs if p.state is PairState.MEASURED])
        for name in rule.margins
    }
    carry_over, warm_up = _switching(pairs, records, goals)
    decision = decide(pairs, rule)
    window_s = statistics.median([r.duration_s for r in records if r.validity == "valid"])
    at_most = Noise(noise.high, {name: limit.high for name, limit in limits.items()})
    case = _Case(
        settings,
        measured=Noise(noise.sd, {name: limit.sd for name, limit in limits.items()}),
        at_most=at_most,
        smallest=smallest_gain(rule, at_most, runs=runs),
        pairs=len(gains),
        window_s=window_s,
        runs=runs,
    )
    proof = _proof(case)
    gate = _gate(decision)
    problems, helps = _unresolved(case, proof)
    if gate.fired:
        problems += (f"the promotion rule fired on identical settings: {gate.reason}",)
        helps += (
            "calibrate again: by luck this happens in fewer than 5 of 100 calibrations; if it "
            "comes back, something writes or loads differently in the two windows of a pair",
        )
    order = order_effect(pairs)
    return Readiness(
        ready=not problems,
        pairs=len(gains),
        windows=len(records),
        window_s=window_s,
        noise=noise,
        constraints=limits,
        order=order,
        autocorrelation=autocorrelation(gains),
        carry_over=carry_over,
        warm_up=warm_up,
        gate=gate,
        proof=proof,
        problems=problems,
        helps=helps,
        remarks=tuple(_remarks(order, carry_over, warm_up, gains)),
    )


def direction_of(goals: Goals) -> Direction:
    """Of the single objective; several combined read as something to maximise."""
    return goals.objectives[0].direction if len(goals.objectives) == 1 else Direction.MAXIMIZE


@dataclass(frozen=True)
class _Case:
    """What is asked: noise as measured and at its upper limits, and for which settings."""

    settings: Settings
    measured: Noise
    at_most: Noise
    smallest: float | None
    """Log gain shown with a power of 80 %."""
    pairs: int
    window_s: float
    runs: int

    @property
    def wanted(self) -> float:
        """The log gain that must be shown."""
        return self.settings.rule.minimum_gain + self.settings.mei_log


def _proof(case: _Case) -> Proof:
    settings, noise = case.settings, case.at_most
    rule, direction = settings.rule, direction_of(settings.goals)
    shown = power(rule, noise, case.wanted, runs=case.runs)
    needed = (
        pairs_needed(rule, noise, case.wanted, runs=case.runs) if settings.mei_log > 0 else None
    )
    pair_s, after = 2 * case.window_s, settings.after_pairs
    return Proof(
        gain=change_of(case.wanted, direction),
        power=shown.promoted,
        pairs_allowed=rule.max_pairs,
        pairs_needed=needed,
        smallest_gain=None if case.smallest is None else change_of(case.smallest, direction),
        expected_s=(shown.mean_pairs + after) * pair_s,
        longest_s=(rule.max_pairs + after) * pair_s,
    )


def _gate(decision: Decision) -> Gate:
    return Gate(
        decision.outcome is Outcome.IMPROVED,
        decision.e_value,
        decision.threshold,
        decision.reason,
    )


def _unresolved(case: _Case, proof: Proof) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(what can't be resolved, what would help); both empty when it can."""
    settings, rule = case.settings, case.settings.rule
    if settings.mei_log > 0 and proof.power >= TARGET:
        return (), ()
    if settings.mei_log <= 0 and case.smallest is not None:
        return (), ()  # no effect is too small to be of interest: nothing to measure up to
    problem = (
        f"a gain of {proof.gain:.2%} would be shown in {proof.power:.0%} of proofs of "
        f"{rule.max_pairs} pairs (wanted: {TARGET:.0%})"
    )
    if case.smallest is None:
        worst = case.at_most.worsening_sd
        names = [name for name, margin in rule.margins.items() if worst[name] > margin]
        named = f"the noise of {', '.join(names)}" if names else "so few pairs"
        return (f"{problem}; no gain would, because of {named}",), (
            "a larger margin for the constraint, longer windows, or more pairs "
            "(promotion: {pairs: {max: N}})",
        )
    return (problem,), tuple(_helps(case, proof, case.smallest))


def _helps(case: _Case, proof: Proof, smallest: float) -> Iterator[str]:
    """What would make the gain resolvable, each by itself."""
    settings, rule, sd = case.settings, case.settings.rule, case.at_most.sd
    if shows(rule, case.measured, case.wanted, runs=case.runs):
        yield (
            f"more pairs of calibration (--pairs {4 * case.pairs}): the noise as measured would "
            f"do, but {case.pairs} pairs don't know it well enough"
        )
    needed = proof.pairs_needed
    yield (
        f"more pairs: promotion: {{pairs: {{max: {needed}}}}}"
        if needed is not None
        else f"more pairs would not do: over {MOST_PAIRS} are needed"
    )
    too_noisy = (smallest - rule.minimum_gain) / settings.mei_log
    yield (
        f"windows about {math.ceil(too_noisy**2)} times as long (`measure:`; now "
        f"{case.window_s:.3g} s), as far as the noise averages out within a window"
    )
    mei = change_of(smallest - rule.minimum_gain, direction_of(settings.goals))
    yield f"a larger promotion: {{mei: {math.ceil(mei * 1000) / 10:g}%}}"
    yield (
        f"less noise: a pair sd of at most {sd / too_noisy:.2%} (now up to {sd:.2%}): what else "
        "runs on this machine?"
    )


def _remarks(
    order: Effect, carry_over: Effect | None, warm_up: Effect | None, gains: Sequence[float]
) -> Iterator[str]:
    if order.found:
        yield (
            "the second window of a pair differs from the first: a longer `warm_up:` or `settle:` "
            "would make pairs less noisy (the coin keeps the proof right)"
        )
    if carry_over is not None and carry_over.found:
        yield (
            "a candidate leaves something behind for the next baseline window: let each window "
            "reset it (`reset:`), or the gain reads too small"
        )
    if warm_up is not None and warm_up.found:
        yield "the window after a switch differs from the next: too short `settle:` or `warm_up:`"
    if len(set(gains)) == 1:
        yield "the metric does not vary between windows: is it coarse, or not measured at all?"


def _switching(
    pairs: Sequence[PairResult], records: Sequence[WindowRecord], goals: Goals
) -> tuple[Effect | None, Effect | None]:
    """(carry-over, warm-up), each against windows without a switch."""
    around, after, still = [], [], []
    rows = sorted(records, key=lambda record: record.seq)
    for index in range(len(rows)):
        block = rows[index : index + BLOCK]
        if len(block) < BLOCK or not all(item.validity == "valid" for item in block):
            continue
        if _is_block(block):
            first, one, two, last = (item.metrics for item in block)
            around.append(goals.gain(first, last))
            after.append(goals.gain(one, two))
            following = rows[index + BLOCK] if index + BLOCK < len(rows) else None
            if following is not None and _still(following) and following.validity == "valid":
                after.append(goals.gain(last, following.metrics))
        elif all(map(_still, block)) and (index == 0 or not _still(rows[index - 1])):
            still.append(goals.gain(block[0].metrics, block[-1].metrics))
    in_turn = second_against_first(pairs)
    return (
        against_control(around, still) if min(len(around), len(still)) >= 2 else None,
        against_control(after, in_turn) if min(len(after), len(in_turn)) >= 2 else None,
    )


def _still(record: WindowRecord) -> bool:
    return record.phase is Phase.CALIBRATION


def _is_block(rows: Sequence[WindowRecord]) -> bool:
    arms = [row.arm for row in rows]
    return (
        all(row.phase is Phase.SWITCHING and row.pair == rows[0].pair for row in rows)
        and arms == [Arm.BASELINE, Arm.CANDIDATE, Arm.CANDIDATE, Arm.BASELINE]
        and all(later.seq == earlier.seq + 1 for earlier, later in pairwise(rows))
    )

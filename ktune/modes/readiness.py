"""Is a profile's measurement fit for a proof? Pure: from the windows of a calibration to an answer.

The answer rests on the *upper* 90 % limit of the noise, and on the promotion rule itself.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ktune.evidence.decide import Decision, Outcome, decide
from ktune.evidence.pairs import Direction, PairResult, PairState, change_of
from ktune.evidence.power import (
    MOST_PAIRS,
    RUNS,
    TARGET,
    Noise,
    pairs_needed,
    power,
    smallest_gain,
)
from ktune.evidence.readiness import Averaging, Effect, autocorrelation, order_effect, spread
from ktune.kernel.wording import counted
from ktune.modes.scoring import Goals
from ktune.modes.settings import Settings
from ktune.modes.switching import Switching, averaging_of, switching, waiting, window_s_of
from ktune.records.readiness import Gate, Readiness, Resolution, Waiting
from ktune.records.types import WindowRecord

_LONGEST = 100
"""Nobody makes windows so many times as long."""
_WHITE = 1 / math.sqrt(2)
"""Two windows averaged against one, where all noise is from within the windows."""


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
    decision = decide(pairs, rule)
    window_s = window_s_of(records)
    left = switching(records, goals)
    wait = waiting(left, settings, window_s)
    longer = averaging_of(records, goals)
    at_most = Noise(noise.high, {name: limit.high for name, limit in limits.items()})
    case = _Case(
        settings,
        measured=Noise(noise.sd, {name: limit.sd for name, limit in limits.items()}),
        at_most=at_most,
        smallest=smallest_gain(rule, at_most, runs=runs),
        pairs=len(gains),
        window_s=window_s,
        averaging=longer,
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
        carry_over=left.carry_over,
        lasting=left.lasting,
        warm_up=left.warm_up,
        waiting=wait,
        averaging=longer,
        gate=gate,
        proof=proof,
        problems=problems,
        helps=helps,
        remarks=tuple(_remarks(order, left, wait, gains)),
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
    averaging: Averaging | None
    runs: int

    @property
    def wanted(self) -> float:
        """The log gain that must be shown."""
        return self.settings.rule.minimum_gain + self.settings.mei_log


def _proof(case: _Case) -> Resolution:
    settings, noise = case.settings, case.at_most
    rule, direction = settings.rule, direction_of(settings.goals)
    shown = power(rule, noise, case.wanted, runs=case.runs)
    needed = (
        pairs_needed(rule, noise, case.wanted, runs=case.runs) if settings.mei_log > 0 else None
    )
    pair_s, after = 2 * case.window_s, settings.after_pairs
    return Resolution(
        gain=change_of(case.wanted, direction),
        power=shown.promoted,
        power_as_measured=power(rule, case.measured, case.wanted, runs=case.runs).promoted,
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


def _unresolved(case: _Case, proof: Resolution) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(what can't be resolved, what would help); both empty when it can."""
    settings, rule = case.settings, case.settings.rule
    if settings.mei_log > 0 and proof.power >= TARGET:
        return (), ()
    if settings.mei_log <= 0 and case.smallest is not None:
        return (), ()  # no effect is too small to be of interest: nothing to measure up to
    problem = (
        f"a gain of {proof.gain:.2%} would be shown in {proof.power:.1%} of proofs of "
        f"{counted(rule.max_pairs, 'pair')} (wanted: {TARGET:.0%})"
    )
    if case.smallest is not None:
        return (problem,), tuple(_helps(case, proof, case.smallest))
    wider = tuple(_margins_that_help(case))
    named = f"the noise of {', '.join(item.metric for item in wider)}" if wider else "so few pairs"
    helps = tuple(item.text for item in wider)
    alone = dataclasses.replace(rule, margins={})
    by_itself = smallest_gain(alone, case.at_most, runs=case.runs)
    if by_itself is not None and by_itself > case.wanted > rule.minimum_gain:
        helps += tuple(_helps(case, proof, by_itself))
    else:
        times = max((item.times for item in wider), default=1.0)
        helps += (_longer_windows(case, math.ceil(times**2)),) if times > 1 else ()
        helps += (_more_pairs(proof),) if settings.mei_log > 0 else ()
    return (f"{problem}; no gain would, because of {named}",), helps


@dataclass(frozen=True)
class _Wider:
    """A margin that could be shown, `times` the one that is asked for."""

    metric: str
    times: float
    text: str


def _margins_that_help(case: _Case) -> Iterator[_Wider]:
    """For each constraint that can't be shown. A margin is shown like a gain of its size: by the
    same tests at the same level, each often enough that all are in 80 % of proofs."""
    alone = dataclasses.replace(case.settings.rule, margins={}, minimum_gain=0.0)
    limits = [limit for limit in case.settings.goals.limits if limit.margin is not None]
    each = TARGET ** (1 / max(1, len(limits)))
    for limit in limits:
        sd = case.at_most.worsening_sd[limit.metric]
        needed = smallest_gain(alone, Noise(sd), target=each, runs=case.runs)
        if needed is None or limit.margin is None or needed <= limit.margin:
            continue
        share, now = (-change_of(-log, limit.direction) for log in (needed, limit.margin))
        yield _Wider(
            limit.metric,
            needed / limit.margin,
            f"a larger margin: {{metric: {limit.metric}, worse_by_at_most: "
            f"{math.ceil(share * 100)}%}} (now {now:.1%})",
        )


def _helps(case: _Case, proof: Resolution, smallest: float) -> Iterator[str]:
    """What would make the gain resolvable, each by itself."""
    settings, rule, sd = case.settings, case.settings.rule, case.at_most.sd
    if proof.power_as_measured >= TARGET:
        yield (
            f"more pairs of calibration (--pairs {4 * case.pairs}): the noise as measured would "
            f"do, but {case.pairs} pairs don't know it well enough"
        )
    yield _more_pairs(proof)
    too_noisy = (smallest - rule.minimum_gain) / settings.mei_log
    yield _longer_windows(case, math.ceil(too_noisy**2))
    mei = change_of(smallest - rule.minimum_gain, direction_of(settings.goals))
    yield f"a larger promotion: {{mei: {math.ceil(mei * 1000) / 10:g}%}}"
    yield (
        f"less noise: a pair sd of at most {sd / too_noisy:.2%} (now up to {sd:.2%}): what else "
        "runs on this machine?"
    )


def _more_pairs(proof: Resolution) -> str:
    if proof.pairs_needed is None:
        return f"more pairs would not do: over {MOST_PAIRS} are needed"
    return f"more pairs: promotion: {{pairs: {{max: {proof.pairs_needed}}}}}"


def _longer_windows(case: _Case, times: int) -> str:
    """How long a window should be, and what speaks for it."""
    if times > _LONGEST:
        return f"hardly longer windows: about {times} times as long they would have to be"
    work = case.settings.window.measure
    said = f"windows about {times} times as long (now {case.window_s:.3g} s"
    said += f"; `measure: {{count: {times * work.count}, unit: {work.unit}}}`)" if work else ")"
    found = case.averaging
    if found is None:
        return f"{said}, as far as the noise averages out within a window"
    seen = f"{found.ratio:.2f} [{found.low:.2f}, {found.high:.2f}]"
    if found.low > _WHITE:
        return (
            f"hardly longer windows: two averaged vary {seen} times as much as one, not 0.71: the "
            "noise lasts longer than a window"
        )
    if found.high < 1:
        return f"{said}: two averaged vary only {seen} times as much as one"
    return (
        f"{said}, if the noise averages out: two averaged vary {seen} times as much as one (0.71: "
        f"it does, 1: it doesn't), which {found.pairs} pairs can't tell apart"
    )


def _remarks(
    order: Effect, left: Switching, wait: Waiting, gains: Sequence[float]
) -> Iterator[str]:
    if order.found:
        yield (
            "the second window of a pair differs from the first: a longer `warm_up:` or `settle:` "
            "would make pairs less noisy (the coin keeps the proof right)"
        )
    if left.carry_over is not None and left.carry_over.found:
        yield (
            "a candidate leaves something behind for the next baseline window: let each window "
            "reset it (`reset:`), or the gain reads too small"
        )
    if left.warm_up is not None and left.warm_up.found:
        yield "the window after a switch differs from the next: too short `settle:` or `warm_up:`"
    if wait.settle_s > wait.settle_now_s:
        yield f"{'' if wait.enough else 'at least '}{waiting_text(wait)} would let it pass"
    if len(set(gains)) == 1:
        yield "the metric does not vary between windows: is it coarse, or not measured at all?"


def waiting_text(wait: Waiting) -> str:
    """The settings that a profile would say."""
    said = f"`settle: {wait.settle_s:g}s`"
    if wait.warm_up is not None:
        said += f" or `warm_up: {{count: {wait.warm_up}, unit: {wait.unit}}}`"
    return said

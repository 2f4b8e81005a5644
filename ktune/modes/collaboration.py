"""Collaboration: half the windows baseline, half the finalist, in coin-ordered fresh pairs.

Nothing of the search enters: the decision sees pairs measured here and only these. After a
positive decision a fixed number of further pairs gives the reported gain.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from ktune.errors import ExitCode, KtuneError
from ktune.evidence.coin import Order, toss
from ktune.evidence.decide import Decision, Outcome, Rule, decide
from ktune.evidence.pairs import Arm, Direction, PairResult, PairState, change_of
from ktune.evidence.sequence import EVERYTHING, median_sequence
from ktune.kernel.tunable import Assignment
from ktune.measure.window import Validity
from ktune.modes.bench import Bench, Measured, Turn
from ktune.modes.events import GuardrailCrossed
from ktune.modes.kernel_pairs import KernelPairs
from ktune.modes.modes import ModeKeeper
from ktune.modes.scoring import Goals
from ktune.records.gains import range_text
from ktune.records.types import Phase
from ktune.report.progress import Observer, PairDone, PhaseStarted

_MAX_VOID = 30
"""So many void pairs in one phase: the machine is too disturbed to prove anything."""


DRAWS_OF_A_FINALIST = 10_000
"""Finalist n takes the tosses from n times this number on, so that each toss is used once."""


class FinalistChanged(KtuneError):
    """A knob of the finalist was taken over by somebody else: what is measured is not it."""

    exit_code = ExitCode.DRIFT


class TooDisturbed(KtuneError):
    """Pair after pair is voided from outside."""


@dataclass
class Collaboration:
    """One finalist against the baseline."""

    bench: Bench
    goals: Goals
    rule: Rule
    seed: int
    finalist: Assignment
    after_pairs: int
    keeper: ModeKeeper
    observe: Observer
    kernel: KernelPairs | None = None
    first_draw: int = 0
    decision_pairs: list[PairResult] = field(default_factory=list)
    further_pairs: list[PairResult] = field(default_factory=list)

    def decide(self) -> Decision:
        """Measure pairs until the rule has an outcome. Pairs already there (resume) count."""
        self.observe(
            PhaseStarted(Phase.DECISION, "finalist against baseline", self.rule.max_pairs, "pairs")
        )
        decision = decide(self.decision_pairs, self.rule)
        while decision.outcome is Outcome.CONTINUE:
            left = self.rule.max_pairs - _counted(self.decision_pairs)
            pair = self._measure_pair(Phase.DECISION, self.decision_pairs, left)
            decision = decide(self.decision_pairs, self.rule)
            summary = f"E {decision.e_value:.3g} of {decision.threshold:.3g}{self._standing()}"
            self._tell(Phase.DECISION, pair, decision.pairs, self.rule.max_pairs, summary)
        self._end_schedule()
        return decision

    def measure_gain(self) -> Sequence[PairResult]:
        """The fixed number of pairs after the decision."""
        self.observe(
            PhaseStarted(Phase.AFTER, "pairs after the decision", self.after_pairs, "pairs")
        )
        while (counted := _counted(self.further_pairs)) < self.after_pairs:
            left = self.after_pairs - counted
            pair = self._measure_pair(Phase.AFTER, self.further_pairs, left)
            self._tell(Phase.AFTER, pair, counted + 1, self.after_pairs, "")
        self._end_schedule()
        return self.further_pairs

    def _measure_pair(self, phase: Phase, pairs: list[PairResult], left: int) -> PairResult:
        """Toss, measure both windows in that order, judge, keep. `left`: so many may be needed."""
        draw = self.first_draw + len(pairs)
        order = toss(self.seed, phase.value, draw)
        turns = self._turns(phase, draw, left)
        arms = [Arm.BASELINE, Arm.CANDIDATE]
        if order is Order.CANDIDATE_FIRST:
            arms.reverse()
        seen: dict[Arm, Measured] = {}
        for arm, turn in zip(arms, turns, strict=True):
            assignment = self.bench.baseline if arm is Arm.BASELINE else self.finalist
            seen[arm] = self.bench.measure(assignment, phase=phase, arm=arm, pair=draw, turn=turn)
            if not seen[arm].valid:
                self._end_schedule()
            self._check_finalist()
            if seen[arm].tripped:
                self.keeper.handle(GuardrailCrossed(seen[arm].reason))
            if not seen[arm].valid:
                break
        pair = pair_of(draw, order, seen, self.goals)
        pairs.append(pair)
        if sum(item.state is PairState.VOID for item in pairs) > _MAX_VOID:
            raise TooDisturbed(
                f"{_MAX_VOID} pairs were voided from outside, the last one: {pair.reason}",
                hint=self.bench.unfair.advice
                or "what else runs on this machine? `ktune report` shows the reasons",
            )
        return pair

    def _turns(self, phase: Phase, draw: int, left: int) -> tuple[Turn | None, Turn | None]:
        """The kernel's slots for this pair; without them ktune switches by itself."""
        if self.kernel is None:
            return None, None
        tosses = (toss(self.seed, phase.value, number) for number in range(draw, draw + left))
        slots = self.kernel.slots(
            self.finalist, draw, [order is Order.CANDIDATE_FIRST for order in tosses]
        )
        self._check_finalist()
        return slots or (None, None)

    def _end_schedule(self) -> None:
        if self.kernel is not None:
            self.kernel.end()

    def _standing(self) -> str:
        """Where the effect stands, valid at every look; nothing while it is not bounded at all."""
        counted = [pair for pair in self.decision_pairs if pair.state is not PairState.VOID]
        gains = [-math.inf if pair.gain is None else pair.gain for pair in counted]
        span = median_sequence(gains)[-1] if gains else EVERYTHING
        if math.isinf(span.low) and math.isinf(span.high):
            return ""
        direction = self.goals.direction
        low, high = (
            end if math.isinf(end) else change_of(end, direction or Direction.MAXIMIZE)
            for end in (span.low, span.high)
        )
        return f", so far the effect lies in {range_text(low, high, direction)}"

    def _check_finalist(self) -> None:
        mine = {key for key, value in self.finalist.items() if self.bench.baseline[key] != value}
        taken = mine & self.bench.dropped
        if taken:
            raise FinalistChanged(
                f"{', '.join(sorted(taken))} of the finalist was changed by somebody else or "
                "vanished: nothing can be proven about it"
            )

    def _tell(self, phase: Phase, pair: PairResult, number: int, total: int, summary: str) -> None:
        text = summary if pair.state is PairState.MEASURED else f"{pair.state}: {pair.reason}"
        self.observe(PairDone(phase, number, total, pair.gain, text, self.goals.direction))


def pair_of(draw: int, order: Order, seen: dict[Arm, Measured], goals: Goals) -> PairResult:
    """Judge the windows of one pair (a window may be missing when the first was not valid).

    The baseline's failure voids the pair; the candidate's is a loss for it, and so is a bound of
    the profile that it breaks.
    """
    for arm in (Arm.BASELINE, Arm.CANDIDATE):
        measured = seen.get(arm)
        if measured is None or measured.valid:
            continue
        if arm is Arm.CANDIDATE and measured.validity is Validity.CANDIDATE_FAILED:
            return PairResult(draw, order, PairState.LOST, reason=measured.reason)
        return PairResult(draw, order, PairState.VOID, void_arm=arm, reason=measured.reason)
    if len(seen) < len(Arm):
        return PairResult(draw, order, PairState.VOID, reason="interrupted between its windows")
    baseline, candidate = seen[Arm.BASELINE].metrics, seen[Arm.CANDIDATE].metrics
    broken = goals.violations(candidate)
    if broken:
        return PairResult(draw, order, PairState.LOST, reason="; ".join(broken))
    return PairResult(
        draw,
        order,
        PairState.MEASURED,
        gain=goals.gain(baseline, candidate),
        worsening=goals.worsening(baseline, candidate),
    )


def _counted(pairs: Sequence[PairResult]) -> int:
    return sum(pair.state is not PairState.VOID for pair in pairs)

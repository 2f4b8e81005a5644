"""Calibration: the baseline against itself, and a candidate to see what a switch leaves behind.

Pairs of the baseline in the order of a coin; between two pairs a block B-B-A (B: a candidate, an
expert setting or a knob moved to its limit; A: the baseline). `modes.switching` says what the
blocks tell. Without a candidate there are pairs only: the short form before a search.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ktune.errors import KtuneError
from ktune.evidence.coin import Order, not_of_the_coin, toss
from ktune.evidence.pairs import Arm, PairResult, PairState
from ktune.kernel.tunable import Assignment
from ktune.kernel.values import Value
from ktune.measure.window import Validity
from ktune.modes.bench import Bench, Disturbed, Measured
from ktune.modes.collaboration import TooDisturbed, pair_of
from ktune.modes.events import GuardrailCrossed
from ktune.modes.machine import Conduct, Mode, State
from ktune.modes.modes import ModeKeeper
from ktune.modes.prepare import differing
from ktune.modes.resume import pairs_of
from ktune.modes.settings import Settings
from ktune.modes.switching import BLOCK
from ktune.profile.plan import Plan
from ktune.profile.space import DimensionKind
from ktune.records.transitions import append_transition
from ktune.records.types import Phase, WindowRecord
from ktune.report.live import assignment_text
from ktune.report.progress import Note, Observer, PairDone, PhaseStarted

_MAX_VOID = 30
_MAX_FAILED = 3


@dataclass
class Calibration:
    """Measures on a bench that stands; `pairs` grows meanwhile. `blocks`: how many there were."""

    bench: Bench
    settings: Settings
    candidate: Assignment
    keeper: ModeKeeper
    observe: Observer
    pairs: list[PairResult] = field(default_factory=list)
    blocks: int = 0

    def measure(self, count: int, enough: Callable[[int], bool] = lambda _: False) -> None:
        """Go on until `count` pairs are measured, or `enough` of them are.

        Raises:
            Disturbed, TooDisturbed, Emergency, LeaseLost: there is no answer.
        """
        detail = "the baseline against itself"
        if self.candidate:
            detail += f", switching to {assignment_text(self.candidate)} and back between"
        self.observe(PhaseStarted(Phase.CALIBRATION, detail, count, "pairs"))
        fresh = True
        while (counted := self.counted) < count and not enough(counted):
            if self.candidate and not fresh:
                self._measure_block()
            while self.counted == counted:
                self._measure_pair(count)
            fresh = False
        wrong = not_of_the_coin(self.settings.seed, Phase.CALIBRATION.value, self.pairs)
        if wrong:
            raise KtuneError(f"pairs {wrong} did not run in the order of their coin")

    @property
    def counted(self) -> int:
        """Pairs that were measured."""
        return sum(pair.state is PairState.MEASURED for pair in self.pairs)

    @property
    def records(self) -> list[WindowRecord]:
        """The windows of this calibration, of those that the study holds."""
        return calibration_windows(self.bench.study.windows().records)

    def _measure_pair(self, total: int) -> None:
        draw = len(self.pairs)
        order = toss(self.settings.seed, Phase.CALIBRATION.value, draw)
        arms = [Arm.BASELINE, Arm.CANDIDATE]
        if order is Order.CANDIDATE_FIRST:
            arms.reverse()
        seen: dict[Arm, Measured] = {}
        for arm in arms:
            seen[arm] = self._measure(self.bench.baseline, Phase.CALIBRATION, arm, draw)
            if not seen[arm].valid:
                break
        pair = pair_of(draw, order, seen, self.settings.goals)
        self.pairs.append(pair)
        if pair.state is PairState.MEASURED:
            direction = self.settings.goals.direction
            self.observe(PairDone(Phase.CALIBRATION, self.counted, total, pair.gain, "", direction))
            return
        self.observe(Note(f"pair {draw} is {pair.state}: {pair.reason}"))
        failed = [m for m in seen.values() if m.validity is Validity.CANDIDATE_FAILED]
        lost = sum(item.state is PairState.LOST for item in self.pairs)
        if lost > _MAX_FAILED or (failed and draw == 0 and not failed[0].tripped):
            raise Disturbed(
                f"the workload fails under the baseline itself: {pair.reason}",
                hint="run the workload's command by hand; see `workload:` in the profile",
            )
        if len(self.pairs) - self.counted > _MAX_VOID:
            raise TooDisturbed(
                f"{_MAX_VOID} pairs could not be measured, the last one: {pair.reason}",
                hint=self.bench.unfair.advice or "what else runs on this machine?",
            )

    def _measure_block(self) -> None:
        """B-B-A; cut short where a window is not valid."""
        number, self.blocks = self.blocks, self.blocks + 1
        for arm in BLOCK:
            assignment = self.candidate if arm is Arm.CANDIDATE else self.bench.baseline
            measured = self._measure(assignment, Phase.SWITCHING, arm, number)
            if not measured.valid:
                self.observe(
                    Note(f"switching: {arm} window {measured.validity}: {measured.reason}")
                )
                return

    def _measure(self, assignment: Assignment, phase: Phase, arm: Arm, pair: int) -> Measured:
        measured = self.bench.measure(assignment, phase=phase, arm=arm, pair=pair)
        if measured.tripped:
            self.keeper.handle(GuardrailCrossed(measured.reason))
        return measured


def candidate_of(plan: Plan) -> Assignment:
    """What B changes: the first expert setting that changes something, else one searched knob
    moved to the limit farther from its baseline. Empty where no such thing is feasible, and for a
    service that runs: its users would pay for the jump."""
    workload = plan.profile.workload
    if workload is not None and workload.attach is not None:
        return {}
    for expert in plan.expert:
        changed = _changes(plan, expert)
        if changed:
            return changed
    for dimension in plan.dimensions:
        values: Sequence[Value] = dimension.choices
        if dimension.kind is not DimensionKind.CHOICE:
            now = plan.baseline[dimension.key]
            if isinstance(now, tuple) and dimension.element is not None:
                now = now[dimension.element]
            middle = (dimension.low + dimension.high) / 2
            low_side = isinstance(now, int) and now <= middle
            values = (
                (dimension.high, dimension.low) if low_side else (dimension.low, dimension.high)
            )
        for value in values:
            moved = plan.assignment({dimension.name: value})
            if plan.feasible(moved) and _changes(plan, moved):
                return _changes(plan, moved)
    return {}


def _changes(plan: Plan, assignment: Assignment) -> Assignment:
    return {key: assignment[key] for key in differing(assignment, plan.baseline)}


def calibration_windows(records: Sequence[WindowRecord]) -> list[WindowRecord]:
    """Those that were measured for a calibration."""
    return [row for row in records if row.phase in (Phase.CALIBRATION, Phase.SWITCHING)]


def calibration_on(
    bench: Bench, settings: Settings, *, candidate: Assignment, observe: Observer
) -> Calibration:
    """A calibration on a bench, going on with what its study holds already; a guardrail counts as
    it does in `tune`."""
    keeper = ModeKeeper(
        State(Mode.LEARNING, "calibration", conduct=Conduct(max_trips=settings.max_trips)),
        bench.rest,
        lambda before, event, after: append_transition(
            bench.study.folder,
            before=before.mode.value,
            after=after.mode.value,
            event=type(event).__name__,
            reason=after.reason,
            trips=after.trips,
        ),
        observe,
    )
    records = bench.study.windows().records
    return Calibration(
        bench,
        settings,
        candidate,
        keeper,
        observe,
        pairs=pairs_of(records, Phase.CALIBRATION, settings.goals),
        blocks=len({row.pair for row in records if row.phase is Phase.SWITCHING}),
    )

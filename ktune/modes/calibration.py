"""Calibration: the baseline against itself, and a candidate to see what a switch leaves behind.

One group is a block A-B-B-A (A: baseline, B: an expert setting or a knob moved to its limit), then
two pairs of the baseline against itself in the order of a coin. Blocks and pairs alternate, so
that slow drift hits both alike.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ktune.errors import KtuneError
from ktune.evidence.coin import Order, not_of_the_coin, toss
from ktune.evidence.pairs import PairResult, PairState
from ktune.evidence.power import RUNS
from ktune.evidence.readiness import MINIMUM_PAIRS
from ktune.kernel.tunable import Assignment
from ktune.kernel.values import Value
from ktune.measure.window import Validity
from ktune.modes.bench import Bench, Disturbed, Measured
from ktune.modes.collaboration import TooDisturbed, pair_of
from ktune.modes.machine import Conduct, GuardrailCrossed, Mode, State
from ktune.modes.modes import ModeKeeper
from ktune.modes.prepare import (
    check_baseline,
    differing,
    end_quietly,
    manifest_of,
    prepare_plan,
    restored_text,
)
from ktune.modes.readiness import Readiness, judge
from ktune.modes.settings import Overrides, Settings, guardrails_of, settings_of
from ktune.modes.stage import stage
from ktune.profile.load import load_profile
from ktune.profile.locate import profile_argument
from ktune.profile.plan import Plan
from ktune.profile.space import DimensionKind
from ktune.proxy.client import Lease, LeaseRequest
from ktune.proxy.model import ForeignWrite
from ktune.records import atomic, history
from ktune.records.codec import encode
from ktune.records.paths import StatePaths
from ktune.records.study import Study
from ktune.records.transitions import append_transition
from ktune.records.types import Arm, Phase, StudyStatus
from ktune.report.live import assignment_text
from ktune.report.progress import Note, Observer, PairDone, PhaseStarted

RESULT = "readiness.json"
PAIRS_OF_A_GROUP = 2
_MAX_VOID = 30
_MAX_FAILED = 3


@dataclass(frozen=True)
class CalibrationResult:
    """What was found, and where it is on record."""

    study: Study
    readiness: Readiness
    plan: Plan
    candidate: Assignment
    """What B changed; empty when nothing could be changed."""
    foreign: Sequence[ForeignWrite] = ()
    unrestored: Sequence[str] = ()


@dataclass
class Calibration:
    """Measures on a bench that stands; `pairs` grows meanwhile. `runs`: simulated proofs a
    question."""

    bench: Bench
    settings: Settings
    count: int
    candidate: Assignment
    keeper: ModeKeeper
    observe: Observer
    runs: int = RUNS
    pairs: list[PairResult] = field(default_factory=list)

    def run(self) -> Readiness:
        """Measure, then judge.

        Raises:
            Disturbed, TooDisturbed, Emergency, LeaseLost: there is no answer.
        """
        detail = "the baseline against itself"
        if self.candidate:
            detail += f", switching to {assignment_text(self.candidate)} and back between"
        self.observe(PhaseStarted(Phase.CALIBRATION, detail, self.count, "pairs"))
        while (counted := self._counted()) < self.count:
            if self.candidate and counted % PAIRS_OF_A_GROUP == 0:
                self._measure_block(counted // PAIRS_OF_A_GROUP)
            while self._counted() == counted:
                self._measure_pair()
        wrong = not_of_the_coin(self.settings.seed, Phase.CALIBRATION.value, self.pairs)
        if wrong:
            raise KtuneError(f"pairs {wrong} did not run in the order of their coin")
        records = self.bench.study.windows().records
        return judge(self.pairs, records, self.settings, runs=self.runs)

    def _counted(self) -> int:
        return sum(pair.state is PairState.MEASURED for pair in self.pairs)

    def _measure_pair(self) -> None:
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
            self.observe(PairDone(Phase.CALIBRATION, self._counted(), self.count, pair.gain, ""))
            return
        self.observe(Note(f"pair {draw} is {pair.state}: {pair.reason}"))
        failed = [m for m in seen.values() if m.validity is Validity.CANDIDATE_FAILED]
        lost = sum(item.state is PairState.LOST for item in self.pairs)
        if lost > _MAX_FAILED or (failed and draw == 0 and not failed[0].tripped):
            raise Disturbed(
                f"the workload fails under the baseline itself: {pair.reason}",
                hint="run the workload's command by hand; see `workload:` in the profile",
            )
        if len(self.pairs) - self._counted() > _MAX_VOID:
            raise TooDisturbed(
                f"{_MAX_VOID} pairs could not be measured, the last one: {pair.reason}",
                hint="what else runs on this machine?",
            )

    def _measure_block(self, number: int) -> None:
        """A-B-B-A; cut short where a window is not valid."""
        for arm in (Arm.BASELINE, Arm.CANDIDATE, Arm.CANDIDATE, Arm.BASELINE):
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
    moved to the limit farther from its baseline. Empty where no such thing is feasible."""
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


def calibration_on(
    bench: Bench, plan: Plan, settings: Settings, *, count: int, observe: Observer
) -> Calibration:
    """A calibration on a bench; a guardrail counts as it does in `tune`."""
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
    return Calibration(bench, settings, count, candidate_of(plan), keeper, observe)


def calibrate_profile(
    argument: str,
    paths: StatePaths,
    observe: Observer,
    *,
    pairs: int = MINIMUM_PAIRS,
    seed: int | None = None,
    coexist: bool = False,
) -> CalibrationResult:
    """Calibrate by a profile (a path or a shipped name). Raises KtuneError."""
    profile = load_profile(profile_argument(argument), state_dir=str(paths.state))
    plan = prepare_plan(profile, paths, observe, coexist=coexist)
    settings = settings_of(profile, Overrides(seed=seed), drawn_seed=secrets.randbelow(2**31))
    study = Study.create(paths, manifest_of(plan, settings, argument), under=paths.calibrations)
    observe(Note(f"calibration {study.id}, seed {settings.seed}"))
    request = LeaseRequest(study.id, f"calibrate {profile.name}", str(history.actor()))
    lease: Lease | None = None
    try:
        with stage(plan, paths, request, command="calibrate") as standing:
            lease = standing.lease
            check_baseline(plan, standing)
            bench = Bench(
                lease=lease,
                source=standing.source,
                study=study,
                guardrails=guardrails_of(profile),
                baseline=dict(plan.baseline),
                settle_s={knob.key: knob.entry.settle_s for knob in (*plan.knobs, *plan.fixed)},
                observe=observe,
            )
            calibration = calibration_on(bench, plan, settings, count=pairs, observe=observe)
            readiness = calibration.run()
            restored = lease.release()
    except KeyboardInterrupt as interrupt:
        end_quietly(study, StudyStatus.INTERRUPTED, str(interrupt) or "Ctrl-C")
        observe(Note(f"interrupted: {restored_text(lease)}"))
        raise
    except KtuneError as error:
        if not study.discard():
            end_quietly(study, StudyStatus.FAILED, error.message)
        raise
    except BaseException as error:
        end_quietly(study, StudyStatus.FAILED, f"{type(error).__name__}: {error}")
        raise
    write_result(study, readiness, calibration.candidate)
    end_quietly(study, StudyStatus.FINISHED, "ready" if readiness.ready else readiness.problems[0])
    told = {item.key for item in bench.foreign}
    return CalibrationResult(
        study,
        readiness,
        plan,
        calibration.candidate,
        [*bench.foreign, *(item for item in restored.foreign if item.key not in told)],
        [item.key for item in restored.failed],
    )


def result_json(readiness: Readiness, candidate: Mapping[str, Value]) -> dict[str, object]:
    """Plain data for records and `--json`."""
    data: dict[str, object] = encode(readiness)
    return {**data, "switched_to": encode(candidate)}


def write_result(study: Study, readiness: Readiness, candidate: Mapping[str, Value]) -> None:
    """Put the answer beside its windows. Raises KtuneError."""
    data = result_json(readiness, candidate)
    json.dumps(data, allow_nan=False)
    try:
        atomic.write_json(study.folder / RESULT, data)
    except OSError as error:
        raise KtuneError(f"the calibration can't be written: {error.strerror}") from error

"""One tuning run from search to proof: learning -> finalists -> collaboration -> verdict.

Works on a stage that stands; knows nothing of terminals. The promise: what it calls improved is
decided by pairs that the search never saw, and the gain by pairs that the decision never saw.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from ktune.errors import KtuneError
from ktune.evidence.coin import not_of_the_coin
from ktune.evidence.decide import Outcome, Rule
from ktune.evidence.estimate import Bound, Estimate, estimate_gain
from ktune.evidence.pairs import Direction, PairResult, change_of
from ktune.evidence.verdict import Verdict, verdict
from ktune.kernel.namespaces import NamespaceRef
from ktune.kernel.tunable import Assignment
from ktune.kernel.values import Value
from ktune.measure.guardrails.levels import with_levels
from ktune.measure.window import WindowSource
from ktune.modes.bench import Bench
from ktune.modes.collaboration import DRAWS_OF_A_FINALIST, Collaboration
from ktune.modes.events import Confirmed, Event, SearchEnded, Started
from ktune.modes.kernel_pairs import KernelPairs, fixed_window_s, why_not
from ktune.modes.learning import Learning
from ktune.modes.machine import Conduct, State
from ktune.modes.modes import ModeKeeper
from ktune.modes.opening import until_closed
from ktune.modes.pareto import finalists_of, front_record, picked, refuse_other
from ktune.modes.proof import (
    bounds,
    constraint_records,
    counts,
    direction_of,
    gain_record,
    objective_records,
    rule_record,
    switching_record,
)
from ktune.modes.resume import Progressed, progress_of
from ktune.modes.search_setup import SearchSetup
from ktune.modes.settings import Settings, guardrails_of
from ktune.modes.simplify import Simplifier
from ktune.profile.plan import Plan
from ktune.proxy.client import Lease
from ktune.proxy.model import ForeignWrite
from ktune.records import clock
from ktune.records.finalists import Finalists, fix_finalists, read_finalists
from ktune.records.front import write_front
from ktune.records.study import Study
from ktune.records.transitions import append_transition
from ktune.records.types import (
    ObjectiveRecord,
    PairCounts,
    Phase,
    Proof,
    ProofOutcome,
    StudyStatus,
    WindowRecord,
)
from ktune.report.progress import Note, Observer
from ktune.search.trials import AssignmentKey, Ranked, key_of

_BEFORE_PAIRS = (Phase.LEARNING, Phase.FINALISTS)


@dataclass(frozen=True)
class TuningResult:
    """How a run ended. `proof` is None after a search without confirmation."""

    proof: Proof | None
    foreign: tuple[ForeignWrite, ...]
    stopped_because: str

    @property
    def outcome(self) -> str:
        """`improved`, `no_improvement_found` or `unconfirmed`."""
        return self.proof.outcome.value if self.proof else "unconfirmed"


class Tuning:
    """One run of one study. Make it, `run()` it; `best()` at any time, also after an interrupt."""

    def __init__(
        self,
        plan: Plan,
        study: Study,
        settings: Settings,
        *,
        lease: Lease,
        source: WindowSource,
        observe: Observer,
        search_only: bool = False,
        picks: Sequence[int] = (),
        namespace: NamespaceRef | None = None,
    ) -> None:
        """`picks`: trials of the finished search to confirm instead of its best."""
        self._search_only = search_only
        self._picks = picks
        self._plan = plan
        self._study = study
        self._settings = settings
        self._observe = observe
        self._earlier: Progressed = progress_of(study.windows().records, settings)
        self.bench = Bench(
            lease=lease,
            source=source,
            study=study,
            guardrails=with_levels(guardrails_of(plan.profile, namespace), plan.profile, source),
            baseline=dict(plan.baseline),
            settle_s={knob.key: knob.entry.settle_s for knob in (*plan.knobs, *plan.fixed)},
            observe=observe,
            sequence=self._earlier.next_sequence,
            live=_is_live(plan),
            allowed=until_closed(plan.profile.safety),
        )
        self.keeper = ModeKeeper(
            State(conduct=Conduct(max_trips=settings.max_trips)),
            self.bench.rest,
            self._log,
            observe,
        )
        self._kernel = KernelPairs(
            self.bench,
            fixed_window_s(plan.profile.workload) or 0.0,
            self.bench.settle_s,
            why_not(lease.standing, fixed_window_s(plan.profile.workload)),
        )
        self._learning: Learning | None = None

    def run(self) -> TuningResult:
        """Search and confirm; the proof is in the study when this returns.

        Raises:
            Emergency, LeaseLost, KtuneError: the run could not finish.
        """
        with ExitStack() as stack:
            stack.callback(self.bench.guardrails.close)
            learning = Learning(
                self.bench,
                SearchSetup(self._plan, self._study, self._settings, self._observe),
                self._settings,
                self.keeper,
                self._observe,
                used_s=self._earlier.learning_s,
                windows_before=self._earlier.windows_before_search,
                tried=list(self._earlier.tried),
            )
            stack.callback(learning.close)
            self._learning = learning
            self.keeper.handle(Started())
            finalists = self._fixed_finalists(learning)
            if finalists is None:
                if self._search_only or self._settings.pareto:
                    return self._unconfirmed(learning)
                finalists = self._finalists(learning)
            self.keeper.handle(SearchEnded(len(finalists.assignments), finalists.why))
            self._observe(Note(f"pairs are {self._kernel.text}"))
            proof = self._confirm(finalists)
        self.keeper.handle(Confirmed(proof.outcome is ProofOutcome.IMPROVED, proof.reason))
        sealed = self._study.write_proof(proof)
        return TuningResult(sealed, tuple(self.bench.foreign), finalists.why)

    @property
    def direction(self) -> Direction | None:
        """Which way the one objective is better; None for several."""
        return self._settings.goals.direction

    def best(self) -> Ranked | None:
        """The best so far, unconfirmed; None before the first promising trial."""
        return self._learning.best() if self._learning else None

    def _unconfirmed(self, learning: Learning) -> TuningResult:
        stop = learning.run()
        self.keeper.handle(SearchEnded(0, stop.text))
        if self._settings.pareto:
            found = front_record(learning.search.ranked(), self._settings.goals, stop.text)
            write_front(self._study.folder, found)
        self._study.end(StudyStatus.FINISHED, stop.text)
        return TuningResult(None, tuple(self.bench.foreign), stop.text)

    def _fixed_finalists(self, learning: Learning) -> Finalists | None:
        """Those that an earlier run had fixed, or that were picked by hand."""
        fixed = read_finalists(self._study.folder)
        if not self._picks:
            return fixed
        picks = picked(self._picks, self._study.windows().records, self._plan.baseline)
        refuse_other(fixed, picks)
        return fixed or fix_finalists(self._study.folder, finalists_of(picks, learning.search.rows))

    def _finalists(self, learning: Learning) -> Finalists:
        """The search's best, fixed on disk before the first pair."""
        stop = learning.run()
        self._observe(Note(f"search ended: {stop.text}"))
        found = learning.finalists()[: self._settings.rule.finalists]
        chosen: dict[AssignmentKey, tuple[Assignment, float]] = {}
        for item in found:
            assignment = self._simplified(item.assignment)
            chosen.setdefault(key_of(assignment), (assignment, item.score))
        return fix_finalists(
            self._study.folder,
            Finalists(
                tuple(assignment for assignment, _ in chosen.values()),
                stop.text,
                tuple(score for _, score in chosen.values()),
            ),
        )

    def _simplified(self, assignment: Assignment) -> Assignment:
        if not self._settings.simplify:
            return self.bench.complete(assignment)
        simplifier = Simplifier(
            self.bench, self._settings, self.keeper, self._observe, self._plan.feasible
        )
        return self.bench.project(simplifier.run(assignment))

    def _confirm(self, finalists: Finalists) -> Proof:
        """Each finalist in turn, at its share of alpha, until one is proven."""
        proof = self._nothing(finalists.why)
        for number in range(len(finalists.assignments)):
            proof = self._confirm_one(finalists, number)
            if proof.outcome is ProofOutcome.IMPROVED:
                break
        return proof

    def _confirm_one(self, finalists: Finalists, number: int) -> Proof:
        complete = self.bench.project(finalists.assignments[number])
        rule, goals = self._rule_for(finalists), self._settings.goals
        collaboration = Collaboration(
            bench=self.bench,
            goals=goals,
            rule=rule,
            seed=self._settings.seed,
            finalist=complete,
            after_pairs=self._settings.after_pairs,
            keeper=self.keeper,
            observe=self._observe,
            kernel=self._kernel,
            first_draw=number * DRAWS_OF_A_FINALIST,
            decision_pairs=list(self._earlier.decision_pairs.get(number, ())),
            further_pairs=list(self._earlier.further_pairs.get(number, ())),
        )
        decision = collaboration.decide()
        self._audit(Phase.DECISION, collaboration.decision_pairs)
        estimate: Estimate | None = None
        limits: tuple[Bound, ...] = ()
        objectives: tuple[ObjectiveRecord, ...] = ()
        judged = Verdict(False, decision.reason)
        if decision.outcome is Outcome.IMPROVED:
            pairs = collaboration.measure_gain()
            self._audit(Phase.AFTER, pairs)
            estimate = estimate_gain(pairs, self._direction)
            limits = bounds(pairs, goals, rule.level)
            objectives = objective_records(pairs, goals, limits)
            judged = verdict(decision, estimate, limits)
        return Proof(
            outcome=(
                ProofOutcome.IMPROVED if judged.improved else ProofOutcome.NO_IMPROVEMENT_FOUND
            ),
            assignment=complete,
            baseline=self.bench.complete({}),
            rule=rule_record(rule, decision),
            pairs=counts(decision, collaboration.decision_pairs, collaboration.further_pairs),
            gain=None if estimate is None else gain_record(estimate, goals),
            constraints=constraint_records(goals, limits),
            objectives=objectives,
            switching=switching_record(self._pairs_windows(number), self._kernel.why),
            others_wrote=self._others_wrote(),
            claimed_by_search=change_of(finalists.claimed[number], self._direction),
            decided_at=clock.now(),
            reason=judged.reason,
        )

    def _pairs_windows(self, number: int) -> list[WindowRecord]:
        """The windows of a finalist's pairs, also those of an earlier run of the study."""
        return [
            window
            for window in self._study.windows().records
            if window.phase in (Phase.DECISION, Phase.AFTER)
            and window.pair is not None
            and window.pair // DRAWS_OF_A_FINALIST == number
        ]

    def _rule_for(self, finalists: Finalists) -> Rule:
        """Trials picked by hand may be more than the profile's finalists: all share alpha. A run
        with a limited number of windows has its pairs from what the search has left, however the
        pairs turn out: the same after a resume."""
        rule, allotment = self._settings.rule, self._settings.allotment
        rule = replace(rule, finalists=max(rule.finalists, len(finalists.assignments)))
        if allotment is None:
            return rule
        before = sum(window.phase in _BEFORE_PAIRS for window in self._study.windows().records)
        return replace(rule, max_pairs=allotment.pairs_left(before))

    def _audit(self, phase: Phase, pairs: Sequence[PairResult]) -> None:
        """A proof over pairs whose order is not the coin's has an unknown error rate."""
        wrong = not_of_the_coin(self._settings.seed, phase.value, pairs)
        if wrong:
            raise KtuneError(f"pairs {wrong} did not run in the order of their coin: no proof")

    def _others_wrote(self) -> dict[str, Value]:
        return {item.key: item.found for item in self.bench.foreign if item.found is not None}

    def _nothing(self, why: str) -> Proof:
        return Proof(
            outcome=ProofOutcome.NO_IMPROVEMENT_FOUND,
            assignment=self.bench.complete({}),
            baseline=self.bench.complete({}),
            rule=rule_record(self._settings.rule, None),
            pairs=PairCounts(0, 0),
            decided_at=clock.now(),
            reason=f"no candidate of the search was better than the baseline ({why})",
        )

    @property
    def _direction(self) -> Direction:
        return direction_of(self._settings.goals)

    def _log(self, before: State, event: Event, after: State) -> None:
        append_transition(
            self._study.folder,
            before=before.mode.value,
            after=after.mode.value,
            event=type(event).__name__,
            reason=after.reason,
            trips=after.trips,
        )


def _is_live(plan: Plan) -> bool:
    """Whether the windows are over a service that people use."""
    workload = plan.profile.workload
    return workload is not None and workload.attach is not None

"""Learning: baseline, and candidates for one leased window at a time; then the best few again.

Everything here is unconfirmed by definition: the numbers choose who is tried in collaboration,
they are never the reported gain.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice, pairwise

from ktune.evidence.pairs import Arm
from ktune.kernel.tunable import Assignment
from ktune.kernel.wording import counted
from ktune.measure.window import Validity
from ktune.modes.bench import Bench, Disturbed, Measured
from ktune.modes.events import GuardrailCrossed
from ktune.modes.modes import ModeKeeper
from ktune.modes.screening import Screener
from ktune.modes.search_setup import SearchSetup
from ktune.modes.settings import Settings
from ktune.profile.estimate import WINDOWS_PER_KNOB
from ktune.records.types import Phase
from ktune.report.progress import BestSoFar, Note, Observer, PhaseStarted, WindowDone
from ktune.search.allotment import Allotment, believed_gain, window_sd
from ktune.search.baseline import BaselineWindow
from ktune.search.budget import TOP, fitted_rounds, next_again, spent
from ktune.search.finalists import Finished, Round, most_windows, next_step
from ktune.search.front import front
from ktune.search.pruning import is_behind
from ktune.search.regret import Tried, regret
from ktune.search.stopping import Stop, StopKind, StopRules, should_stop
from ktune.search.study import Search
from ktune.search.trials import (
    Candidate,
    InfeasibleTrial,
    Ranked,
    ScoredTrial,
    Told,
    VoidTrial,
    key_of,
)

_BASELINE_TRIES = 6
_BASELINE_EVERY_CONTENDER = 2


@dataclass
class Learning:
    """One search. `setup` opens it without the knobs that are no longer ours; `used_s` is the time
    that earlier runs of the same study have spent."""

    bench: Bench
    setup: SearchSetup
    settings: Settings
    keeper: ModeKeeper
    observe: Observer
    used_s: float = 0.0
    windows_before: int = 0
    """Windows of the study that came before the search: of its calibration."""
    tried: list[Tried] = field(default_factory=list)
    """What each candidate cost: its share of the regret."""
    _baselines: list[BaselineWindow] = field(default_factory=list)
    _unrevised: dict[int, tuple[float, Measured]] = field(default_factory=dict)
    _best_told: float = 0.0
    _without: set[str] = field(default_factory=set)
    _spent: int = 0

    def __post_init__(self) -> None:
        self.search = self.setup.open(self._without)
        self._screener = Screener(self.setup, self.settings, self.observe, self.bench.poll_lease)

    def close(self) -> None:
        """Give the storage free."""
        self.search.close()

    def run(self) -> Stop:
        """Search until a limit is reached; says which."""
        rules = StopRules(
            trials=self.settings.trials,
            time_s=self.settings.time_s,
            # a front has no single best that could converge
            stop_after=self.settings.trials if self.settings.pareto else self.settings.stop_after,
            minimum_gain=self.settings.mei_log,
        )
        self.observe(PhaseStarted(Phase.LEARNING, self.setup.text, rules.trials, "trials"))
        started_s = time.monotonic() - self.used_s
        self._measure_baseline(Phase.LEARNING)
        since_baseline = 0
        while (stop := self._spent_regret() or self._spent_windows()) is None and (
            stop := should_stop(self.search.rows, time.monotonic() - started_s, rules)
        ) is None:
            self._try(self._next())
            since_baseline += 1
            if self.bench.dropped != self._without:
                rules = self._narrow(rules)
                since_baseline = 0
            if since_baseline >= self.settings.baseline_every:
                self._measure_baseline(Phase.LEARNING)
                since_baseline = 0
        if since_baseline:
            self._measure_baseline(Phase.LEARNING)
        return stop

    def _spent_regret(self) -> Stop | None:
        """The search has cost more than it may."""
        limit = self.settings.regret
        if limit is None:
            return None
        now = self.regret()
        if now < limit:
            return None
        return Stop(
            StopKind.REGRET,
            f"candidates have cost {now:.1%} of the baseline's work over the search "
            f"(regret budget {limit:.1%})",
        )

    def _spent_windows(self) -> Stop | None:
        """What is left is what the proof of the best will probably take."""
        allotment = self.settings.allotment
        if allotment is None:
            return None
        kept = self._kept_for_proof(allotment)
        if allotment.search_goes_on(self._used, spent(self.search.rows), kept):
            return None
        return Stop(
            StopKind.WINDOWS,
            f"of {counted(allotment.windows, 'window')} {allotment.windows - self._used} are left, "
            "for the choice among the best and a proof",
        )

    def _kept_for_proof(self, allotment: Allotment) -> int:
        """Also for leaving out what does not matter."""
        steps = [
            self.settings.goals.gain(before.metrics, after.metrics)
            for before, after in pairwise(self._baselines)
        ]
        sd = window_sd(self.search.rows, steps)
        kept = allotment.proof_windows(believed_gain(self.search.rows, sd), sd)
        return kept + (WINDOWS_PER_KNOB * len(self.bench.baseline) if self.settings.simplify else 0)

    @property
    def _used(self) -> int:
        """Windows of search and halving so far, void ones included: they took their time too."""
        return self.bench.sequence - self.windows_before

    def regret(self) -> float:
        """What the search has cost so far, as a share of the baseline's work over all of it."""
        return regret(self.tried, self.settings.search_s)

    def _next(self) -> Candidate:
        """What waits comes first; else one of the top once more, or something new."""
        if not self.search.waiting:
            self._screener.look(self.search)
            again = next_again(self.search.rows, self._top())
            if again is not None:
                self.search.remeasure(again.assignment)
        return self.search.ask()

    def _top(self) -> Sequence[Ranked]:
        return front(self.search.ranked()) if self.settings.pareto else self.contenders()

    def _narrow(self, rules: StopRules) -> StopRules:
        """Go on without the knobs that are no longer ours. Scores of before are of other settings:
        the search starts anew with what is left of its trials."""
        self._spent += _counted(self.search)
        self.search.close()
        self._without = set(self.bench.dropped)
        self.search = self.setup.open(self._without)
        self._unrevised.clear()
        self._best_told = 0.0
        self._measure_baseline(Phase.LEARNING)
        return replace(rules, trials=max(1, self.settings.trials - self._spent))

    def contenders(self) -> list[Ranked]:
        """The best few that are not the baseline, claim a gain and were not pruned."""
        own = key_of(self.bench.complete({}))
        pruned = self.search.pruned
        promising = (
            ranked
            for ranked in self.search.ranked()
            if ranked.score > 0
            and key_of(ranked.assignment) not in pruned
            and key_of(self.bench.complete(ranked.assignment)) != own
        )
        return list(islice(promising, TOP))

    def finalists(self) -> list[Ranked]:
        """Contenders measured again by halving, best first; only the fresh numbers rank them."""
        contenders = self.contenders()
        if not contenders:
            return []
        rounds = self._rounds(len(contenders))
        self.observe(
            PhaseStarted(
                Phase.FINALISTS,
                counted(min(len(contenders), rounds[0].keep), "contender"),
                most_windows(len(contenders), rounds),
                "windows, baselines between them",
            )
        )
        measured: dict[int, list[float]] = {}
        out: set[int] = set()
        voids = since_baseline = number = 0
        while not isinstance(
            step := next_step(len(contenders), measured, frozenset(out), rounds), Finished
        ):
            if since_baseline % _BASELINE_EVERY_CONTENDER == 0:
                self._measure_baseline(Phase.FINALISTS)
            since_baseline += 1
            number += 1
            ranked = contenders[step.contender]
            told = self._measure(ranked.assignment, Phase.FINALISTS, ranked.first, number)
            if isinstance(told, ScoredTrial):
                measured.setdefault(step.contender, []).append(told.score)
                out |= self._behind(contenders, measured, out)
            elif isinstance(told, InfeasibleTrial):
                out.add(step.contender)
            else:
                voids += 1
                if voids > 3 * TOP:
                    raise Disturbed(
                        "too many windows are disturbed from outside to go on",
                        hint=self.bench.unfair.advice,
                    )
        return [contenders[index] for index in step.order]

    def _rounds(self, contenders: int) -> tuple[Round, ...]:
        allotment, so_far = self.settings.allotment, spent(self.search.rows)
        if allotment is None:
            return fitted_rounds(so_far, contenders)
        return allotment.rounds(self._used, so_far, contenders, self._kept_for_proof(allotment))

    def _behind(
        self, contenders: Sequence[Ranked], measured: Mapping[int, list[float]], out: set[int]
    ) -> set[int]:
        """Contenders not worth a further window: with pruning only, by all their scores."""
        alive = [index for index in measured if index not in out]
        if not self.settings.pruning or len(alive) < 2:
            return set()
        series = {
            index: [*self.search.scores(contenders[index].assignment), *measured[index]]
            for index in alive
        }
        best = max(alive, key=lambda index: math.fsum(measured[index]) / len(measured[index]))
        found = {i for i in alive if i != best and is_behind(series[i], series[best])}
        for index in found:
            trial = contenders[index].first
            self.observe(Note(f"trial {trial} is behind the best: not measured again"))
        self.setup.count_pruned(len(found))
        return found

    def best(self) -> Ranked | None:
        """The best so far, unconfirmed."""
        return next(iter(self.contenders()), None)

    def _try(self, candidate: Candidate) -> None:
        number = self._spent + _counted(self.search) + 1
        told = self._measure(candidate.assignment, Phase.LEARNING, candidate.number, number)
        before = len(self.search.pruned)
        self.search.tell(candidate, told)
        self.setup.count_pruned(len(self.search.pruned) - before)
        self._tell_best()

    def _measure(self, assignment: Assignment, phase: Phase, trial: int, number: int) -> Told:
        started_s = time.monotonic()
        measured = self.bench.measure(assignment, phase=phase, arm=Arm.CANDIDATE, trial=trial)
        at_s = (started_s + time.monotonic()) / 2
        told = self._judge(measured, at_s)
        if phase is Phase.LEARNING and not isinstance(told, VoidTrial):
            score = told.score if isinstance(told, ScoredTrial) else None
            self.tried.append(Tried(time.monotonic() - started_s, score))
        if phase is Phase.LEARNING and isinstance(told, ScoredTrial):
            self._unrevised[trial] = (at_s, measured)
        gain = told.score if isinstance(told, ScoredTrial) else None
        self.observe(
            WindowDone(
                phase,
                Arm.CANDIDATE,
                number,
                measured.validity.value,
                measured.reason,
                measured.metrics,
                gain,
                self.settings.goals.direction,
            )
        )
        if measured.tripped:
            self.keeper.handle(GuardrailCrossed(measured.reason))
        return told

    def _judge(self, measured: Measured, at_s: float) -> Told:
        if measured.validity is Validity.VOID:
            return VoidTrial(measured.reason)
        if not measured.valid:
            return InfeasibleTrial(measured.reason)
        goals = self.settings.search_goals
        return ScoredTrial(
            goals.score(measured.metrics, at_s, self._baselines),
            goals.constraints(measured.metrics, at_s, self._baselines),
            self._gains(measured, at_s),
        )

    def _gains(self, measured: Measured, at_s: float) -> dict[str, float]:
        """Each objective by itself, where the search is told them so."""
        if not self.settings.pareto:
            return {}
        return self.settings.goals.gains(measured.metrics, at_s, self._baselines)

    def _measure_baseline(self, phase: Phase) -> None:
        """A valid window of the baseline; the scores since the last one are revised with it."""
        for _ in range(_BASELINE_TRIES):
            started_s = time.monotonic()
            measured = self.bench.measure(self.bench.baseline, phase=phase, arm=Arm.BASELINE)
            at_s = (started_s + time.monotonic()) / 2
            if measured.valid:
                self._baselines.append(BaselineWindow(at_s, measured.metrics))
                self._revise()
                return
            self.observe(Note(f"baseline window {measured.validity}: {measured.reason}"))
            if measured.tripped:
                self.keeper.handle(GuardrailCrossed(measured.reason))
            elif measured.validity is Validity.CANDIDATE_FAILED:
                raise Disturbed(
                    f"the workload fails under the baseline itself: {measured.reason}",
                    hint="run the workload's command by hand; see `workload:` in the profile",
                )
        raise Disturbed(
            f"{_BASELINE_TRIES} baseline windows in a row were disturbed: {measured.reason}",
            hint=self.bench.unfair.advice,
        )

    def _revise(self) -> None:
        for trial, (at_s, measured) in self._unrevised.items():
            score = self.settings.goals.score(measured.metrics, at_s, self._baselines)
            self.search.revise(trial, score, self._gains(measured, at_s))
        self._unrevised.clear()

    def _tell_best(self) -> None:
        best = self.best()
        if best is not None and best.score > self._best_told:
            self._best_told = best.score
            changed = difference(self.bench.baseline, best.assignment)
            self.observe(BestSoFar(changed, best.score, best.first, self.settings.goals.direction))


def _counted(search: Search) -> int:
    return sum(not isinstance(row.told, VoidTrial) for row in search.rows)


def difference(baseline: Assignment, assignment: Assignment) -> Assignment:
    """What an assignment changes."""
    return {key: value for key, value in assignment.items() if baseline.get(key) != value}

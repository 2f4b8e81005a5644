"""Ask and tell over Optuna 5; `opening.py` opens a study.

Promises: a candidate keeps limits and relations; a void window is never scored; an assignment
measured again counts as a re-measurement (the mean is kept and told); a study goes on after any
death of its process. Optuna's attributes are no measurement store: they hold just what `resume`
needs, the windows themselves are in the study's `windows.jsonl`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from ktune.errors import UsageError
from ktune.kernel.values import Value
from ktune.search.distributions import distributions_of
from ktune.search.front import enters_front
from ktune.search.kept import packed, unpacked
from ktune.search.projection import ProjectedSpace
from ktune.search.pruning import is_behind
from ktune.search.quiet import quiet
from ktune.search.relations import repair
from ktune.search.space import Assignment, NotInSpaceError, Params, Space
from ktune.search.trials import (
    AssignmentKey,
    Candidate,
    InfeasibleTrial,
    Origin,
    Ranked,
    Row,
    ScoredTrial,
    Told,
    VoidTrial,
    key_of,
    mean_constraints,
    mean_objectives,
    mean_score,
    ranking,
    wants_remeasure,
)
from ktune.search.trust_region import TrustRegion, centre_of

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

MAX_DRAWS = 200
"""Draws before the relations are taken to leave no room."""

MAX_RETRIES = 3
"""How often one candidate comes again after a void window."""

FAILED = "ktune.failed"
"""Constraint that a failed candidate violates, by 1.0: more than any margin in log ratios."""


class Search:
    """One study: open it with `opening.open_search`, then ask and tell in turn.

    `rows` is everything told, in order; `ranked()` the assignments by mean score. With
    `objectives` Optuna is told each of them by itself (a Pareto search), else the weighted score.
    """

    def __init__(
        self,
        study: Study,
        space: Space,
        constraints: Sequence[str],
        objectives: Sequence[str],
        resources: ExitStack,
        *,
        projected: ProjectedSpace | None = None,
        pruning: bool = False,
    ) -> None:
        self.space = space
        self._pruning = pruning
        self._objectives = tuple(objectives)
        self.rows: list[Row] = []
        self._points: Space | ProjectedSpace = projected or space
        self.active = space
        self._study = study
        self._constraints = frozenset(constraints)
        self._resources = resources
        self._distributions = distributions_of(self._points)
        self._open: dict[int, tuple[Trial, Candidate, int]] = {}
        self._reach: tuple[TrustRegion, float] | None = None
        self._resume()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the storage free. Candidates still open are failed at the next opening."""
        self._resources.close()

    def stay_near(self, region: TrustRegion, minimum_gain: float) -> None:
        """From now on candidates lie in `region` around the last known good setting."""
        self._reach = (region, minimum_gain)

    def enqueue(self, assignment: Assignment, origin: Origin = Origin.EXPERT) -> bool:
        """Have an assignment asked before the sampler's own; False when it was enqueued already.

        Knobs it leaves out take the baseline's value, whether or not that is within the range.

        Raises:
            NotInSpaceError: it leaves a limit or breaks a relation.
        """
        full = self.space.completed(assignment)
        problem = self.space.why_not(full, enqueued=True)
        if problem:
            raise NotInSpaceError(problem)
        wanted = key_of(full)
        for trial in self._trials():
            if _fixed(trial) and key_of(self._assignment_of(trial, _fixed(trial))) == wanted:
                return False
        self._enqueue(full, origin)
        return True

    def ask(self) -> Candidate:
        """The next assignment to measure: what is enqueued first, then the sampler's.

        A draw that breaks a relation is repaired, and the sampler is told the repaired point; where
        no repair exists it is drawn again.

        Raises:
            KtuneError: the relations leave no room within the limits.
        """
        for _ in range(MAX_DRAWS):
            with quiet():
                trial = self._study.ask(self._distributions)
            assignment = self._assignment_of(trial, trial.params)
            if self.space.broken(assignment) is None:
                nearer = self._within_reach(trial, assignment)
                if nearer == assignment:
                    return self._asked(trial, assignment)
                with quiet():
                    self._study.tell(trial, state=_states().FAIL)
                self._enqueue(nearer, _origin(trial))
                continue
            with quiet():
                self._study.tell(trial, state=_states().FAIL)
            repaired = repair(self.active, self.active.only(assignment))
            if repaired is not None:
                self._enqueue({**assignment, **repaired}, Origin.SAMPLER)
        raise UsageError(
            f"no assignment within the limits keeps {self.space.broken(assignment)}",
            hint="widen the ranges or drop the relation",
        )

    def tell(self, candidate: Candidate, told: Told) -> None:
        """Record what became of a candidate.

        Scored: Optuna gets the mean over all measurements of this assignment. Infeasible: no score,
        but a violated constraint, which tpe learns from. Void: failed, and asked again.

        Raises:
            ValueError: not an open candidate, or the constraints are not those of the study.
        """
        if candidate.number not in self._open:
            raise ValueError(f"candidate {candidate.number} is not open")
        if isinstance(told, ScoredTrial) and told.constraints.keys() != self._constraints:
            raise ValueError(
                f"constraints {sorted(told.constraints)}, expected {sorted(self._constraints)}"
            )
        if isinstance(told, ScoredTrial) and set(told.objectives) != set(self._objectives):
            raise ValueError(
                f"objectives {sorted(told.objectives)}, expected {sorted(self._objectives)}"
            )
        trial, _, retries = self._open.pop(candidate.number)
        row = Row(candidate.number, candidate.assignment, candidate.origin, told)
        self.rows.append(row)
        if self._pruning and row.origin is Origin.REMEASURE and self._behind(row):
            self.rows[-1] = row = replace(row, pruned=True)
        with quiet():
            kept = {**packed(told), "origin": row.origin.value, "pruned": row.pruned}
            trial.set_user_attr("told", kept)
            self._finish(trial, row)
        if isinstance(told, VoidTrial) and told.retry and retries < MAX_RETRIES:
            self._enqueue(candidate.assignment, candidate.origin, retries=retries + 1)
        leads = enters_front if self._objectives else wants_remeasure
        if candidate.origin is not Origin.REMEASURE and leads(self.rows):
            self.remeasure(candidate.assignment)

    def revise(
        self, number: int, score: float, objectives: Mapping[str, float] | None = None
    ) -> None:
        """Correct a score once the next baseline is measured; Optuna keeps the one it was told."""
        for index, row in enumerate(self.rows):
            if row.number == number and isinstance(row.told, ScoredTrial):
                told = ScoredTrial(score, row.told.constraints, objectives or {})
                self.rows[index] = replace(row, told=told)
                revised = {"score": score, "objectives": dict(told.objectives)}
                self._study.set_user_attr(f"revised.{number}", revised)
                return
        raise ValueError(f"trial {number} has no score to revise")

    def remeasure(self, assignment: Assignment) -> None:
        """Have an assignment measured once more, next."""
        self._enqueue(self.space.completed(assignment), Origin.REMEASURE)

    def hold(self, names: Collection[str]) -> None:
        """Leave these axes at the baseline from now on; what was told stays told.

        Raises:
            ValueError: the space is projected (its dimensions are no knobs), or no axis is left.
        """
        active = self.active.without(names)
        if self._points is not self.space or not active.axes:
            raise ValueError(f"{', '.join(names)} can't be held")
        self.active = active
        self._distributions = distributions_of(active)

    @property
    def waiting(self) -> bool:
        """Whether something enqueued has not been asked for yet."""
        return any(trial.state is _states().WAITING for trial in self._trials())

    def ranked(self) -> tuple[Ranked, ...]:
        """Feasible assignments by mean score, best first; unconfirmed all of them."""
        return ranking(self.rows)

    def _within_reach(self, trial: Trial, assignment: dict[str, Value]) -> dict[str, Value]:
        """The assignment, drawn back to the last known good; what was measured before may come
        again from wherever it lies."""
        if self._reach is None or _origin(trial) is Origin.REMEASURE:
            return assignment
        region, minimum_gain = self._reach
        centre = self.space.completed(centre_of(self.rows, {}, minimum_gain))
        return region.nearest(self.space, centre, assignment)

    def _asked(self, trial: Trial, assignment: dict[str, Value]) -> Candidate:
        attributes = trial.user_attrs
        is_baseline = assignment == self.space.completed({})
        origin = _origin(trial)
        candidate = Candidate(
            number=trial.number,
            assignment=assignment,
            origin=Origin.BASELINE if is_baseline else origin,
            measured_before=len(self._scored(assignment)),
        )
        self._open[candidate.number] = (trial, candidate, int(attributes.get("retries", 0)))
        return candidate

    def scores(self, assignment: Assignment) -> list[float]:
        """All scores of an assignment, in the order of measuring."""
        return [told.score for told in self._scored(assignment)]

    @property
    def pruned(self) -> frozenset[AssignmentKey]:
        """Assignments that are not worth a further window."""
        return frozenset(row.key for row in self.rows if row.pruned)

    def _behind(self, row: Row) -> bool:
        best = self.ranked()[:1]
        if not isinstance(row.told, ScoredTrial) or not best:
            return False
        return is_behind(self.scores(row.assignment), self.scores(best[0].assignment))

    def _finish(self, trial: Trial, row: Row) -> None:
        told = row.told
        if isinstance(told, ScoredTrial):
            scored = self._scored(row.assignment)
            if "exact" in trial.user_attrs:
                # its parameters only come near it: the sampler must not learn a score for them
                self._study.tell(trial, state=_states().FAIL)
                return
            for name, value in mean_constraints(scored).items():
                trial.set_constraint(name, value)
            if row.pruned:
                for step in range(len(scored)):
                    trial.report(mean_score(scored[: step + 1]), step)
                self._study.tell(trial, state=_states().PRUNED)
                return
            means = mean_objectives(scored)
            values = [means[name] for name in self._objectives] or [mean_score(scored)]
            self._study.tell(trial, values)
        elif isinstance(told, InfeasibleTrial):
            trial.set_constraint(FAILED, 1.0)
            self._study.tell(trial, state=_states().PRUNED)
        else:
            self._study.tell(trial, state=_states().FAIL)

    def _scored(self, assignment: Assignment) -> list[ScoredTrial]:
        key = key_of(assignment)
        return [
            row.told for row in self.rows if row.key == key and isinstance(row.told, ScoredTrial)
        ]

    def _enqueue(self, assignment: Assignment, origin: Origin, retries: int = 0) -> None:
        params = self._drawn_for(assignment) or self._points.nearest(assignment)
        params = {name: value for name, value in params.items() if name in self._distributions}
        attributes: dict[str, Any] = {"origin": origin.value, "retries": retries}
        if self._points.decode(params) != assignment:
            attributes["exact"] = dict(assignment)
        with quiet():
            self._study.enqueue_trial(dict(params), user_attrs=attributes)

    def _drawn_for(self, assignment: Assignment) -> Params | None:
        """The parameters with which the sampler drew it: in a projected space many points give the
        same assignment, and the nearest of an assignment need not give it back."""
        key = key_of(assignment)
        trials = self._trials()
        for row in self.rows:
            if row.key == key and "exact" not in trials[row.number].user_attrs:
                return dict(trials[row.number].params)
        return None

    def _assignment_of(
        self, trial: Trial | FrozenTrial, params: Mapping[str, Any]
    ) -> dict[str, Value]:
        """What a trial stands for: its parameters, or the exact values that these can't express."""
        exact = trial.user_attrs.get("exact")
        if exact is None:
            return self._points.decode(params)
        return {
            key: tuple(value) if isinstance(value, list) else value for key, value in exact.items()
        }

    def _trials(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False)

    def _resume(self) -> None:
        """Read the table back; fail what a dead process left running."""
        revised = self._study.user_attrs
        for trial in self._trials():
            if trial.state is _states().RUNNING:
                with quiet():
                    self._study.tell(trial.number, state=_states().FAIL)
            elif "told" in trial.user_attrs and trial.state.is_finished():
                told = unpacked(trial.user_attrs["told"], revised.get(f"revised.{trial.number}"))
                assignment = self._assignment_of(trial, trial.params)
                origin = Origin(trial.user_attrs["told"]["origin"])
                pruned = bool(trial.user_attrs["told"].get("pruned"))
                self.rows.append(Row(trial.number, assignment, origin, told, pruned))


def _states() -> Any:
    from optuna.trial import TrialState

    return TrialState


def _origin(trial: Trial | FrozenTrial) -> Origin:
    return Origin(trial.user_attrs.get("origin", Origin.SAMPLER))


def _fixed(trial: FrozenTrial) -> Any:
    """The parameters an enqueued trial was given; None for the sampler's own."""
    return trial.system_attrs.get("fixed_params")

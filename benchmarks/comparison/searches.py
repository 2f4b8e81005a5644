"""Searches without a proof: random, and Optuna's TPE as its manual shows it; best window wins."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from benchmarks.comparison.problem import Outcome, Problem, Setting, best_of_search
from benchmarks.surfaces.points import values_of


def plain(problem: Problem, sampler: str, first: Sequence[Setting] = ()) -> Outcome:
    """`sampler`: random or tpe. The reference is asked first, as every tuner does, then `first`."""
    import optuna

    from ktune.search.distributions import distributions_of
    from ktune.search.quiet import take_over_log

    take_over_log()
    states = optuna.trial.TrialState
    started_s = time.perf_counter()
    chosen: Any = (
        optuna.samplers.RandomSampler(seed=problem.seed)
        if sampler == "random"
        else optuna.samplers.TPESampler(seed=problem.seed)
    )
    study = optuna.create_study(
        direction="maximize" if problem.maximize else "minimize", sampler=chosen
    )
    distributions = distributions_of(problem.space)
    names = [axis.name for axis in problem.axes]
    for setting in (problem.reference, *first):
        value = problem.measure(setting)
        study.add_trial(
            optuna.trial.create_trial(
                params=dict(problem.space.nearest(dict(zip(names, setting, strict=True)))),
                distributions=distributions,
                value=value,
                state=states.FAIL if value is None else states.COMPLETE,
            )
        )
    while problem.left:
        trial = study.ask(distributions)
        assignment = problem.space.decode(trial.params)
        value = problem.measure(tuple(values_of(problem.space, assignment)))
        if value is None:
            study.tell(trial, state=states.FAIL)
        else:
            study.tell(trial, value)
    return best_of_search(problem, time.perf_counter() - started_s)

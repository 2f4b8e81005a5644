"""Whether measuring an assignment once more is a waste: Optuna's WilcoxonPruner, opt-in.

Only for assignments that are measured more than once. Their scores are relative to the neighbouring
baselines, so the k-th of one and the k-th of the best so far make a pair; a signed-rank test of
these pairs says whether it is behind. Four pairs are the fewest that can (p = 1/16).

A cost saver and never evidence: the test is repeated as scores come in, one of its two sides was
picked for being best, and its level is therefore not an error rate. It decides where windows of the
search go; proof, estimate and constraints know nothing of it.
"""

from __future__ import annotations

from collections.abc import Sequence

from ktune.search.quiet import quiet, take_over_log

P_THRESHOLD = 0.1
"""Optuna's default."""
FEWEST_PAIRS = 4


def is_behind(scores: Sequence[float], best: Sequence[float]) -> bool:
    """Whether the pruner would stop measuring `scores`, in the order of measuring."""
    if min(len(scores), len(best)) < FEWEST_PAIRS:
        return False
    import optuna

    take_over_log()
    with quiet():
        study = optuna.create_study(direction="maximize")
        pruner = optuna.pruners.WilcoxonPruner(p_threshold=P_THRESHOLD)
        study.add_trial(
            optuna.trial.create_trial(
                value=sum(best) / len(best), intermediate_values=dict(enumerate(best))
            )
        )
        pairs = dict(enumerate(scores[: len(best)]))
        current = optuna.trial.create_trial(
            state=optuna.trial.TrialState.RUNNING, intermediate_values=pairs
        )
        return pruner.prune(study, current)

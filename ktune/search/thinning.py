"""Which finished trials a sampler looks at, so that a draw costs the same in a long search; pure.

Optuna's TPE builds its densities from all finished trials at each draw: with n trials of d
parameters that is n times d terms for each of its 24 candidates. Its *good* density is of the best
`min(n / 10, 25)` trials, its other one of all the rest (Optuna's `default_gamma`). From 250 trials
on the first no longer grows; so it stays what it was when the best 50 and the newest 200 are kept,
and the second becomes one of where the search has been lately.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

BEST = 50
NEWEST = 200


def thinned(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The trials that matter, in their order; all where there are few, or several objectives.

    Larger values are better. What violates a constraint comes after what does not.
    """
    finished = [trial for trial in trials if trial.state.is_finished()]
    if len(finished) <= BEST + NEWEST or any(len(t.values or ()) > 1 for t in finished):
        return list(trials)
    scored = (trial for trial in finished if trial.values)
    best = {trial.number for trial in heapq.nsmallest(BEST, scored, key=_rank)}
    others = [trial.number for trial in finished if trial.number not in best]
    kept = best | set(others[-NEWEST:])
    return [trial for trial in trials if not trial.state.is_finished() or trial.number in kept]


def _rank(trial: FrozenTrial) -> tuple[float, float]:
    violation = sum(max(0.0, value) for value in trial.constraints.values())
    return violation, -(trial.values or [0.0])[0]

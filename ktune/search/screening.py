"""Which knobs have an effect that the search can see, and which are at noise level.

A knob without an effect costs the sampler windows. Optuna's PED-ANOVA importance (Watanabe et al.,
IJCAI 2023, arXiv 2304.10255) says how much a knob's values among the best quarter of the
assignments differ from its values among all. Here the worst quarter counts as well, summed: a
sampler gathers where it is good, most trials soon are, and then only the bad ones tell what
matters.

An importance is never 0, so each is compared with what shuffled scores give (a permutation null:
the same assignments, the scores dealt out anew, seeded). Two questions:

- Does *any* knob stand out? The largest standardised importance against the largest of each
  shuffle, which accounts for looking at many knobs. Where none does there is no signal to judge by,
  and nothing is dropped: on flat noise the knobs stay.
- If so, a knob whose own importance is one that many shuffles reach is dropped.

A knob that is dropped is not proven to be without effect: it is held at the baseline for the rest
of this search, and that is said. The sampler's own gathering makes knobs that do not matter look
important beside one that does (they sit where the leader sits): such stay. So this errs on the side
of keeping. How often it is wrong is simulated in docs/statistics.md.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ktune.records.search import Judged, Screening
from ktune.search.distributions import distributions_of
from ktune.search.quiet import quiet, take_over_log
from ktune.search.space import Space
from ktune.search.trials import Ranked

FIRST_LOOK = 24
"""Different assignments that must have been measured; then at 48, 96 and so on: few looks, as each
is one more chance to be wrong, and later ones see what the sampler has gathered."""

LEAST_AXES = 4
"""With fewer there is little to gain."""

SHUFFLES = 99
STANDS_OUT = 0.02
"""Level of the question whether any knob stands out."""
NOISE_LEVEL = 0.10
"""A knob whose importance more shuffles than this reach is at noise level."""

QUARTER = 0.25


def looks_due(assignments: int) -> int:
    """How many looks should have been had.

    >>> [looks_due(n) for n in (23, 24, 47, 48, 96)]
    [0, 1, 1, 2, 3]
    """
    return (assignments // FIRST_LOOK).bit_length()


def screen(
    space: Space,
    measured: Sequence[Ranked],
    seed: int,
    poll: Callable[[], None] = lambda: None,
) -> Screening:
    """Judge every axis of `space` by assignments and their mean scores (feasible ones).

    Takes seconds with many axes: `poll` is called all the while.
    """
    table = _Table(space, measured)
    rng = random.Random(f"screening {seed} {len(measured)}")
    scores = [entry.score for entry in measured]
    found = [table.importances(scores)]
    for _ in range(SHUFFLES):
        poll()
        shuffled = scores.copy()
        rng.shuffle(shuffled)
        found.append(table.importances(shuffled))
    clear = stands_out(found) <= STANDS_OUT
    judged = [
        Judged(axis.name, round(found[0][axis.name], 4), _reached(found, axis.name))
        for axis in space.axes
    ]
    dropped = [item for item in judged if clear and item.p > NOISE_LEVEL]
    kept = [item for item in judged if item not in dropped]
    return Screening(len(measured), clear, tuple(kept), tuple(dropped))


def stands_out(found: Sequence[Mapping[str, float]]) -> float:
    """p of the largest standardised importance of the first table among the largest of all.

    The first is counted among the shuffles, so the p is exact where scores are exchangeable.
    """
    largest = [0.0] * len(found)
    for name in found[0]:
        column = [table[name] for table in found]
        mean = sum(column) / len(column)
        spread = (sum((value - mean) ** 2 for value in column) / len(column)) ** 0.5
        for index, value in enumerate(column):
            largest[index] = max(largest[index], (value - mean) / spread if spread else 0.0)
    return sum(value >= largest[0] for value in largest) / len(largest)


def _reached(found: Sequence[Mapping[str, float]], name: str) -> float:
    return sum(table[name] >= found[0][name] for table in found) / len(found)


class _Table:
    """The assignments as trials of a study in memory, to be scored again and again."""

    def __init__(self, space: Space, measured: Sequence[Ranked]) -> None:
        import optuna
        from optuna.importance import PedAnovaImportanceEvaluator

        take_over_log()
        self._space = space
        self._distributions = distributions_of(space)
        with quiet():
            self._study = optuna.create_study(direction="maximize")
            self._evaluator = PedAnovaImportanceEvaluator(target_quantile=QUARTER)
            for entry in measured:
                self._study.add_trial(
                    optuna.trial.create_trial(
                        params=dict(space.nearest(entry.assignment)),
                        distributions=self._distributions,
                        value=entry.score,
                    )
                )

    def importances(self, scores: Sequence[float]) -> dict[str, float]:
        """Of every axis: its own parameter's and its special values' chooser's together."""
        best = self._of({number: -score for number, score in enumerate(scores)})
        worst = self._of(dict(enumerate(scores)))
        return {
            axis.name: sum(
                best[name] + worst[name]
                for name in (axis.name, axis.chooser)
                if name in self._distributions
            )
            for axis in self._space.axes
        }

    def _of(self, losses: Mapping[int, float]) -> dict[str, Any]:
        """PED-ANOVA takes the trials of the lowest target."""
        with quiet():
            return self._evaluator.evaluate(
                self._study,
                list(self._distributions),
                target=lambda trial: losses[trial.number],
            )

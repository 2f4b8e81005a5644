"""Which candidates are worth a proof: the top few, measured again by sequential halving; pure.

The search's best single number is its luckiest. So the top 8 are measured once more, the better
4 of them twice more, the better 2 twice more again (Karnin, Koren, Somekh, ICML 2013, with the
sizes simulated in docs/statistics.md). Only these fresh numbers rank them; the search's own score
decides nothing but who takes part and, at equal means, who comes first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Round:
    """Keep the best `keep` contenders and measure each `windows` times."""

    keep: int
    windows: int


ROUNDS = (Round(8, 1), Round(4, 2), Round(2, 2))


def most_windows(contenders: int, rounds: Sequence[Round] = ROUNDS) -> int:
    """Windows that the rounds take when nobody fails.

    >>> most_windows(8), most_windows(1)
    (20, 5)
    """
    return sum(min(contenders, step.keep) * step.windows for step in rounds)


@dataclass(frozen=True)
class Measure:
    """Measure this contender next (its place in the search's ranking, from 0)."""

    contender: int


@dataclass(frozen=True)
class Finished:
    """All contenders, the winner first; those that failed are left out (nobody may be left)."""

    order: tuple[int, ...]

    @property
    def winner(self) -> int | None:
        return self.order[0] if self.order else None


def next_step(
    contenders: int,
    measured: Mapping[int, Sequence[float]],
    failed: frozenset[int] = frozenset(),
    rounds: Sequence[Round] = ROUNDS,
) -> Measure | Finished:
    """What to do next with `contenders` candidates in the order of the search's ranking.

    `measured` holds the fresh scores (log ratios) of each; a contender in `failed` is out. Void
    windows are simply not in it, so the same contender is asked for again. Within a round all
    are measured in turn, so that drift meets all of them. Ties go to the earlier.

    >>> next_step(2, {0: [0.1], 1: [0.3]}, rounds=[Round(2, 1), Round(1, 1)])
    Measure(contender=1)
    >>> next_step(2, {0: [0.1], 1: [0.3]}, rounds=[Round(2, 1)])
    Finished(order=(1, 0))
    """
    alive = list(range(contenders))
    out: list[int] = []
    due = 0
    for step in rounds:
        alive = _best_first(alive, measured, failed, windows=due)
        # a contender that failed leaves its place to the next
        alive, dropped = alive[: step.keep], alive[step.keep :]
        out = [*dropped, *out]
        for turn in range(due, due + step.windows):
            for contender in sorted(alive):
                if len(measured.get(contender, ())) <= turn:
                    return Measure(contender)
        due += step.windows
    return Finished((*_best_first(alive, measured, failed, windows=due), *out))


def _best_first(
    contenders: Sequence[int],
    measured: Mapping[int, Sequence[float]],
    failed: frozenset[int],
    *,
    windows: int,
) -> list[int]:
    """By the mean of the first `windows` scores: rounds already judged stay as they were."""

    def rank(contender: int) -> tuple[float, int]:
        scores = measured.get(contender, ())[:windows]
        return (-math.fsum(scores) / len(scores) if scores else 0.0, contender)

    return sorted((c for c in contenders if c not in failed), key=rank)

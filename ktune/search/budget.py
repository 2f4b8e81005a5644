"""Which windows try something new and which measure the top again; pure.

About 70 % of a search's windows go to new candidates and 30 % measure the best few again: with
noise the best single number is the luckiest, and fixed repeats of everything waste windows on what
is plainly bad (simulated in docs/statistics.md). Three things count as measuring again: a new
leader's second window (`trials.wants_remeasure`), what this module asks for during the search, and
the halving among the contenders at its end. The halving comes last and is the most useful, so its
windows are reserved: a short search measures again only there, with rounds fitted to what is left.
Where nothing claims a gain there is nothing to measure again, and all windows are new.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ktune.search.finalists import ROUNDS, Round, most_windows
from ktune.search.trials import AssignmentKey, Ranked, Row, VoidTrial

AGAIN_SHARE = 0.3
"""Share of a run's candidate windows that measure an assignment once more."""

TOP = 8
"""How many of the best are worth a further window."""

LADDER: tuple[tuple[Round, ...], ...] = (
    ROUNDS,
    (Round(6, 1), Round(3, 2), Round(2, 2)),
    (Round(6, 1), Round(3, 2)),
    (Round(4, 1), Round(2, 2)),
    (Round(3, 1), Round(2, 1)),
)
"""Halving with fewer and fewer windows: 20, 16, 12, 8, 5."""


@dataclass(frozen=True)
class Spent:
    """Windows of candidates so far: of an assignment's first measurement, and of later ones."""

    new: int = 0
    again: int = 0

    @property
    def total(self) -> int:
        return self.new + self.again

    @property
    def share(self) -> float:
        """Share of windows that measured again; 0 before the first window."""
        return self.again / self.total if self.total else 0.0


def spent(rows: Sequence[Row]) -> Spent:
    """Counts what was told; void windows are neither."""
    seen: set[AssignmentKey] = set()
    again = 0
    for row in rows:
        if not isinstance(row.told, VoidTrial):
            again += row.key in seen
            seen.add(row.key)
    return Spent(len(seen), again)


def next_again(rows: Sequence[Row], top: Sequence[Ranked]) -> Ranked | None:
    """Whom of the `top` (best first) to measure once more now; None for a new candidate.

    Of the best `TOP` that claim a gain the one measured least, ties to the better, when one more
    such window, together with the halving still to come, keeps to the share.
    """
    so_far = spent(rows)
    reserved = most_windows(TOP)
    if so_far.again + 1 + reserved > AGAIN_SHARE * (so_far.total + 1 + reserved):
        return None
    promising = [ranked for ranked in top if ranked.score > 0][:TOP]
    return min(promising, key=lambda ranked: ranked.measured, default=None)


def fitted_rounds(so_far: Spent, contenders: int) -> tuple[Round, ...]:
    """The halving whose windows bring the run nearest to the share; never less than the shortest.

    >>> fitted_rounds(Spent(new=52, again=0), contenders=8) == ROUNDS
    True
    >>> most_windows(8, fitted_rounds(Spent(new=17, again=3), contenders=8))
    5
    """
    room = (AGAIN_SHARE * so_far.total - so_far.again) / (1 - AGAIN_SHARE)
    return min(LADDER, key=lambda rounds: abs(most_windows(contenders, rounds) - room))

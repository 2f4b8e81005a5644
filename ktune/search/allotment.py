"""How a run that may take so many windows divides them: search, halving, proof; pure.

What a proof takes depends on what there is to prove. A gain far above the noise is shown by a few
pairs, and the windows that are not needed for more find a better one. So the search goes on until
what is left is what the proof of its best candidate will probably take; where that can't be told
yet, a fixed share is kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ktune.profile.estimate import SPARE_PAIRS, least_windows
from ktune.search.budget import LADDER, TOP, Spent, fitted_rounds
from ktune.search.finalists import Round, most_windows
from ktune.search.trials import AssignmentKey, Origin, Row, ScoredTrial

PROOF_SHARE = 0.4
"""Of the windows beside the pairs after the decision, for the pairs of the decision, where nothing
is known of gain and noise; never more than this is kept."""
_PAIRS_AT_LEAST, _PAIRS_BY_NOISE = 4.0, 20.0
"""Pairs that nearly always show a gain: 4 + 20 (sd / gain)^2; the rule itself, simulated, shows it
with so many at least nine times out of ten (tests/search/test_allotment.py). A proof that fails for
want of pairs costs the whole gain, windows of search that are lost cost little of it."""
_CAUTION = 1.25
"""A handful of windows knows its sd to some 30 %."""
_SCORE_VARIANCE = 1.5
"""Of a score, in those of a window: it is a window against the mean of two baselines."""


@dataclass(frozen=True)
class Allotment:
    """A run of at most `windows`, with a proof for each of `finalists` of `min_pairs` to
    `max_pairs`, and `after_pairs` for the one that is proven."""

    windows: int
    min_pairs: int
    max_pairs: int
    after_pairs: int
    finalists: int = 1

    @property
    def least(self) -> int:
        """Fewer windows hold no search and no proof."""
        return least_windows(self.min_pairs, self.after_pairs, self.finalists)

    def proof_windows(self, gain: float | None, window_sd: float | None) -> int:
        """Windows to keep for the proof of a candidate with that gain (log ratio; None: there is
        none yet) over windows of that sd (log; None: unknown)."""
        share = PROOF_SHARE * (self.windows - 2 * self.after_pairs) / 2 / self.finalists
        most = min(self.max_pairs, max(self.min_pairs + SPARE_PAIRS, round(share)))
        pairs = most
        if gain is not None and gain > 0 and window_sd is not None:
            ratio = math.sqrt(2) * _CAUTION * window_sd / gain
            wanted = math.ceil(_PAIRS_AT_LEAST + _PAIRS_BY_NOISE * ratio**2)
            pairs = min(most, max(self.min_pairs + 1, wanted))
        return 2 * (pairs * self.finalists + self.after_pairs)

    def search_goes_on(self, used: int, so_far: Spent, proof_windows: int) -> bool:
        """Whether a candidate, and a baseline after it, leave enough for halving and proof."""
        halving = _with_baselines(fitted_rounds(so_far, TOP), TOP)
        closing_baseline = 1
        return self.windows - used - 2 >= closing_baseline + halving + proof_windows

    def rounds(
        self, used: int, so_far: Spent, contenders: int, proof_windows: int
    ) -> tuple[Round, ...]:
        """The halving that fits; the shortest where none does."""
        room = self.windows - used - proof_windows
        wanted = fitted_rounds(so_far, contenders)
        fitting = LADDER[LADDER.index(wanted) :]
        return next((r for r in fitting if _with_baselines(r, contenders) <= room), LADDER[-1])

    def pairs_left(self, used: int) -> int:
        """Pairs that a finalist may take for its decision; `used`: windows before the first."""
        left = (self.windows - used) // 2 - self.after_pairs
        return max(self.min_pairs, min(self.max_pairs, left // self.finalists))


def _with_baselines(rounds: Sequence[Round], contenders: int) -> int:
    """Windows of a halving with a baseline before every second."""
    candidates = most_windows(contenders, rounds)
    return candidates + math.ceil(candidates / 2)


def window_sd(rows: Sequence[Row], baseline_steps: Sequence[float]) -> float | None:
    """The sd of a window (log), from what was measured more than once; None before two such.

    `baseline_steps`: log ratios of each baseline window to the one before, which a slow drift
    hardly moves.
    """
    squares = math.fsum(step**2 for step in baseline_steps) / 2
    degrees = len(baseline_steps)
    for scores in _scores(rows).values():
        mean = math.fsum(scores) / len(scores)
        squares += math.fsum((score - mean) ** 2 for score in scores) / _SCORE_VARIANCE
        degrees += len(scores) - 1
    return math.sqrt(squares / degrees) if degrees >= 2 else None


def believed_gain(rows: Sequence[Row], sd: float | None) -> float | None:
    """What the best candidate probably gains at least (log ratio): the largest mean score less its
    standard error, for the best of many is also the luckiest; None where nothing claims that."""
    if sd is None:
        return None
    error = math.sqrt(_SCORE_VARIANCE) * sd
    claims = (
        math.fsum(scores) / len(scores) - error / math.sqrt(len(scores))
        for scores in _scores(rows).values()
    )
    best = max(claims, default=0.0)
    return best if best > 0 else None


def _scores(rows: Iterable[Row]) -> dict[AssignmentKey, list[float]]:
    found: dict[AssignmentKey, list[float]] = {}
    for row in rows:
        if isinstance(row.told, ScoredTrial) and row.origin is not Origin.BASELINE:
            found.setdefault(row.key, []).append(row.told.score)
    return found

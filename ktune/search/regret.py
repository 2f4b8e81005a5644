"""How much of the service's work a search has cost so far; pure (docs/statistics.md, "Regret")."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Tried:
    """One window of a candidate.

    `score`: log ratio to the neighbouring baselines, above 0 when better; None when the candidate
    failed or a guardrail ended it: nothing of its time counts as work. Void windows are no part of
    it: missing data is no loss.
    """

    duration_s: float
    score: float | None


def regret(tried: Iterable[Tried], search_s: float) -> float:
    """Work lost, as a share of what the baseline does in `search_s` (> 0), the time that the whole
    search may take. Better candidates pay back what worse ones cost; below 0 the search has gained.

    >>> round(regret([Tried(10.0, None), Tried(10.0, 0.0)], 100.0), 3)
    0.1
    """
    lost_s = math.fsum(
        item.duration_s * (1.0 if item.score is None else 1.0 - math.exp(item.score))
        for item in tried
    )
    return lost_s / search_s

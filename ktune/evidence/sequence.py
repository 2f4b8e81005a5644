"""A confidence sequence: an interval for the effect that may be looked at after every pair.

A confidence sequence covers the true effect at *all* times together with the stated probability;
a textbook interval looked at after every pair does not (it covers at each time alone). It says
where the effect stands while pairs come in. The reported gain does not come from it but from
pairs after the decision (`estimate.py`): at a stopping time this interval is valid, but its
middle is biased.

It is the sign test's e-process turned round: the interval holds exactly the effects that the
e-process has not rejected. All numbers are log ratios, above 0 when the candidate is better.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from ktune.evidence.eprocess import log_sign_e


@dataclass(frozen=True)
class Span:
    """The effects not rejected after so many pairs; infinite ends where nothing is known yet."""

    low: float
    high: float
    pairs: int

    @property
    def empty(self) -> bool:
        """Every effect was rejected at some time: the assumptions do not hold (drift of the
        effect, say), or it is the one run in 1/alpha."""
        return self.low > self.high

    def holds(self, effect: float) -> bool:
        """Whether an effect is not rejected."""
        return self.low <= effect <= self.high


EVERYTHING = Span(-math.inf, math.inf, 0)


def median_span(xs: Sequence[float], alpha: float = 0.05) -> Span:
    """Two-sided limits of the median log ratio, by turning round `log_sign_e` at alpha/2 a side.

    Hypothesis: for each m, H0: a pair above m is as likely as one below it, given the past.
    Assumptions: the pairs share one median, and each lies on either side of it like a fair coin,
    whatever happened before. No distribution, no variance, no independence beyond that.
    Formula: with w the fewest wins among n whose E reaches 2/alpha, the limits are the (n-w+1)-th
    smallest and the w-th smallest value; unbounded while there is no such w (up to 7 pairs at
    alpha = 0.05). A lost pair, given as -inf, ranks below every measured one.
    Source: as `eprocess.log_sign_e`; turned round as in Howard and Ramdas, "Sequential estimation
    of quantiles", Bernoulli 28, 2022 (arXiv 1906.09712).
    What breaks it: an order that is not the coin's; windows voided because they looked bad.
    """
    _refuse_alpha(alpha)
    ranked = sorted(xs)
    n = len(ranked)
    wins = _wins_that_fire(n, alpha)
    if wins is None:
        return Span(-math.inf, math.inf, n)
    return Span(ranked[n - wins], ranked[wins - 1], n)


def running(spans: Sequence[Span]) -> Iterator[Span]:
    """What all looks so far leave over: as valid as the single ones, and never wider again."""
    left = EVERYTHING
    for span in spans:
        left = Span(max(left.low, span.low), min(left.high, span.high), span.pairs)
        yield left


def median_sequence(xs: Sequence[float], alpha: float = 0.05) -> list[Span]:
    """The running limits of the median after each pair; a lost pair is given as -inf."""
    return list(running([median_span(xs[:n], alpha) for n in range(1, len(xs) + 1)]))


@lru_cache(maxsize=1024)
def _wins_that_fire(n: int, alpha: float) -> int | None:
    """The fewest wins among n untied pairs at which the sign test fires."""
    threshold = math.log(2 / alpha)
    return next((wins for wins in range(n + 1) if log_sign_e(wins, n - wins) >= threshold), None)


def _refuse_alpha(alpha: float) -> None:
    if not 0 < alpha < 1:
        raise ValueError(f"alpha lies between 0 and 1, got {alpha}")

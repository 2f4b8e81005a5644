"""E-processes: evidence against a null hypothesis that may be looked at after every pair.

An e-process E_1, E_2, ... has expectation at most 1 under the null hypothesis at any stopping
time; hence P(E_n >= 1/alpha for some n) <= alpha (Ville's inequality; Ramdas et al.,
"Game-theoretic statistics and safe anytime-valid inference", Statistical Science 2023).
Everything is in log space: the products overflow otherwise.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Iterable

LAMBDAS = (0.1, 0.2, 0.4, 0.6, 0.8, 0.95)
"""Bets of the sign-e-process, mixed with equal weights; the smallest catch weak effects."""

SIZES = (0.5, 1.0, 2.0, 4.0)
"""Bets of the symmetric e-process, mixed with equal weights: effects in units of the median |x|."""

STAKE = 0.9
"""The most that one value can bet: a single disturbed pair must not cost everything."""


def log_sign_e(wins: int, losses: int) -> float:
    """Log of the sign-e-process after `wins` pairs above and `losses` pairs below the threshold.

    Hypothesis: H0: given the past, a win is at most as likely as a loss; one-sided.
    Assumptions: none on the distribution. With coin-ordered pairs and no effect it is exact,
    whatever the autocorrelation, because the coin makes the sign fair given everything else.
    Formula: E = mean over lambda in LAMBDAS of (1+lambda)^wins (1-lambda)^losses; ties bet nothing.
    Source: betting on a coin, Shafer and Vovk, "Game-Theoretic Foundations for Probability and
    Finance" (2019), chapter 1; mixture over bets as in Waudby-Smith and Ramdas, JRSS-B 2024,
    arXiv 2010.09686.
    What breaks it: an order that is not a coin's; windows voided because they looked bad.
    """
    logs = [wins * math.log1p(bet) + losses * math.log1p(-bet) for bet in LAMBDAS]
    top = max(logs)
    return top + math.log(math.fsum(math.exp(value - top) for value in logs) / len(logs))


class SymmetricE:
    """The symmetric e-process, value by value: the sign test, but larger values bet more.

    Hypothesis: H0: given the past, x = S - c with S symmetric about 0 and c >= 0; one-sided.
    Assumptions: none on the distribution. With coin-ordered pairs, x = log ratio minus what is to
    be exceeded, and a true change of that or less it is exact, whatever the size, the tails and the
    autocorrelation of the noise and whatever hits one window of a pair only.
    Formula: E_n = mean over d in SIZES of the product of 1 + STAKE tanh(d x_i / m_i), m_i = median
    of |x_1| ... |x_i|. x_i / m_i never falls where x_i grows, so each factor is 1 plus an odd,
    never falling function of x_i: its mean is 1 for S and no more for S - c.
    Source: Ramdas, Ruf, Larsson and Koolen, "Admissible anytime-valid sequential inference must
    rely on nonnegative martingales", arXiv 2009.03167 (testing symmetry); Vovk and Wang,
    "Nonparametric e-tests of symmetry", arXiv 2208.08925. The choice of the function is ours: for
    Gaussian x of mean a and variance s^2 the fastest growing bet against symmetry is
    1 + tanh(a x / s^2), the likelihood ratio of that against its mixture with its mirror image.
    What breaks it: an order that is not the coin's; windows voided because they looked bad.
    """

    def __init__(self) -> None:
        self._logs = [0.0] * len(SIZES)
        self._seen: list[float] = []

    @property
    def log_e(self) -> float:
        """Log of E after what was added so far."""
        top = max(self._logs)
        return top + math.log(math.fsum(math.exp(log - top) for log in self._logs) / len(SIZES))

    def add(self, x: float) -> None:
        """One more value; -inf is a loss that has a rank but no size: every bet loses its stake."""
        if math.isinf(x):
            scaled = x
        else:
            insort(self._seen, abs(x))
            count = len(self._seen)
            middle = (self._seen[(count - 1) // 2] + self._seen[count // 2]) / 2
            if not x:
                return
            scaled = x / middle if middle else math.copysign(math.inf, x)
        self._logs = [
            log + math.log1p(STAKE * math.tanh(size * scaled))
            for size, log in zip(SIZES, self._logs, strict=True)
        ]

    def log_e_after(self, xs: Iterable[float]) -> float:
        """What `log_e` would be after further values; nothing is added."""
        ahead = SymmetricE()
        ahead._logs, ahead._seen = list(self._logs), list(self._seen)
        for x in xs:
            ahead.add(x)
        return ahead.log_e


def log_symmetric_e(xs: Iterable[float]) -> list[float]:
    """Log of the symmetric e-process (`SymmetricE`) after each of the values `xs`."""
    process = SymmetricE()
    found: list[float] = []
    for x in xs:
        process.add(x)
        found.append(process.log_e)
    return found

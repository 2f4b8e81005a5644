"""Is the measurement fit for a proof? Statistics over windows that all ran under the baseline.

None of these is part of a proof; they say what a proof will cost and what disturbs it. All values
are log ratios.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from ktune.evidence.chisquare import chi_square_quantile
from ktune.evidence.coin import Order
from ktune.evidence.fisher import f_quantile
from ktune.evidence.pairs import PairResult, PairState
from ktune.evidence.student import t_quantile

MINIMUM_PAIRS = 10
"""Fewest pairs of identical settings that say anything about the noise."""

SD_LEVEL = 0.90
"""Each limit of the sd is one-sided at this level."""

EFFECT_LEVEL = 0.99
"""Two-sided level of the intervals below. Four of them are looked at: at 95 % one run in five
would report a disturbance that is not there."""

POWER = 0.80
"""Power at which the smallest effect that would be found is stated."""

AVERAGING_PAIRS = 6
"""Fewest pairs from which anything is said of longer windows."""


@dataclass(frozen=True)
class Spread:
    """The sd of the pair log ratio and its one-sided limits at SD_LEVEL."""

    sd: float
    low: float
    high: float
    pairs: int


@dataclass(frozen=True)
class Effect:
    """A mean log ratio with its interval at EFFECT_LEVEL, from `values` numbers."""

    mean: float
    low: float
    high: float
    values: int

    @property
    def found(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low > 0 or self.high < 0

    @property
    def detectable(self) -> float:
        """The true effect that is found with a power of POWER, at the spread that was seen.

        Formula: (t at EFFECT_LEVEL + t at POWER) standard errors, each with n-1 degrees: within a
        few percent of the noncentral t. The half width alone is found every second time only.
        """
        freedom = self.values - 1
        outer = t_quantile((1 + EFFECT_LEVEL) / 2, freedom)
        return (self.high - self.low) / 2 * (1 + t_quantile(POWER, freedom) / outer)


@dataclass(frozen=True)
class Averaging:
    """The sd of two windows averaged as a multiple of one window's, with its limits."""

    ratio: float
    low: float
    high: float
    pairs: int


def spread(xs: Sequence[float], level: float = SD_LEVEL) -> Spread:
    """The sd of a pair, and how well it is known.

    Hypothesis: none; sd limits s sqrt((n-1) / q), q the chi-square quantiles with n-1 degrees at
    1-level (upper limit) and level (lower limit).
    Assumptions: independent Gaussian pairs.
    Source: Abramowitz and Stegun 26.4; any textbook on the variance of a normal sample.
    What breaks it: heavy tails (of ten pairs of Student t with 3 degrees the upper limit holds in
    62 % instead of 90 %, with one disturbed window in twenty in 46 %): disturbances that ten pairs
    did not see, they can't foretell. For the power this matters less, as the rule gains by heavy
    tails at the same sd. Ten pairs know an sd poorly: the upper 90 % limit is 47 % above it.
    """
    n = len(xs)
    if n < 2:
        raise ValueError("an sd needs two pairs at least")
    sd = math.sqrt(_variance(xs))
    return Spread(
        sd,
        sd * math.sqrt((n - 1) / chi_square_quantile(level, n - 1)),
        sd * math.sqrt((n - 1) / chi_square_quantile(1 - level, n - 1)),
        n,
    )


def order_effect(pairs: Sequence[PairResult]) -> Effect:
    """Second window against first, in pairs of identical settings.

    Hypothesis: which window runs first makes no difference. The coin cancels such an effect in the
    proof, where it is noise: it widens the sd, and the sd here contains it already.
    Assumptions and formula: Student's t interval of the mean log ratio second / first.
    What breaks it: too few pairs to see it (the interval says so).
    """
    return mean_effect(second_against_first(pairs))


def second_against_first(pairs: Sequence[PairResult]) -> list[float]:
    """Log ratio of the second window of each measured pair to the first."""
    return [
        pair.gain if pair.order is Order.BASELINE_FIRST else -pair.gain
        for pair in pairs
        if pair.state is PairState.MEASURED and pair.gain is not None
    ]


def autocorrelation(xs: Sequence[float]) -> float:
    """Lag-1 autocorrelation of the pair log ratios; 0 where they do not vary.

    Report it, never refuse on it: from ten independent pairs it has an sd of 0.27 and a mean of
    about -0.1. The coin makes the proof right whatever it is.
    Formula: sum (x_i - m)(x_{i+1} - m) / sum (x_i - m)^2.
    """
    mean = math.fsum(xs) / len(xs)
    total = math.fsum((x - mean) ** 2 for x in xs)
    if total <= 0:
        return 0.0
    both = itertools.pairwise(xs)
    return math.fsum((a - mean) * (b - mean) for a, b in both) / total


def mean_effect(xs: Sequence[float], level: float = EFFECT_LEVEL) -> Effect:
    """Mean with Student's t interval."""
    n = len(xs)
    mean = math.fsum(xs) / n
    half = t_quantile((1 + level) / 2, n - 1) * math.sqrt(_variance(xs) / n)
    return Effect(mean, mean - half, mean + half, n)


def averaging(pairs: Sequence[tuple[float, float]]) -> Averaging:
    """How much less two windows averaged vary than one: do longer windows help?

    `pairs`: log values of the two windows of each pair, in the order in which they ran.
    Hypothesis: none; a ratio of sds with its interval at SD_LEVEL (two-sided). 1/sqrt(2) = .71 is
    noise from within the windows, which averages out; 1 and more is noise that is the same all
    through a pair, which longer windows would not lose.
    Assumptions: Gaussian noise; linear drift is small against it.
    Formula: sqrt(b / a), a = variance of second less first, b = mean squared difference of
    successive pair means (von Neumann, Annals of Mathematical Statistics 12, 1941: about
    chi-square with 2 (n-1)^2 / (3n-4) degrees of freedom); limits from Fisher's F.
    What breaks it: pairs far apart or a season make b larger: it then promises too little.
    """
    n = len(pairs)
    if n < AVERAGING_PAIRS:
        raise ValueError(f"averaging needs {AVERAGING_PAIRS} pairs")
    one = _variance([second - first for first, second in pairs])
    means = [(first + second) / 2 for first, second in pairs]
    two = math.fsum((y - x) ** 2 for x, y in itertools.pairwise(means)) / (n - 1)
    if one <= 0:
        return Averaging(1.0, 0.0, math.inf, n)
    freedom = 2 * (n - 1) ** 2 / (3 * n - 4)
    tail = (1 - SD_LEVEL) / 2
    return Averaging(
        math.sqrt(two / one),
        math.sqrt(two / one / f_quantile(1 - tail, freedom, n - 1)),
        math.sqrt(two / one / f_quantile(tail, freedom, n - 1)),
        n,
    )


def _variance(xs: Sequence[float]) -> float:
    n = len(xs)
    if n < 2:
        raise ValueError("a variance needs two values at least")
    if min(xs) == max(xs):
        return 0.0
    mean = math.fsum(xs) / n
    return math.fsum((x - mean) ** 2 for x in xs) / (n - 1)

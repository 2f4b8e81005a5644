"""The promotion rule: is the finalist better than the baseline? Valid when asked after every pair.

Rule (docs/statistics.md): H0 "gain <= minimum" is rejected, one-sided at alpha in total, as soon as
the t-e-process reaches 1/alpha with t > 0 (level alpha/2) or the sign-e-process reaches 2/alpha
(level alpha/2), after 5 pairs at the earliest and 30 at the latest. With m finalists each gets
alpha/m. Each constraint must reject "worse by the margin or more" by the same rule at the same
level; as *all* must pass, no level is split between them (intersection-union test, Berger,
Technometrics 24, 1982). Search data never enters: only pairs of fresh windows do.

Futility only ever turns "continue" into "no improvement", so it can't add false promotions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from ktune.evidence.eprocess import log_sign_e, log_t_e, log_t_e_of
from ktune.evidence.pairs import PairResult, PairState, change_of
from ktune.evidence.student import t_quantile

FUTILITY_FROM = 10
"""Counted pairs before futility is judged: earlier the spread is hardly known."""

FUTILITY_LEVEL = 0.99
"""One-sided confidence of the upper limit at which the remaining pairs are supposed to run."""

SAME = 1e-12
"""Log ratios this close to the threshold are on it: rounding must not decide a sign."""


class Outcome(StrEnum):
    """What the pairs say so far."""

    CONTINUE = "continue"
    IMPROVED = "improved"
    NO_IMPROVEMENT = "no_improvement"


class Test(StrEnum):
    """The two tests that may fire."""

    T_E = "t-e"
    SIGN_E = "sign-e"
    __test__ = False  # its name is no invitation to pytest


@dataclass(frozen=True)
class Rule:
    """The promotion settings of a profile, in log ratios (`pairs.log_gain_of`, `log_margin_of`)."""

    alpha: float = 0.05
    min_pairs: int = 5
    max_pairs: int = 30
    minimum_gain: float = 0.0
    """`against: zero` = 0; `against: mei` = the log gain of the MEI."""
    finalists: int = 1
    margins: Mapping[str, float] = field(default_factory=dict)
    """By constrained metric: the log ratio that it may be worse by."""

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1 or self.finalists < 1:
            raise ValueError("alpha lies between 0 and 1, and there is one finalist at least")
        if not 2 <= self.min_pairs <= self.max_pairs:
            raise ValueError("2 <= min pairs <= max pairs")

    @property
    def level(self) -> float:
        """Alpha of one finalist."""
        return self.alpha / self.finalists

    def threshold(self, test: Test) -> float:
        """The E that fires a test."""
        return (1 if test is Test.T_E else 2) / self.level


@dataclass(frozen=True)
class Evidence:
    """Where the two tests stand on one hypothesis.

    `e_value` and `threshold` are those of `fired`, or of the test nearer to firing. Once fired
    the numbers stay those of that moment: an e-process proves when it crosses.
    """

    hypothesis: str
    fired: Test | None
    e_value: float
    threshold: float
    t_e: float
    sign_e: float
    after_pairs: int


@dataclass(frozen=True)
class Decision:
    """The outcome with its numbers; `pairs` counts measured and lost pairs, `void` is besides."""

    outcome: Outcome
    reason: str
    primary: Evidence
    constraints: Mapping[str, Evidence]
    pairs: int
    lost: int
    void: int

    @property
    def fired(self) -> Test | None:
        return self.primary.fired

    @property
    def e_value(self) -> float:
        return self.primary.e_value

    @property
    def threshold(self) -> float:
        return self.primary.threshold


def fewest_pairs(level: float, most: int) -> int | None:
    """The fewest pairs with which either test can fire at `level`, if all speak for the finalist;
    None where `most` are too few.

    Formula: the bound (1+n)^((n-1)/2) of the t-e-process, n straight wins of the sign-e-process.
    """
    rule = Rule(alpha=level)
    for pairs in range(2, most + 1):
        if _reaches(log_t_e_of(math.inf, pairs), rule.threshold(Test.T_E)) or _reaches(
            log_sign_e(pairs, 0), rule.threshold(Test.SIGN_E)
        ):
            return pairs
    return None


def decide(pairs: Sequence[PairResult], rule: Rule) -> Decision:
    """Apply the rule to the pairs in the order they were drawn.

    The first outcome other than "continue" is final: pairs after it change nothing. Void pairs
    are left out (the caller draws anew); a lost pair counts as a loss in the sign test of every
    hypothesis and ends the t test, which has no number for it.

    Raises:
        ValueError: a measured pair lacks the worsening of a constrained metric.
    """
    primary = _Track(f"gain <= {change_of(rule.minimum_gain):.3g}", rule)
    limits = {
        name: _Track(f"{name} worse by >= {math.expm1(margin):.3g}", rule)
        for name, margin in rule.margins.items()
    }
    counted = lost = void = 0
    outcome, reason = Outcome.CONTINUE, f"fewer than {rule.min_pairs} pairs"
    for pair in pairs:
        if pair.state is PairState.VOID:
            void += 1
            continue
        counted += 1
        if pair.state is PairState.LOST or pair.gain is None:
            lost += 1
            for track in (primary, *limits.values()):
                track.lose()
        else:
            primary.add(pair.gain - rule.minimum_gain)
            for name, track in limits.items():
                if name not in pair.worsening:
                    raise ValueError(f"pair {pair.draw} has no value for the constraint on {name}")
                track.add(rule.margins[name] - pair.worsening[name])
        outcome, reason = _judge(primary, limits, counted, rule)
        if outcome is not Outcome.CONTINUE:
            break
    return Decision(
        outcome=outcome,
        reason=reason,
        primary=primary.evidence(),
        constraints={name: track.evidence() for name, track in limits.items()},
        pairs=counted,
        lost=lost,
        void=void,
    )


def _judge(
    primary: _Track, limits: Mapping[str, _Track], counted: int, rule: Rule
) -> tuple[Outcome, str]:
    tracks = {"the gain": primary, **{f"the constraint on {n}": t for n, t in limits.items()}}
    open_ones = {name: track for name, track in tracks.items() if track.proof is None}
    if not open_ones:
        proof = primary.evidence()
        return Outcome.IMPROVED, (
            f"{proof.fired} reached {proof.e_value:.3g} (threshold {proof.threshold:.3g}) "
            f"after {proof.after_pairs} pairs"
        )
    names = " and ".join(open_ones)
    if counted >= rule.max_pairs:
        return Outcome.NO_IMPROVEMENT, f"{names} not shown within {rule.max_pairs} pairs"
    hopeless = [name for name, track in open_ones.items() if track.hopeless(counted)]
    if hopeless:
        return Outcome.NO_IMPROVEMENT, (
            f"{' and '.join(hopeless)} can hardly be shown any more within "
            f"{rule.max_pairs} pairs (futility after {counted})"
        )
    return Outcome.CONTINUE, f"{names} not shown yet after {counted} pairs"


class _Track:
    """One hypothesis: its values so far, and the moment a test fired."""

    def __init__(self, hypothesis: str, rule: Rule) -> None:
        self.hypothesis = hypothesis
        self.rule = rule
        self.proof: Evidence | None = None
        self._xs: list[float] = []
        self._wins = self._losses = self._lost = self._counted = 0

    def add(self, x: float) -> None:
        """A measured pair, as its distance from the hypothesis (above 0 = against it)."""
        x = 0.0 if abs(x) <= SAME else x
        self._xs.append(x)
        self._wins += x > 0
        self._losses += x < 0
        self._count()

    def lose(self) -> None:
        """A pair that the candidate failed."""
        self._losses += 1
        self._lost += 1
        self._count()

    def evidence(self) -> Evidence:
        """The proof if there is one, else where the tests stand."""
        return self.proof or self._stand()

    def hopeless(self, counted: int) -> bool:
        """Whether neither test would fire even if the rest of the pairs went well.

        Well means: every remaining pair a win for the sign test; the remaining pairs at the upper
        99 % limit of the mean so far, with the spread so far, for the t test.
        """
        rest = self.rule.max_pairs - counted
        if counted < FUTILITY_FROM or self.proof is not None:
            return False
        if _reaches(log_sign_e(self._wins + rest, self._losses), self.rule.threshold(Test.SIGN_E)):
            return False
        if self._lost:
            return True
        n = len(self._xs)
        mean = math.fsum(self._xs) / n
        spread = math.sqrt(math.fsum((x - mean) ** 2 for x in self._xs) / (n - 1))
        upper = mean + t_quantile(FUTILITY_LEVEL, n - 1) * spread / math.sqrt(n)
        last = n + rest
        projected = (n * mean + rest * upper) / last
        if projected <= 0:
            return True
        t = projected / (spread / math.sqrt(last)) if spread > 0 else math.inf
        return not _reaches(log_t_e_of(t, last), self.rule.threshold(Test.T_E))

    def _count(self) -> None:
        self._counted += 1
        if self.proof is None:
            stand = self._stand()
            if stand.fired is not None:
                self.proof = stand

    def _stand(self) -> Evidence:
        logs = {Test.SIGN_E: log_sign_e(self._wins, self._losses)}
        # t-e is two-sided: a candidate that is clearly worse has a large E and t < 0
        if not self._lost and math.fsum(self._xs) > 0:
            logs[Test.T_E] = log_t_e(self._xs)
        margin = {test: log - math.log(self.rule.threshold(test)) for test, log in logs.items()}
        nearest = max(margin, key=lambda test: (margin[test], test is Test.T_E))
        ripe = self._counted >= self.rule.min_pairs
        return Evidence(
            hypothesis=self.hypothesis,
            fired=nearest if ripe and margin[nearest] >= 0 else None,
            e_value=math.exp(logs[nearest]),
            threshold=self.rule.threshold(nearest),
            t_e=math.exp(logs.get(Test.T_E, -math.inf)),
            sign_e=math.exp(logs[Test.SIGN_E]),
            after_pairs=self._counted,
        )


def _reaches(log_e: float, threshold: float) -> bool:
    return log_e >= math.log(threshold)

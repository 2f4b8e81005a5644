"""The promotion rule: is the finalist better than the baseline? Valid when asked after every pair.

Rule (docs/statistics.md): H0 "gain <= minimum" is rejected, one-sided at alpha in total, as soon as
the symmetric e-process reaches 1/alpha, after 5 pairs at the earliest and 30 at the latest. It
rests on the coin alone. With m finalists each gets alpha/m. Each constraint must reject "worse by
the margin or more" by the same rule at the same level; as *all* must pass, no level is split
between them (intersection-union test, Berger, Technometrics 24, 1982). Search data never enters:
only pairs of fresh windows do.

Futility only ever turns "continue" into "no improvement", so it can't add false promotions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from ktune.evidence.eprocess import SymmetricE, log_symmetric_e
from ktune.evidence.pairs import PairResult, PairState, change_of
from ktune.evidence.student import t_quantile
from ktune.kernel.wording import counted

TEST = "symmetric-e"
"""The one test, as proofs and policies name it."""

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

    @property
    def threshold(self) -> float:
        """The E that rejects a hypothesis."""
        return 1 / self.level


@dataclass(frozen=True)
class Evidence:
    """Where the test stands on one hypothesis.

    Once fired the numbers stay those of that moment: an e-process proves when it crosses.
    """

    hypothesis: str
    fired: bool
    e_value: float
    threshold: float
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
    def fired(self) -> bool:
        return self.primary.fired

    @property
    def e_value(self) -> float:
        return self.primary.e_value

    @property
    def threshold(self) -> float:
        return self.primary.threshold


def fewest_pairs(level: float, most: int) -> int | None:
    """The fewest pairs with which the test can fire at `level`, if all speak for the finalist and
    are alike; None where `most` are too few."""
    limit = math.log(1 / level)
    found = enumerate(log_symmetric_e([1.0] * most), start=1)
    return next((pairs for pairs, log_e in found if pairs >= 2 and log_e >= limit), None)


def decide(pairs: Sequence[PairResult], rule: Rule) -> Decision:
    """Apply the rule to the pairs in the order they were drawn.

    The first outcome other than "continue" is final: pairs after it change nothing. Void pairs
    are left out (the caller draws anew); a lost pair costs every bet on every hypothesis its stake:
    it ranks below all numbers.

    Raises:
        ValueError: a measured pair lacks the worsening of a constrained metric.
    """
    primary = _Track(f"gain <= {change_of(rule.minimum_gain):.3g}", rule)
    limits = {
        name: _Track(f"{name} worse by >= {math.expm1(margin):.3g}", rule)
        for name, margin in rule.margins.items()
    }
    tested = lost = void = 0
    outcome, reason = Outcome.CONTINUE, f"fewer than {counted(rule.min_pairs, 'pair')}"
    for pair in pairs:
        if pair.state is PairState.VOID:
            void += 1
            continue
        tested += 1
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
        outcome, reason = _judge(primary, limits, tested, rule)
        if outcome is not Outcome.CONTINUE:
            break
    return Decision(
        outcome=outcome,
        reason=reason,
        primary=primary.evidence(),
        constraints={name: track.evidence() for name, track in limits.items()},
        pairs=tested,
        lost=lost,
        void=void,
    )


def _judge(
    primary: _Track, limits: Mapping[str, _Track], tested: int, rule: Rule
) -> tuple[Outcome, str]:
    tracks = {"the gain": primary, **{f"the constraint on {n}": t for n, t in limits.items()}}
    open_ones = {name: track for name, track in tracks.items() if track.proof is None}
    if not open_ones:
        proof = primary.evidence()
        return Outcome.IMPROVED, (
            f"{TEST} reached {proof.e_value:.3g} (threshold {proof.threshold:.3g}) "
            f"after {counted(proof.after_pairs, 'pair')}"
        )
    names = " and ".join(open_ones)
    if tested >= rule.max_pairs:
        return Outcome.NO_IMPROVEMENT, f"{names} not shown within {counted(rule.max_pairs, 'pair')}"
    hopeless = [name for name, track in open_ones.items() if track.hopeless(tested)]
    if hopeless:
        return Outcome.NO_IMPROVEMENT, (
            f"{' and '.join(hopeless)} can hardly be shown any more within "
            f"{counted(rule.max_pairs, 'pair')} (futility after {tested})"
        )
    return Outcome.CONTINUE, f"{names} not shown yet after {counted(tested, 'pair')}"


class _Track:
    """One hypothesis: its values so far, and the moment the test fired."""

    def __init__(self, hypothesis: str, rule: Rule) -> None:
        self.hypothesis = hypothesis
        self.rule = rule
        self.proof: Evidence | None = None
        self._process = SymmetricE()
        self._xs: list[float] = []
        self._tested = 0

    def add(self, x: float) -> None:
        """A measured pair, as its distance from the hypothesis (above 0 = against it)."""
        x = 0.0 if abs(x) <= SAME else x
        self._xs.append(x)
        self._count(x)

    def lose(self) -> None:
        """A pair that the candidate failed."""
        self._count(-math.inf)

    def evidence(self) -> Evidence:
        """The proof if there is one, else where the test stands."""
        return self.proof or self._stand()

    def hopeless(self, tested: int) -> bool:
        """Whether the test would not fire even if the rest of the pairs went well.

        Well means: the remaining pairs are spread like those so far, but around the upper 99 %
        limit of their mean, and none is lost.
        """
        rest = self.rule.max_pairs - tested
        if tested < FUTILITY_FROM or self.proof is not None or len(self._xs) < 2:
            return False
        n = len(self._xs)
        mean = math.fsum(self._xs) / n
        spread = math.sqrt(math.fsum((x - mean) ** 2 for x in self._xs) / (n - 1))
        ahead = t_quantile(FUTILITY_LEVEL, n - 1) * spread / math.sqrt(n)
        ranked = sorted(self._xs)
        evenly = [ranked[int((place + 0.5) * n / rest)] + ahead for place in range(rest)]
        return self._process.log_e_after(evenly) < math.log(self.rule.threshold)

    def _count(self, x: float) -> None:
        self._process.add(x)
        self._tested += 1
        if self.proof is None:
            stand = self._stand()
            if stand.fired:
                self.proof = stand

    def _stand(self) -> Evidence:
        log_e = self._process.log_e
        ripe = self._tested >= self.rule.min_pairs
        return Evidence(
            hypothesis=self.hypothesis,
            fired=ripe and log_e >= math.log(self.rule.threshold),
            e_value=math.exp(log_e),
            threshold=self.rule.threshold,
            after_pairs=self._tested,
        )

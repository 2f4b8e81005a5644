"""Is a policy in force worse than the baseline? The tests of probation, valid at every look.

Each watched metric (every objective, every constraint) is tested by itself: H0 "worse by the margin
or less". Pairs come from holdback windows: the baseline for one window, the policy for the other,
in the order of the coin. Whatever befalls both alike (a load step, a backup) cancels.

The total chance to reject for an innocent policy is alpha, over any number of looks, metrics and
restarts: alpha is split evenly over the metrics; the first begin of the test takes 0.8 of it, begin
number k the share 0.2 / (k (k - 1)), which sums to 1 over however many begins there are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ktune.evidence.decide import SAME
from ktune.evidence.eprocess import log_symmetric_e
from ktune.evidence.pairs import Direction, change_of
from ktune.kernel.wording import counted

FIRST_SHARE = 0.8
"""Of alpha, for the first begin: most probations are never disturbed."""


@dataclass(frozen=True)
class GuardRule:
    """What counts as a regression.

    `margins`: by watched metric, the log ratio that it may be worse by (>= 0).
    `begin`: how often the test has begun, this time included.
    """

    margins: Mapping[str, float]
    alpha: float = 0.01
    begin: int = 1
    directions: Mapping[str, Direction] = field(default_factory=dict)
    """For texts; a metric that is not named is one to maximise."""

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 0.5:
            raise ValueError(f"alpha lies between 0 and 0.5, got {self.alpha}")
        if not self.margins or min(self.margins.values()) < 0:
            raise ValueError("a margin of 0 or more for one metric at least")
        if self.begin < 1:
            raise ValueError("the first begin is number 1")

    @property
    def level(self) -> float:
        """Alpha of one metric in this begin."""
        k = self.begin
        share = FIRST_SHARE if k == 1 else (1 - FIRST_SHARE) / (k * (k - 1))
        return self.alpha * share / len(self.margins)

    @property
    def threshold(self) -> float:
        """The E of a metric that says "worse"."""
        return 1 / self.level


@dataclass(frozen=True)
class MetricEvidence:
    """Where one metric stands. `mean` is the mean worsening as a log ratio; None without pairs."""

    metric: str
    pairs: int
    mean: float | None
    e_value: float
    threshold: float

    @property
    def fired(self) -> bool:
        return self.e_value >= self.threshold


@dataclass(frozen=True)
class GuardDecision:
    """`regressed`: the metric that is worse, or None."""

    metrics: Mapping[str, MetricEvidence] = field(default_factory=dict)
    pairs: int = 0
    regressed: str | None = None
    reason: str = "no pairs yet"


def judge(worsenings: Sequence[Mapping[str, float]], rule: GuardRule) -> GuardDecision:
    """The decision after the measured pairs, in their order; the first rejection is final.

    `worsenings`: per pair and metric, the log ratio that is above 0 when the policy is worse. Void
    pairs are not given: in recommendation mode missing data is never a loss.

    Hypothesis: per metric, H0: the worsening is the margin at most.
    Assumptions: nothing but the coin.
    Formula: the symmetric e-process at E >= 1/level; level = alpha x share of the begin / number
    of metrics.
    Source: as `eprocess.SymmetricE`; Bonferroni over metrics and begins.
    What breaks it: an order that is not the coin's; windows voided because they looked bad.

    Raises:
        ValueError: a pair lacks a watched metric.
    """
    found = {
        metric: _stand(
            metric, [_distance(pair, metric, margin) for pair in worsenings], margin, rule
        )
        for metric, margin in rule.margins.items()
    }
    fired = [item for item in found.values() if item.fired]
    if fired:
        worst = min(fired, key=lambda item: item.pairs)
        return GuardDecision(found, len(worsenings), worst.metric, _regression_text(worst, rule))
    return GuardDecision(
        found, len(worsenings), None, f"no regression in {counted(len(worsenings), 'pair')}"
    )


def least_pairs(rule: GuardRule) -> int:
    """The fewest pairs, all alike and all worse, after which the rule says so: a test that had
    fewer says nothing for the policy."""
    limit = math.log(rule.threshold)
    count = 1
    while log_symmetric_e([1.0] * count)[-1] < limit:
        count += 1
    return count


def too_few(pairs: int, rule: GuardRule) -> str:
    """Why a test of so many pairs says nothing for the policy; empty where it does."""
    needed = least_pairs(rule)
    if pairs >= needed:
        return ""
    metrics = f" over {len(rule.margins)} metrics" if len(rule.margins) > 1 else ""
    return (
        f"{counted(pairs, 'pair')} can find no worsening, however large, at alpha "
        f"{rule.alpha:g}{metrics}: at least {needed} are needed"
    )


def worse_by(worsening: float, direction: Direction) -> float:
    """A worsening (log ratio) as a fraction of the baseline's value: 0.1 = 10 % worse."""
    return -change_of(-worsening, direction)


def _distance(pair: Mapping[str, float], metric: str, margin: float) -> float:
    if metric not in pair:
        raise ValueError(f"a pair has no value for {metric}")
    x = pair[metric] - margin
    return 0.0 if abs(x) <= SAME else x


def _stand(metric: str, xs: Sequence[float], margin: float, rule: GuardRule) -> MetricEvidence:
    """Where it fired first, else where it stands: an e-process proves when it crosses."""
    logs = log_symmetric_e(xs)
    limit = math.log(rule.threshold)
    count = next((n for n, log in enumerate(logs, 1) if log >= limit), len(logs))
    return MetricEvidence(
        metric=metric,
        pairs=count,
        mean=math.fsum(xs[:count]) / count + margin if count else None,
        e_value=math.exp(logs[count - 1]) if count else 1.0,
        threshold=rule.threshold,
    )


def _regression_text(item: MetricEvidence, rule: GuardRule) -> str:
    direction = rule.directions.get(item.metric, Direction.MAXIMIZE)
    mean = worse_by(item.mean or 0.0, direction)
    margin = worse_by(rule.margins[item.metric], direction)
    return (
        f"{item.metric} is {mean:.1%} worse than at the baseline (margin {margin:.1%}): "
        f"E {item.e_value:.3g} (threshold {item.threshold:g}) "
        f"after {counted(item.pairs, 'pair')}"
    )

"""How likely the promotion rule is to show a true gain: the rule itself, simulated.

Rules of thumb are wrong here: sd * 2.9 / sqrt(n) gives a power of .57 instead of .8 for a rule
that may stop at any pair. So `decide` is run on simulated pairs: thresholds, futility, constraints
and limits on pairs are those of the profile. Seeded: the same question has the same answer.
"""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from ktune.evidence.coin import Order
from ktune.evidence.decide import Decision, Outcome, Rule, decide
from ktune.evidence.pairs import PairResult, PairState

TARGET = 0.8
"""A gain is resolvable when at least this share of proofs shows it."""

RUNS = 600
"""Simulated proofs a question: at a power of .8 the share is known to +-3 points (95 %)."""

MOST_PAIRS = 120
"""How far `pairs_needed` looks."""


@dataclass(frozen=True)
class Power:
    """Share of simulated proofs that promoted, and the pairs they took on average."""

    promoted: float
    mean_pairs: float
    runs: int


@dataclass(frozen=True)
class Noise:
    """What the windows vary by: the pair sd of the objective, and of each constrained metric."""

    sd: float
    worsening_sd: Mapping[str, float] = field(default_factory=dict)


def power(rule: Rule, noise: Noise, gain: float, *, runs: int = RUNS, seed: int = 1) -> Power:
    """Simulate `runs` proofs of a true log gain of `gain`.

    Assumptions: Gaussian pairs, independent; constrained metrics do not truly worsen, and vary
    independently of the objective (where both suffer from the same disturbance, the power is a
    little higher). Heavy tails at the same sd give more power, not less (Student t with 3 degrees:
    .71 instead of .52 at gain / sd = .5).
    Formula: none; `decide.decide` on pairs gain + sd z with seeded z. Different gains see the same
    z, so the power grows smoothly with the gain.
    What breaks it: an sd that is not the one of the proof (10 pairs know it poorly: ask with its
    upper limit), a gain that comes and goes.
    """
    missing = rule.margins.keys() - noise.worsening_sd.keys()
    if missing:
        raise ValueError(f"no sd for the constraint on {', '.join(sorted(missing))}")
    promoted = pairs = 0
    for run in range(runs):
        decision = _proof(rule, noise, gain, seed, run)
        promoted += decision.outcome is Outcome.IMPROVED
        pairs += decision.pairs
    return Power(promoted / runs, pairs / runs, runs)


def shows(
    rule: Rule,
    noise: Noise,
    gain: float,
    *,
    target: float = TARGET,
    runs: int = RUNS,
    seed: int = 1,
) -> bool:
    """Whether `power` is at least `target`; stops simulating once that is certain."""
    wanted = math.ceil(target * runs - 1e-9)
    promoted = 0
    for run in range(runs):
        if promoted >= wanted or promoted + runs - run < wanted:
            break
        promoted += _proof(rule, noise, gain, seed, run).outcome is Outcome.IMPROVED
    return promoted >= wanted


def smallest_gain(
    rule: Rule, noise: Noise, *, target: float = TARGET, runs: int = RUNS, seed: int = 1
) -> float | None:
    """The smallest log gain that the rule shows with the power `target`, by bisection.

    None where no gain does: a constraint is too noisy for its margin, or fewer pairs than the
    tests need.
    """
    none = rule.minimum_gain

    def enough(gain: float) -> bool:
        return shows(rule, noise, gain, target=target, runs=runs, seed=seed)

    if noise.sd == 0:
        return none if enough(none + 1e-3) else None
    if not enough(none + 50 * noise.sd):
        return None
    low, high = none, none + noise.sd
    while not enough(high):
        low, high = high, none + 2 * (high - none)
    while high - low > 0.02 * (high - none):
        middle = (low + high) / 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def pairs_needed(
    rule: Rule,
    noise: Noise,
    gain: float,
    *,
    target: float = TARGET,
    most: int = MOST_PAIRS,
    runs: int = RUNS,
    seed: int = 1,
) -> int | None:
    """The smallest `max_pairs` at which the rule shows `gain` with the power `target`.

    None where `most` pairs are not enough. By bisection: the power grows with the pairs allowed
    (futility looks further ahead then).
    """

    def enough(pairs: int) -> bool:
        longer = dataclasses.replace(rule, max_pairs=pairs)
        return shows(longer, noise, gain, target=target, runs=runs, seed=seed)

    low, high = rule.min_pairs - 1, rule.max_pairs
    while not enough(high):
        if high >= most:
            return None
        low, high = high, min(2 * high, most)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _proof(rule: Rule, noise: Noise, gain: float, seed: int, run: int) -> Decision:
    return decide(_pairs(rule, noise, gain, random.Random(seed * 1_000_003 + run)), rule)


def _pairs(rule: Rule, noise: Noise, gain: float, rng: random.Random) -> list[PairResult]:
    """As many pairs as the rule may ask for; the order plays no part, the noise is symmetric."""
    found = []
    for draw in range(rule.max_pairs):
        value = gain + noise.sd * rng.gauss(0, 1)
        worsening = {
            name: noise.worsening_sd[name] * rng.gauss(0, 1) for name in sorted(rule.margins)
        }
        found.append(PairResult(draw, Order.BASELINE_FIRST, PairState.MEASURED, value, worsening))
    return found

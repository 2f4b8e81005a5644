"""Simulated windows for the operating characteristics: noise, drift, order effects, coins."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence

from ktune.evidence.coin import Order, toss
from ktune.evidence.decide import Decision, Outcome, Rule, decide
from ktune.evidence.pairs import PairResult, PairState

Noise = Callable[[random.Random], float]
Coin = Callable[[int, str, int], Order]


def gauss(rng: random.Random) -> float:
    return rng.gauss(0, 1)


def student3(rng: random.Random) -> float:
    """Heavy tails, sd 1."""
    chi = math.fsum(rng.gauss(0, 1) ** 2 for _ in range(3))
    return rng.gauss(0, 1) / math.sqrt(chi / 3) / math.sqrt(3)


def spikes(rng: random.Random) -> float:
    """One window in twenty is disturbed sevenfold; sd 1."""
    return (rng.gauss(0, 1) + (rng.gauss(0, 6) if rng.random() < 0.05 else 0)) / math.sqrt(2.8)


NOISES: dict[str, Noise] = {"gauss": gauss, "t3": student3, "spikes": spikes}


def fixed_order(seed: int, phase: str, draw: int) -> Order:
    """The planted bug: the baseline always first."""
    return Order.BASELINE_FIRST


def measured(gains: Sequence[float], **worsening: Sequence[float]) -> list[PairResult]:
    """Pairs with these log ratios."""
    return [
        PairResult(
            draw,
            Order.BASELINE_FIRST,
            PairState.MEASURED,
            gain,
            {name: values[draw] for name, values in worsening.items()},
        )
        for draw, gain in enumerate(gains)
    ]


def windows(
    rng: random.Random,
    *,
    noise: Noise = gauss,
    sd: float = 0.05,
    order_effect: float = 0.0,
    memory: float = 0.0,
    season: float = 0.0,
) -> Iterator[float]:
    """Endless log values of one unchanged system, two to a pair.

    `sd` is that of a pair's log ratio. `order_effect` is added to the second window of a pair,
    `memory` is the autocorrelation of the noise, `season` the height of a slow wave.
    """
    state, index = 0.0, 0
    while True:
        fresh = sd / math.sqrt(2) * noise(rng)
        state = memory * state + math.sqrt(1 - memory * memory) * fresh
        yield state + order_effect * (index % 2) + season * math.sin(index / 40)
        index += 1


def pairs_of(
    source: Iterator[float], seed: int, *, gain: float = 0.0, coin: Coin = toss, count: int = 30
) -> list[PairResult]:
    """Pairs whose candidate windows are better by `gain`, in the order of the coin."""
    found = []
    for draw in range(count):
        order = coin(seed, "decision", draw)
        first, second = next(source), next(source)
        log_ratio = first - second if order is Order.CANDIDATE_FIRST else second - first
        found.append(PairResult(draw, order, PairState.MEASURED, gain + log_ratio))
    return found


def promoted(decisions: Sequence[Decision]) -> int:
    return sum(decision.outcome is Outcome.IMPROVED for decision in decisions)


def sessions(
    runs: int,
    *,
    seed: int,
    gain: float = 0.0,
    coin: Coin = toss,
    rule: Rule | None = None,
    **how: object,
) -> list[Decision]:
    """So many decisions, each on windows of its own."""
    rng = random.Random(seed)
    return [
        decide(
            pairs_of(windows(rng, **how), seed * 1_000_003 + run, gain=gain, coin=coin),  # type: ignore[arg-type]
            rule or Rule(),
        )
        for run in range(runs)
    ]

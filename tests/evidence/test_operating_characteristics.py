"""How often the rule is right: simulated, seeded, judged by exact binomial limits.

"Observed rate <= 5 %" would be no test (it fails half the time at a true rate of 5 %); what is
asserted is that the exact lower limit does not exceed the nominal rate. Each planted bug must
push it above: `test_..._is_found_out`.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

import pytest

from benchmarks.evidence.t_e import log_t_e
from ktune.evidence.binomial import lower_limit
from ktune.evidence.decide import Outcome, Rule, decide
from ktune.evidence.eprocess import log_symmetric_e
from ktune.evidence.pairs import log_gain_of
from tests.evidence.simulated import NOISES, fixed_order, measured, promoted, sessions

ALPHA = 0.05
RUNS = 1000


def too_often(hits: int, runs: int, nominal: float = ALPHA) -> bool:
    return lower_limit(hits, runs, 0.99) > nominal


@pytest.mark.parametrize("noise", NOISES)
def test_without_a_gain_at_most_five_percent_are_promoted(noise: str) -> None:
    found = sessions(RUNS, seed=1, noise=NOISES[noise])
    assert not too_often(promoted(found), RUNS)


def test_with_autocorrelation_and_a_season_the_coin_keeps_the_promise() -> None:
    found = sessions(RUNS, seed=2, memory=0.9, season=0.1)
    assert not too_often(promoted(found), RUNS)


def test_an_order_effect_cancels_by_the_coin() -> None:
    found = sessions(RUNS, seed=3, order_effect=0.02)
    assert not too_often(promoted(found), RUNS)


def test_an_order_effect_with_a_fixed_order_is_found_out() -> None:
    found = sessions(300, seed=3, order_effect=0.02, coin=fixed_order)
    assert too_often(promoted(found), 300)


def by_the_coin(rejects: Callable[[Sequence[float]], bool], pairs: int = 30) -> float:
    """Exact chance to reject at any of the looks from the fifth pair on, when all |x| are equal (an
    order effect and no noise), so that only the coin varies: dynamic programming over the wins."""
    alive, fired = {0: 1.0}, 0.0
    for n in range(1, pairs + 1):
        reached: dict[int, float] = {}
        for wins, probability in alive.items():
            for after in (wins, wins + 1):
                reached[after] = reached.get(after, 0.0) + probability / 2
        alive = {}
        for wins, probability in reached.items():
            if n >= 5 and rejects([1.0] * wins + [-1.0] * (n - wins)):
                fired += probability
            else:
                alive[wins] = probability
    return fired


@pytest.mark.parametrize("finalists", [1, 2, 3, 4, 5, 10])
def test_under_an_order_effect_alone_all_finalists_together_keep_alpha(finalists: int) -> None:
    """The coin is all that there is: exact, and the union bound over the finalists."""
    limit = math.log(1 / Rule(finalists=finalists).level)
    each = by_the_coin(lambda xs: log_symmetric_e(xs)[-1] >= limit)
    assert 0 < finalists * each <= ALPHA
    found = sessions(RUNS, seed=4, sd=1e-6, order_effect=0.02, rule=Rule(finalists=finalists))
    assert abs(promoted(found) / RUNS - each) <= 4 * math.sqrt(each / RUNS) + 1 / RUNS


@pytest.mark.parametrize("finalists", [3, 4])
def test_a_t_test_would_not_keep_it(finalists: int) -> None:
    """Planted bug: the Gaussian t-e-process, twice as strict for asking t > 0. Six straight wins
    fire it at any level that is asked of it here."""
    limit = math.log(1 / Rule(finalists=finalists).level)
    each = by_the_coin(lambda xs: math.fsum(xs) > 0 and log_t_e(xs) >= limit)
    assert finalists * each > ALPHA


@pytest.mark.parametrize("finalists", [1, pytest.param(4, marks=pytest.mark.full)])
def test_any_sizes_under_the_coin_keep_alpha(finalists: int) -> None:
    """Sizes that an adversary might choose: growing, shrinking, one in five huge, two by two."""
    rng, runs = random.Random(14), 600
    shapes: list[Callable[[int], float]] = [
        lambda n: 2.0**n,
        lambda n: 2.0**-n,
        lambda n: 100.0 if n % 5 == 4 else 1.0,
        lambda n: 1.0 + (n // 2) % 3,
    ]
    for size in shapes:
        families = 0
        for _ in range(runs):
            tries = (
                decide(
                    measured([size(n) * rng.choice((-1, 1)) for n in range(30)]),
                    Rule(finalists=finalists),
                )
                for _ in range(finalists)
            )
            families += any(found.outcome is Outcome.IMPROVED for found in tries)
        assert not too_often(families, runs)


def test_at_the_mei_itself_at_most_five_percent_are_promoted() -> None:
    mei = log_gain_of(0.02)
    found = sessions(RUNS, seed=5, gain=mei, rule=Rule(minimum_gain=mei))
    assert not too_often(promoted(found), RUNS)


def test_with_five_finalists_together_at_most_five_percent() -> None:
    each = sessions(5 * 400, seed=6, rule=Rule(finalists=5))
    families = [promoted(each[i : i + 5]) > 0 for i in range(0, len(each), 5)]
    assert not too_often(sum(families), 400)


def test_at_the_margin_itself_a_constraint_passes_at_most_five_percent() -> None:
    rng, margin, hits = random.Random(7), 0.05, 0
    for _ in range(RUNS):
        gain = [rng.gauss(0.2, 0.05) for _ in range(30)]
        worse = [rng.gauss(margin, 0.05) for _ in range(30)]
        found = decide(measured(gain, p99=worse), Rule(margins={"p99": margin}))
        hits += found.outcome is Outcome.IMPROVED
    assert not too_often(hits, RUNS)


@pytest.mark.parametrize(
    ("effect", "power", "pairs"), [(0.5, 0.51, 16.2), (0.68, 0.80, 14.9), (1.0, 0.99, 10.8)]
)
def test_the_power_is_what_the_documentation_says(
    effect: float, power: float, pairs: float
) -> None:
    """`effect` in units of the sd of the pair log ratio; figures of docs/statistics.md."""
    found = sessions(800, seed=8, gain=effect, sd=1.0)
    rate = promoted(found) / 800
    assert rate == pytest.approx(power, abs=4 * math.sqrt(power * (1 - power) / 800) + 0.01)
    assert sum(item.pairs for item in found) / 800 == pytest.approx(pairs, abs=1.5)


def test_ten_percent_at_an_sd_of_five_is_found_in_thirty_pairs() -> None:
    for noise in NOISES:
        found = sessions(300, seed=13, gain=log_gain_of(0.10), noise=NOISES[noise])
        assert promoted(found) / 300 >= 0.85, noise


def test_heavy_tails_do_not_hide_a_large_gain() -> None:
    """A true +45 % with pairs spoilt now and then, as on the emulated long link."""
    rng, runs, hits = random.Random(9), 400, 0
    for _ in range(runs):
        gains = [
            rng.gauss(0.37, 0.05) - (rng.expovariate(1.2) if rng.random() < 0.15 else 0)
            for _ in range(30)
        ]
        hits += decide(measured(gains), Rule()).outcome is Outcome.IMPROVED
    assert hits / runs > 0.9


def _without_any_rule(gains: list[float]) -> bool:
    """Planted bug: peek with a plain t test after every pair from the fifth on."""
    for n in range(5, len(gains) + 1):
        mean = math.fsum(gains[:n]) / n
        sd = math.sqrt(math.fsum((x - mean) ** 2 for x in gains[:n]) / (n - 1))
        if mean / (sd / math.sqrt(n)) > 1.9:
            return True
    return False


def test_peeking_with_a_plain_t_test_is_found_out() -> None:
    rng = random.Random(10)
    hits = sum(_without_any_rule([rng.gauss(0, 1) for _ in range(30)]) for _ in range(600))
    assert too_often(hits, 600)


def _a_search(rng: random.Random, trials: int = 40) -> float:
    """The luckiest score of a flat search: every candidate equals the baseline."""
    return max(rng.gauss(0, 1) for _ in range(trials))


@pytest.mark.parametrize(
    ("pairs_before", "wrong"), [(lambda rng: [], False), (lambda rng: [_a_search(rng)] * 3, True)]
)
def test_search_data_in_the_confirmation_is_found_out(
    pairs_before: Callable[[random.Random], list[float]], wrong: bool
) -> None:
    rng, runs, hits = random.Random(12), 600, 0
    for _ in range(runs):
        gains = [*pairs_before(rng), *(rng.gauss(0, 1) for _ in range(27))]
        hits += decide(measured(gains), Rule()).outcome is Outcome.IMPROVED
    assert too_often(hits, runs) is wrong


@pytest.mark.full
@pytest.mark.timeout(900)
@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("sd", [0.003, 0.05, 0.3])
def test_without_a_gain_in_many_runs(noise: str, sd: float) -> None:
    for how in ({}, {"memory": 0.9}, {"order_effect": 0.02}):
        found = sessions(6000, seed=20, noise=NOISES[noise], sd=sd, **how)
        assert not too_often(promoted(found), 6000), how

"""Noise, order effect, carry-over: references, and how often their limits hold."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktune.evidence.binomial import lower_limit
from ktune.evidence.chisquare import chi_square_above, chi_square_quantile
from ktune.evidence.readiness import (
    against_control,
    autocorrelation,
    mean_effect,
    order_effect,
    second_against_first,
    spread,
)
from tests.evidence.simulated import gauss, pairs_of, windows

ratio = st.floats(min_value=-2, max_value=2).map(lambda x: round(x, 6))
ratios = st.lists(ratio, min_size=3, max_size=40)


@pytest.mark.parametrize("freedom", [1, 2, 3, 9, 10, 39, 120])
def test_chi_square_agrees_with_scipy(freedom: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    for probability in (0.01, 0.1, 0.5, 0.9, 0.99):
        expected = stats.chi2.ppf(probability, freedom)
        assert chi_square_quantile(probability, freedom) == pytest.approx(expected, rel=1e-9)
        assert chi_square_above(expected, freedom) == pytest.approx(1 - probability, rel=1e-9)


def test_ten_pairs_know_an_sd_poorly() -> None:
    found = spread([math.sin(7.3 * n) for n in range(10)])
    assert found.high / found.sd == pytest.approx(1.469, abs=0.001)
    assert found.low / found.sd == pytest.approx(0.783, abs=0.001)


@given(ratios, st.floats(min_value=0.1, max_value=10))
def test_a_spread_has_its_order_and_its_scale(xs: list[float], scale: float) -> None:
    found = spread(xs)
    assert found.low <= found.sd <= found.high
    assert spread([scale * x for x in xs]).high == pytest.approx(scale * found.high, abs=1e-9)


def test_the_upper_limit_of_the_sd_holds_in_ninety_of_a_hundred() -> None:
    rng, runs = random.Random(1), 2000
    below = sum(spread([gauss(rng) for _ in range(10)]).high < 1 for _ in range(runs))
    assert lower_limit(below, runs, 0.99) <= 0.10
    assert lower_limit(runs - below, runs, 0.99) <= 0.90


def test_an_order_effect_is_found_and_none_is_not() -> None:
    def runs(effect: float) -> int:
        rng = random.Random(2)
        return sum(
            order_effect(pairs_of(windows(rng, sd=0.02, order_effect=effect), run, count=10)).found
            for run in range(400)
        )

    assert runs(0.05) > 390
    assert lower_limit(runs(0.0), 400, 0.99) <= 0.01


def test_second_against_first_undoes_the_coin() -> None:
    pairs = pairs_of(windows(random.Random(3), sd=0.0, order_effect=0.1), 3, count=12)
    assert second_against_first(pairs) == pytest.approx([0.1] * 12)


@given(ratios)
def test_an_autocorrelation_lies_between_minus_one_and_one(xs: list[float]) -> None:
    assert -1.0 <= autocorrelation(xs) <= 1.0


def test_autocorrelation_of_a_switching_and_of_a_slow_series() -> None:
    assert autocorrelation([1.0, -1.0] * 20) < -0.9
    assert autocorrelation([math.sin(n / 10) for n in range(60)]) > 0.9
    assert autocorrelation([0.3] * 5) == 0.0


def test_carry_over_is_told_from_drift() -> None:
    """Both kinds of blocks drift alike; only one has something left behind."""
    rng = random.Random(4)

    def found(carry: float) -> int:
        hits = 0
        for _ in range(400):
            blocks = [0.1 + carry + 0.02 * gauss(rng) for _ in range(5)]
            control = [0.1 + 0.02 * gauss(rng) for _ in range(5)]
            hits += against_control(blocks, control).found
        return hits

    assert lower_limit(found(0.0), 400, 0.99) <= 0.01
    assert found(0.1) > 390


@given(ratios)
def test_an_effect_lies_within_its_interval(xs: list[float]) -> None:
    effect = mean_effect(xs)
    assert effect.low <= effect.mean <= effect.high


def test_one_value_says_nothing() -> None:
    with pytest.raises(ValueError, match="two"):
        spread([0.1])

"""Noise, order effect, carry-over: references, and how often their limits hold."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktune.evidence.binomial import lower_limit
from ktune.evidence.chisquare import chi_square_above, chi_square_quantile
from ktune.evidence.fisher import f_cdf, f_quantile
from ktune.evidence.readiness import (
    autocorrelation,
    averaging,
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


@pytest.mark.parametrize("values", [5, 9, 19])
def test_what_is_said_to_be_found_four_times_in_five_is(values: int) -> None:
    """The stated effect is that of the spread seen; here of the true one, by many samples."""
    rng, runs = random.Random(4), 1500
    samples = [[gauss(rng) for _ in range(values)] for _ in range(runs)]
    mean_square = sum(((e := mean_effect(xs)).high - e.low) ** 2 for xs in samples) / runs
    stated = mean_effect(samples[0])
    half = math.sqrt(mean_square) / 2
    effect = stated.detectable * half / ((stated.high - stated.low) / 2)
    found = sum(mean_effect([x + effect for x in xs]).found for xs in samples)
    assert 0.75 < found / runs < 0.85
    none = sum(mean_effect(xs).found for xs in samples)
    assert lower_limit(none, runs, 0.99) <= 0.01


@pytest.mark.parametrize(("above", "below"), [(6.2, 9), (2, 3), (25.5, 39), (150, 7)])
def test_fishers_f_agrees_with_scipy(above: float, below: float) -> None:
    stats = pytest.importorskip("scipy.stats")
    for probability in (0.01, 0.05, 0.5, 0.95, 0.99):
        expected = stats.f.ppf(probability, above, below)
        assert f_quantile(probability, above, below) == pytest.approx(expected, rel=1e-8)
        assert f_cdf(expected, above, below) == pytest.approx(probability, rel=1e-8)


def test_the_limits_of_averaging_hold_in_nine_of_ten_for_noise_within_the_windows() -> None:
    rng, runs = random.Random(5), 1000
    missed = 0
    for _ in range(runs):
        found = averaging([(gauss(rng), gauss(rng)) for _ in range(10)])
        missed += not found.low <= 1 / math.sqrt(2) <= found.high
    assert lower_limit(missed, runs, 0.99) <= 0.10


def test_noise_that_lasts_does_not_average_out() -> None:
    rng = random.Random(6)
    pairs, state = [], 0.0
    for _ in range(40):
        state += gauss(rng)
        pairs.append((state + 0.1 * gauss(rng), state + 0.1 * gauss(rng)))
    assert averaging(pairs).low > 1
    assert averaging([(1.0, 1.0)] * 10).high == math.inf
    with pytest.raises(ValueError, match="6 pairs"):
        averaging(pairs[:5])


@given(ratios)
def test_an_effect_lies_within_its_interval(xs: list[float]) -> None:
    effect = mean_effect(xs)
    assert effect.low <= effect.mean <= effect.high


def test_one_value_says_nothing() -> None:
    with pytest.raises(ValueError, match="two"):
        spread([0.1])


@pytest.mark.parametrize(("sd", "least", "most"), [(0.5, 0.94, 0.97), (1.0, 0.13, 0.19)])
def test_five_pairs_then_ten_say_ready_as_often_as_stated(
    sd: float, least: float, most: float
) -> None:
    """The short form's table in docs/statistics.md, for a largest resolvable sd of 1."""
    rng, runs, ready = random.Random(7), 4000, 0
    for _ in range(runs):
        xs = [sd * gauss(rng) for _ in range(10)]
        ready += spread(xs[:5]).high <= 1 or spread(xs).high <= 1
    assert least < ready / runs < most

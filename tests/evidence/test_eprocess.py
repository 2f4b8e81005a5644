"""The e-processes against references and by their properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.evidence.t_e import log_t_e, log_t_e_of, t_statistic
from ktune.evidence.eprocess import LAMBDAS, SymmetricE, log_sign_e, log_symmetric_e
from tests.depth import examples

ratio = st.floats(min_value=-2, max_value=2).map(lambda x: round(x, 6))
ratios = st.lists(ratio, min_size=2, max_size=40)


def _reference_log_t_e(xs: list[float], g: float = 1.0) -> float:
    """The formula of the research, in numpy."""
    d = np.asarray(xs, dtype=np.longdouble)
    n = len(d)
    t2 = d.mean() ** 2 / (d.var(ddof=1) / n)
    nu = n - 1
    return float(
        -np.log1p(n * g) / 2 + n / 2 * (np.log1p(t2 / nu) - np.log1p(t2 / (nu * (1 + n * g))))
    )


@given(ratios)
def test_t_e_equals_the_reference(xs: list[float]) -> None:
    if max(xs) - min(xs) > 1e-5:
        assert log_t_e(xs) == pytest.approx(_reference_log_t_e(xs), rel=1e-7, abs=1e-7)


def test_t_e_is_the_mixture_of_the_likelihood_ratios_of_student_t() -> None:
    """Independent of the closed form: integrate the noncentral t over the N(0, 1) effect sizes."""
    stats = pytest.importorskip("scipy.stats")
    xs = [0.11, 0.03, 0.08, -0.02, 0.06, 0.09]
    n, t = len(xs), t_statistic(xs)
    deltas = np.linspace(-8, 8, 4001)
    weights = np.exp(-deltas * deltas / 2) / math.sqrt(2 * math.pi) * (deltas[1] - deltas[0])
    density = stats.nct.pdf(t, n - 1, np.sqrt(n) * deltas) / stats.t.pdf(t, n - 1)
    assert math.exp(log_t_e(xs)) == pytest.approx(float(np.nansum(density * weights)), rel=1e-4)


@given(ratios, st.floats(min_value=1e-3, max_value=1e3))
def test_t_e_has_no_scale(xs: list[float], scale: float) -> None:
    if max(xs) - min(xs) > 1e-5:
        assert log_t_e([scale * x for x in xs]) == pytest.approx(log_t_e(xs), rel=1e-6, abs=1e-6)


@given(ratios)
def test_t_e_is_two_sided_and_its_t_antisymmetric(xs: list[float]) -> None:
    mirrored = [-x for x in xs]
    assert log_t_e(mirrored) == pytest.approx(log_t_e(xs))
    assert t_statistic(mirrored) == -t_statistic(xs)


def test_t_e_of_equal_values_is_its_limit_and_of_zeros_no_evidence() -> None:
    assert log_t_e([0.1] * 5) == pytest.approx(2 * math.log(6))
    assert math.exp(log_t_e([0.1] * 5)) == pytest.approx(36)
    assert log_t_e([0.0] * 5) == pytest.approx(-math.log(6) / 2)
    assert log_t_e_of(1e200, 5) == pytest.approx(log_t_e_of(math.inf, 5))
    assert log_t_e([0.1]) == 0.0


@given(st.integers(0, 300), st.integers(0, 300))
def test_sign_e_grows_with_wins_and_falls_with_losses(wins: int, losses: int) -> None:
    here = log_sign_e(wins, losses)
    assert log_sign_e(wins + 1, losses) > here > log_sign_e(wins, losses + 1)


@settings(max_examples=examples(50))
@given(st.integers(0, 60), st.integers(0, 60))
def test_sign_e_is_a_martingale_under_a_fair_coin(wins: int, losses: int) -> None:
    both = (log_sign_e(wins + 1, losses), log_sign_e(wins, losses + 1))
    assert np.logaddexp(*both) - math.log(2) == pytest.approx(log_sign_e(wins, losses), abs=1e-9)


def test_sign_e_equals_the_product_it_stands_for() -> None:
    signs = [1, 1, -1, 1, 0, 1, 1]
    products = [math.prod(1 + bet * sign for sign in signs) for bet in LAMBDAS]
    assert math.exp(log_sign_e(5, 1)) == pytest.approx(sum(products) / len(products))


@pytest.mark.parametrize(("threshold", "straight_wins"), [(20, 7), (40, 8), (100, 9)])
def test_so_many_straight_wins_fire_the_sign_test(threshold: float, straight_wins: int) -> None:
    assert log_sign_e(straight_wins, 0) >= math.log(threshold)
    assert log_sign_e(straight_wins - 1, 0) < math.log(threshold)


def test_a_loss_without_a_size_costs_every_bet_its_stake() -> None:
    process = SymmetricE()
    for x in (0.03, 0.05, -0.01):
        process.add(x)
    before = process.log_e
    assert process.log_e_after([-math.inf]) == pytest.approx(before - math.log(10))
    assert process.log_e == before, "looking ahead adds nothing"
    process.add(-math.inf)
    process.add(0.04)
    assert process.log_e_after([0.02]) == pytest.approx(
        log_symmetric_e([0.03, 0.05, -0.01, -math.inf, 0.04, 0.02])[-1]
    )


@pytest.mark.parametrize(
    ("level", "straight_wins"), [(0.05, 6), (0.025, 7), (0.05 / 3, 8), (0.0125, 8)]
)
def test_so_many_straight_wins_fire_the_symmetric_test(level: float, straight_wins: int) -> None:
    logs = log_symmetric_e([1.0] * straight_wins)
    assert logs[-1] >= math.log(1 / level) > logs[-2]

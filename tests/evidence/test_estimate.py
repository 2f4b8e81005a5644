"""The reported gain, its intervals, and the distributions behind them."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktune.evidence.binomial import at_least, lower_limit, median_rank
from ktune.evidence.coin import Order
from ktune.evidence.decide import Rule, decide
from ktune.evidence.estimate import Method, bound_constraint, estimate_gain
from ktune.evidence.pairs import Direction, PairResult, PairState, log_margin_of
from ktune.evidence.student import t_cdf, t_quantile
from ktune.evidence.verdict import verdict


def measured(gains: list[float], worsening: float = 0.0) -> list[PairResult]:
    return [
        PairResult(
            draw, Order.BASELINE_FIRST, PairState.MEASURED, gain, {"p99": worsening + gain / 10}
        )
        for draw, gain in enumerate(gains)
    ]


def lost(count: int) -> list[PairResult]:
    return [PairResult(900 + i, Order.BASELINE_FIRST, PairState.LOST) for i in range(count)]


SPREAD = [0.02, 0.05, 0.08, 0.03, 0.06, 0.05, 0.07, 0.04, 0.05, 0.05]


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 9, 10, 29, 30, 99, 1000])
@pytest.mark.parametrize("probability", [0.025, 0.5, 0.9, 0.95, 0.975, 0.995])
def test_the_t_quantile_agrees_with_scipy(freedom: int, probability: float) -> None:
    stats = pytest.importorskip("scipy.stats")
    expected = float(stats.t.ppf(probability, freedom))
    assert t_quantile(probability, freedom) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_the_t_quantile_agrees_with_printed_tables() -> None:
    assert t_quantile(0.975, 9) == pytest.approx(2.262157163, abs=1e-8)
    assert t_quantile(0.95, 1) == pytest.approx(6.313751515, abs=1e-8)
    assert t_cdf(0.0, 7) == 0.5


@given(st.floats(min_value=0.001, max_value=0.999), st.integers(1, 60))
def test_the_t_quantile_inverts_the_distribution(probability: float, freedom: int) -> None:
    assert t_cdf(t_quantile(probability, freedom), freedom) == pytest.approx(probability, abs=1e-9)


def test_binomial_tails_and_limits_are_exact() -> None:
    assert at_least(9, 10, 0.5) == pytest.approx(11 / 1024)
    assert at_least(0, 10, 0.5) == 1.0 and at_least(11, 10, 0.5) == 0.0
    assert lower_limit(0, 10) == 0.0
    assert lower_limit(10, 10) == pytest.approx(0.05**0.1)
    assert at_least(7, 50, lower_limit(7, 50)) == pytest.approx(0.05)


def test_the_interval_of_the_median_needs_six_values() -> None:
    assert median_rank(5, 0.95) is None
    assert median_rank(6, 0.95) == (1, pytest.approx(1 - 2 / 64))
    assert median_rank(10, 0.95) == (2, pytest.approx(1 - 22 / 1024))


def test_the_gain_is_the_geometric_mean_with_its_t_interval() -> None:
    found = estimate_gain(measured(SPREAD))
    assert found.main.method is Method.STUDENT_T
    assert found.main.gain == pytest.approx(math.expm1(0.05))
    half = 2.2621571628 * found.sd_log / math.sqrt(10)
    assert found.main.low == pytest.approx(math.expm1(0.05 - half))
    assert found.main.high == pytest.approx(math.expm1(0.05 + half))
    assert found.robust.gain == pytest.approx(math.expm1(0.05))
    assert found.robust.low == pytest.approx(math.expm1(0.03))
    assert found.robust.level == pytest.approx(0.978515625)


def test_a_metric_to_minimise_reads_as_percent_less() -> None:
    found = estimate_gain(measured([0.1 + x / 10 for x in SPREAD]), Direction.MINIMIZE)
    assert found.main.gain == pytest.approx(1 - math.exp(-0.105))
    assert found.main.low < found.main.gain < found.main.high < 0.105


def test_an_interval_without_width_is_explained() -> None:
    found = estimate_gain(measured([0.1] * 10))
    assert found.main.low == found.main.gain == found.main.high == pytest.approx(math.expm1(0.1))
    assert found.sd_log == 0 and "does not vary" in found.notes[0]


def test_a_lost_pair_ranks_worst_and_leaves_no_mean() -> None:
    found = estimate_gain([*measured(SPREAD), *lost(1)])
    assert found.main is found.robust and found.mean_log is None and found.lost == 1
    assert found.main.low == pytest.approx(math.expm1(0.02))
    hopeless = estimate_gain([*measured(SPREAD[:8]), *lost(3)])
    assert hopeless.main.low == -1.0
    assert (
        estimate_gain([*measured(SPREAD[:8]), *lost(3)], Direction.MINIMIZE).main.low == -math.inf
    )


def test_fewer_than_ten_pairs_give_no_gain_and_void_ones_do_not_count() -> None:
    void = PairResult(99, Order.BASELINE_FIRST, PairState.VOID)
    with pytest.raises(ValueError, match="needs 10 pairs"):
        estimate_gain([*measured(SPREAD[:9]), void])
    assert estimate_gain([*measured(SPREAD), void]).pairs == 10


def test_a_constraint_holds_when_its_upper_limit_is_within_the_margin() -> None:
    margin = log_margin_of(0.05, Direction.MINIMIZE)
    calm = bound_constraint(measured(SPREAD, -0.01), "p99", margin, Direction.MINIMIZE)
    assert calm.held and calm.change < calm.upper < calm.margin == pytest.approx(0.05)
    worse = bound_constraint(measured(SPREAD, 0.047), "p99", margin, Direction.MINIMIZE)
    assert not worse.held and worse.change > 0.05
    close = bound_constraint(measured(SPREAD, 0.0433), "p99", margin, Direction.MINIMIZE)
    assert close.change < 0.05 < close.upper and not close.held
    one_lost = bound_constraint(
        [*measured(SPREAD, -0.01), *lost(1)], "p99", margin, Direction.MINIMIZE
    )
    assert one_lost.method is Method.ORDER_STATISTICS and one_lost.held
    with pytest.raises(ValueError, match="lacks"):
        bound_constraint(measured(SPREAD), "other", margin, Direction.MINIMIZE)


def test_the_interval_after_the_decision_covers_as_it_says() -> None:
    rng = random.Random(11)
    runs, held, robust = 600, 0, 0
    for _ in range(runs):
        found = estimate_gain(measured([rng.gauss(0.03, 0.0707) for _ in range(10)]))
        held += found.main.low <= math.expm1(0.03) <= found.main.high
        robust += found.robust.low <= math.expm1(0.03) <= found.robust.high
    assert lower_limit(runs - held, runs, 0.99) <= 0.05
    assert lower_limit(runs - robust, runs, 0.99) <= 1 - 0.978515625


def test_the_verdict_is_improved_only_when_nothing_contradicts() -> None:
    yes = decide(measured([0.05 + x for x in SPREAD]), Rule())
    no = decide(measured([-x for x in SPREAD] * 3), Rule())
    good, bad = estimate_gain(measured(SPREAD)), estimate_gain(measured([-x for x in SPREAD]))
    failing = estimate_gain([*measured(SPREAD[:8]), *lost(3)])
    margin = log_margin_of(0.05, Direction.MINIMIZE)
    broken = bound_constraint(measured(SPREAD, 0.047), "p99", margin, Direction.MINIMIZE)
    assert verdict(yes, good).improved
    assert not verdict(no, good).improved
    assert "contradict" in verdict(yes, bad).reason
    assert "failed in 3 of 11" in verdict(yes, failing).reason
    assert "p99 may be up to" in verdict(yes, good, [broken]).reason

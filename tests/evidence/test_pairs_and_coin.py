"""Log ratios, units, and the coin."""

from __future__ import annotations

import doctest
import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktune.evidence import coin
from ktune.evidence.binomial import lower_limit
from ktune.evidence.coin import Order, not_of_the_coin, toss
from ktune.evidence.pairs import (
    Direction,
    PairResult,
    PairState,
    change_of,
    log_gain_of,
    log_margin_of,
    log_ratio,
    weighted_gain,
)

positive = st.floats(min_value=1e-6, max_value=1e9)


@given(positive, positive)
def test_a_log_ratio_changes_sign_when_arms_or_direction_are_swapped(a: float, b: float) -> None:
    up = log_ratio(a, b, Direction.MAXIMIZE)
    assert log_ratio(b, a, Direction.MAXIMIZE) == -up
    assert log_ratio(a, b, Direction.MINIMIZE) == -up


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_a_log_ratio_refuses_what_has_no_logarithm(value: float) -> None:
    with pytest.raises(ValueError, match="finite positive"):
        log_ratio(1.0, value, Direction.MAXIMIZE)
    with pytest.raises(ValueError, match="finite positive"):
        log_ratio(value, 1.0, Direction.MINIMIZE)


def test_ten_percent_better_reads_ten_percent_in_both_directions() -> None:
    assert change_of(log_ratio(100, 110, Direction.MAXIMIZE)) == pytest.approx(0.10)
    less = log_ratio(100, 90, Direction.MINIMIZE)
    assert change_of(less, Direction.MINIMIZE) == pytest.approx(0.10)
    assert log_margin_of(0.05, Direction.MINIMIZE) == pytest.approx(math.log(1.05))
    assert log_margin_of(0.05, Direction.MAXIMIZE) == pytest.approx(-math.log(0.95))


@given(st.floats(min_value=-0.9, max_value=0.9), st.sampled_from(Direction))
def test_a_change_goes_to_a_log_gain_and_back(change: float, direction: Direction) -> None:
    assert change_of(log_gain_of(change, direction), direction) == pytest.approx(change, abs=1e-12)


def test_several_objectives_are_one_mean_by_weight() -> None:
    gains = {"tps": 0.2, "p99": -0.1}
    assert weighted_gain(gains, {"tps": 1, "p99": 1}) == pytest.approx(0.05)
    assert weighted_gain(gains, {"tps": 3, "p99": 1}) == pytest.approx(0.125)
    with pytest.raises(ValueError, match="weights"):
        weighted_gain(gains, {"tps": 1})


def test_a_pair_without_numbers_can_not_pose_as_measured() -> None:
    with pytest.raises(ValueError, match="finite gain"):
        PairResult(0, Order.BASELINE_FIRST, PairState.MEASURED)
    with pytest.raises(ValueError, match="no numbers"):
        PairResult(0, Order.BASELINE_FIRST, PairState.VOID, gain=0.1)
    with pytest.raises(ValueError, match="finite worsenings"):
        PairResult(0, Order.BASELINE_FIRST, PairState.MEASURED, 0.1, {"p99": math.nan})


def test_the_coin_is_fair_and_every_toss_its_own() -> None:
    tosses = [toss(1, "decision", draw) is Order.CANDIDATE_FIRST for draw in range(4000)]
    heads = sum(tosses)
    assert lower_limit(heads, 4000, 0.999) <= 0.5
    assert lower_limit(4000 - heads, 4000, 0.999) <= 0.5
    repeats = sum(a == b for a, b in itertools.pairwise(tosses))
    assert lower_limit(repeats, 3999, 0.999) <= 0.5 and lower_limit(3999 - repeats, 3999) <= 0.5
    assert [toss(1, "after", draw) for draw in range(64)] != [
        toss(1, "decision", draw) for draw in range(64)
    ]


def test_a_record_that_is_not_the_coins_is_found() -> None:
    good = [PairResult(d, toss(5, "decision", d), PairState.LOST) for d in range(20)]
    assert not_of_the_coin(5, "decision", good) == ()
    fixed = [PairResult(d, Order.BASELINE_FIRST, PairState.LOST) for d in range(20)]
    assert not_of_the_coin(5, "decision", fixed)
    assert not_of_the_coin(5, "decision", [*good, good[3]]) == (3,)


def test_the_examples_in_the_documentation_run() -> None:
    assert doctest.testmod(coin).failed == 0

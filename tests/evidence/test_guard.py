"""The tests of probation: exact under nothing but the coin."""

from __future__ import annotations

import itertools
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.evidence.t_e import log_t_e
from ktune.evidence.eprocess import log_symmetric_e
from ktune.evidence.guard import GuardRule, judge, least_pairs, too_few
from tests.depth import examples
from tests.evidence.simulated import NOISES, pairs_of, windows

MARGIN = 0.02
sizes = st.lists(st.floats(1e-9, 1e9), min_size=1, max_size=9)


@settings(max_examples=examples(60), deadline=None)
@given(sizes)
def test_over_all_tosses_of_the_coin_the_e_process_is_fair(magnitudes: list[float]) -> None:
    every = itertools.product((1, -1), repeat=len(magnitudes))
    es = [
        math.exp(log_symmetric_e([s * x for s, x in zip(signs, magnitudes, strict=True)])[-1])
        for signs in every
    ]
    assert math.fsum(es) / len(es) == pytest.approx(1)


@settings(max_examples=examples(60), deadline=None)
@given(sizes, st.floats(1e-9, 1e9))
def test_a_policy_that_is_better_than_the_margin_is_never_favoured(
    magnitudes: list[float], better_by: float
) -> None:
    every = itertools.product((1, -1), repeat=len(magnitudes))
    es = [
        math.exp(
            log_symmetric_e([s * x - better_by for s, x in zip(signs, magnitudes, strict=True)])[-1]
        )
        for signs in every
    ]
    assert math.fsum(es) / len(es) <= 1 + 1e-9


def test_the_e_process_does_not_know_the_unit() -> None:
    xs = [0.03, -0.01, 0.05, 0.0, 0.02]
    assert log_symmetric_e([1000 * x for x in xs]) == pytest.approx(log_symmetric_e(xs))
    assert log_symmetric_e([]) == []


def fires_under_the_coin(level: float, pairs: int, *, by_t: bool) -> float:
    """Exact chance to fire when all values are equal in size and only the coin varies."""
    alive, fired = {0: 1.0}, 0.0
    for count in range(1, pairs + 1):
        here: dict[int, float] = {}
        for wins, mass in alive.items():
            for more in (0, 1):
                here[wins + more] = here.get(wins + more, 0.0) + mass / 2
        alive = {}
        for wins, mass in here.items():
            xs = [1.0] * wins + [-1.0] * (count - wins)
            ahead = wins > count - wins
            log = (log_t_e(xs) if ahead else 0.0) if by_t else log_symmetric_e(xs)[-1]
            if log >= math.log(1 / level):
                fired += mass
            else:
                alive[wins] = mass
    return fired


@pytest.mark.parametrize("metrics", [1, 3])
@pytest.mark.parametrize("begin", [1, 2, 5])
def test_a_step_in_every_pair_fires_no_more_often_than_stated(metrics: int, begin: int) -> None:
    """A step of the load between the windows of each pair: all log ratios are equal in size. The
    t-e-process, twice as strict for asking t > 0, would not keep what the promise says."""
    margins = {f"m{n}": MARGIN for n in range(metrics)}
    level = GuardRule(margins, alpha=0.01, begin=begin).level
    assert fires_under_the_coin(level, 60, by_t=False) <= level
    assert fires_under_the_coin(level, 60, by_t=True) > level


@pytest.mark.parametrize("noise", NOISES)
def test_a_regression_is_found_within_twelve_pairs(noise: str) -> None:
    """10 % worse, sd 5 %, margin 2 %: the median of the delay."""
    rule, delays = GuardRule({"speed": MARGIN}), []
    rng = random.Random(3)
    for run in range(60):
        source = windows(rng, noise=NOISES[noise], sd=0.05)
        pairs = pairs_of(source, run, gain=math.log(1 / 0.9), count=30)
        decision = judge([{"speed": pair.gain or 0.0} for pair in pairs], rule)
        delays.append(decision.metrics["speed"].pairs if decision.regressed else 99)
    assert sorted(delays)[30] <= 12


def test_the_decision_says_how_much_worse_and_how_sure() -> None:
    decision = judge([{"speed": 0.1 + 0.001 * n} for n in range(12)], GuardRule({"speed": MARGIN}))
    assert decision.regressed == "speed"
    assert "worse than at the baseline (margin 2.0%): E 1" in decision.reason
    assert "(threshold 125)" in decision.reason
    assert judge([], GuardRule({"speed": MARGIN})).regressed is None


def test_a_pair_without_a_watched_metric_is_an_error() -> None:
    with pytest.raises(ValueError, match="no value for speed"):
        judge([{}], GuardRule({"speed": MARGIN}))


@pytest.mark.parametrize("metrics", [1, 2, 5])
@pytest.mark.parametrize("alpha", [0.3, 0.01, 1e-6])
def test_the_least_pairs_are_those_after_which_the_worst_policy_is_found(
    metrics: int, alpha: float
) -> None:
    rule = GuardRule({f"m{number}": MARGIN for number in range(metrics)}, alpha)
    pair = dict.fromkeys(rule.margins, 5.0)
    least = least_pairs(rule)
    assert judge([pair] * least, rule).regressed is not None
    assert judge([pair] * (least - 1), rule).regressed is None
    assert too_few(least, rule) == ""
    assert f"at least {least} are needed" in too_few(least - 1, rule)

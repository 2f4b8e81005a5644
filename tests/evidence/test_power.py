"""Power of the promotion rule: what it says must be what the rule then does."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ktune.evidence.binomial import lower_limit
from ktune.evidence.decide import Rule
from ktune.evidence.pairs import log_gain_of
from ktune.evidence.power import TARGET, Noise, pairs_needed, power, smallest_gain
from tests.evidence.simulated import promoted, sessions

RUNS = 200


def test_it_agrees_with_an_independent_simulation() -> None:
    """Coins, windows and pairs by the tests' own generator: within four standard errors."""
    found = power(Rule(), Noise(0.05), 0.04, runs=1000)
    other = promoted(sessions(1000, seed=21, sd=0.05, gain=0.04)) / 1000
    assert found.promoted == pytest.approx(other, abs=4 * (2 * 0.12 / 1000) ** 0.5)


def test_without_a_gain_it_is_at_most_alpha() -> None:
    found = power(Rule(), Noise(0.05), 0.0, runs=1000)
    assert lower_limit(round(found.promoted * 1000), 1000, 0.99) <= 0.05


@settings(max_examples=10)
@given(st.floats(0.01, 0.2), st.floats(0.0, 2.0), st.floats(0.0, 0.5))
def test_it_grows_with_the_gain_and_has_no_scale(sd: float, gain: float, more: float) -> None:
    here = power(Rule(), Noise(sd), gain * sd, runs=50)
    assert power(Rule(), Noise(sd), (gain + more) * sd, runs=50).promoted >= here.promoted - 0.04
    assert power(Rule(), Noise(3 * sd), 3 * gain * sd, runs=50).promoted == pytest.approx(
        here.promoted, abs=0.021
    )


def test_it_is_seeded() -> None:
    first, again = (power(Rule(), Noise(0.05), 0.03, runs=50) for _ in range(2))
    assert first == again
    assert power(Rule(), Noise(0.05), 0.03, runs=50, seed=2) != first


def test_the_smallest_gain_has_the_power_it_promises() -> None:
    gain = smallest_gain(Rule(), Noise(0.05), runs=RUNS)
    assert gain is not None
    assert 0.62 < gain / 0.05 < 0.75
    other = promoted(sessions(500, seed=22, sd=0.05, gain=gain)) / 500
    assert other == pytest.approx(TARGET, abs=0.08)


def test_against_the_mei_the_gain_counts_from_there() -> None:
    rule = Rule(minimum_gain=log_gain_of(0.05))
    gain = smallest_gain(rule, Noise(0.05), runs=RUNS)
    plain = smallest_gain(Rule(), Noise(0.05), runs=RUNS)
    assert gain is not None and plain is not None
    assert gain - rule.minimum_gain == pytest.approx(plain, rel=0.03)


def test_the_pairs_needed_are_enough_and_one_in_three_fewer_are_not() -> None:
    needed = pairs_needed(Rule(), Noise(0.05), 0.03, runs=RUNS)
    assert needed is not None and 30 < needed < 60
    longer = Rule(max_pairs=needed)
    shorter = dataclasses.replace(longer, max_pairs=needed * 2 // 3)
    assert power(longer, Noise(0.05), 0.03, runs=RUNS).promoted >= TARGET
    assert power(shorter, Noise(0.05), 0.03, runs=RUNS).promoted < TARGET


def test_out_of_reach_is_said() -> None:
    assert pairs_needed(Rule(), Noise(0.05), 0.005, most=60, runs=50) is None


def test_an_easy_gain_needs_the_fewest_pairs_that_can_fire() -> None:
    assert pairs_needed(Rule(), Noise(0.001), 0.05, runs=50) == 6


def test_a_noisy_constraint_costs_power() -> None:
    rule = Rule(margins={"latency": 0.05})
    calm = power(rule, Noise(0.02, {"latency": 0.02}), 0.05, runs=RUNS)
    noisy = power(rule, Noise(0.02, {"latency": 0.10}), 0.05, runs=RUNS)
    assert calm.promoted > 0.95 and noisy.promoted < 0.6
    assert smallest_gain(rule, Noise(0.02, {"latency": 0.10}), runs=RUNS) is None
    with pytest.raises(ValueError, match="latency"):
        power(rule, Noise(0.02), 0.05)


def test_a_metric_without_noise_shows_everything() -> None:
    assert smallest_gain(Rule(), Noise(0.0), runs=5) == 0.0


@pytest.mark.full
@pytest.mark.parametrize(
    ("ratio", "expected"), [(0.25, 0.16), (0.5, 0.52), (0.68, 0.79), (0.8, 0.91), (1.0, 0.99)]
)
def test_the_table_of_the_documentation(ratio: float, expected: float) -> None:
    found = power(Rule(), Noise(0.05), ratio * 0.05, runs=4000)
    assert found.promoted == pytest.approx(expected, abs=0.025)

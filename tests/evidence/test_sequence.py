"""Confidence sequences: the e-processes turned round, and how often they cover."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktune.evidence.binomial import lower_limit
from ktune.evidence.eprocess import log_sign_e
from ktune.evidence.sequence import Span, median_sequence, median_span
from tests.evidence.simulated import NOISES, Noise, student3, windows

ratio = st.floats(min_value=-2, max_value=2).map(lambda x: round(x, 6))
ratios = st.lists(ratio, min_size=5, max_size=30).filter(lambda xs: max(xs) - min(xs) > 1e-3)
EFFECT = 0.03
ALPHA = 0.05


@given(ratios, st.integers(0, 5), st.floats(min_value=-3, max_value=3))
def test_the_median_span_holds_all_that_the_sign_test_does_not_reject(
    xs: list[float], lost: int, effect: float
) -> None:
    span = median_span([*xs, *[-math.inf] * lost])
    above = sum(x > effect for x in xs)
    below = sum(x < effect for x in xs) + lost
    fires = max(log_sign_e(above, below), log_sign_e(below, above)) >= math.log(40)
    if fires:
        assert not span.low < effect < span.high
    elif above + below == len(xs) + lost:
        assert span.holds(effect)


@given(ratios, st.floats(min_value=-1, max_value=1), st.floats(min_value=0.1, max_value=10))
def test_spans_move_and_stretch_with_the_pairs(xs: list[float], by: float, scale: float) -> None:
    span, moved = median_span(xs), median_span([scale * x + by for x in xs])
    assert moved.low == pytest.approx(scale * span.low + by, abs=1e-6)
    assert moved.high == pytest.approx(scale * span.high + by, abs=1e-6)


@given(ratios)
def test_running_spans_never_grow(xs: list[float]) -> None:
    for before, after in itertools.pairwise(median_sequence(xs)):
        assert after.low >= before.low and after.high <= before.high


def test_few_pairs_bound_nothing() -> None:
    assert median_span([0.1]) == Span(-math.inf, math.inf, 1)
    assert median_span([0.1] * 7).low == -math.inf
    assert median_span([0.1] * 8).low == 0.1
    assert median_span([*[0.1] * 7, -math.inf]).low == -math.inf


def test_an_alpha_outside_0_to_1_is_refused() -> None:
    with pytest.raises(ValueError, match="alpha"):
        median_span([0.1, 0.2], alpha=1.0)


def _missed(
    sequence: Callable[[list[float]], list[Span]], noise: Noise, runs: int, pairs: int, seed: int
) -> int:
    """Runs in which the true effect left the sequence at any look."""
    rng = random.Random(seed)
    return sum(
        not sequence([EFFECT + 0.05 * noise(rng) for _ in range(pairs)])[-1].holds(EFFECT)
        for _ in range(runs)
    )


@pytest.mark.parametrize("noise", NOISES)
def test_the_median_sequence_covers_at_all_looks_whatever_the_noise(noise: str) -> None:
    runs = 400
    missed = _missed(median_sequence, NOISES[noise], runs, 60, 1)
    assert lower_limit(missed, runs, 0.99) <= ALPHA


@pytest.mark.full
def test_the_sequence_covers_over_200_looks() -> None:
    runs = 1500
    for noise in NOISES.values():
        assert lower_limit(_missed(median_sequence, noise, runs, 200, 3), runs, 0.99) <= ALPHA


def test_a_textbook_interval_at_each_look_is_found_out() -> None:
    """The same simulation must catch an interval that is not made for many looks."""
    from ktune.evidence.student import t_quantile

    def naive(xs: list[float]) -> list[Span]:
        low, high, found = -math.inf, math.inf, []
        for n in range(2, len(xs) + 1):
            mean = math.fsum(xs[:n]) / n
            variance = math.fsum((x - mean) ** 2 for x in xs[:n]) / (n - 1)
            half = t_quantile(0.975, n - 1) * math.sqrt(variance / n)
            low, high = max(low, mean - half), min(high, mean + half)
            found.append(Span(low, high, n))
        return found

    assert lower_limit(_missed(naive, NOISES["gauss"], 200, 60, 4), 200, 0.99) > ALPHA


def test_the_median_sequence_covers_where_the_windows_have_a_memory() -> None:
    """Without an effect the coin makes the signs fair, whatever the windows remember."""
    from tests.evidence.simulated import pairs_of

    rng, runs, missed = random.Random(5), 300, 0
    for run in range(runs):
        pairs = pairs_of(windows(rng, noise=student3, memory=0.9, season=0.1), run, count=40)
        gains = [pair.gain for pair in pairs if pair.gain is not None]
        missed += not median_sequence(gains)[-1].holds(0.0)
    assert lower_limit(missed, runs, 0.99) <= ALPHA

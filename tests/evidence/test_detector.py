"""The e-detector: how long until a false alarm, how soon a true one."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktune.evidence.detector import LOG_CAP, Detector, after, started
from ktune.evidence.eprocess import LAMBDAS
from tests.evidence.simulated import NOISES, pairs_of, windows

signs = st.lists(st.sampled_from([-0.1, 0.0, 0.1]), max_size=60)


def _run(xs: list[float], mean_pairs: float = 1000) -> Detector:
    detector = started(mean_pairs)
    for x in xs:
        detector = after(detector, x)
    return detector


def _pairs_until_alarm(
    next_worsening: Callable[[], float | None], mean_pairs: float, margin: float, most: int
) -> int:
    detector = started(mean_pairs)
    while not detector.alarm and detector.pairs < most:
        detector = after(detector, next_worsening(), margin)
    return detector.pairs


@given(signs)
def test_it_equals_the_recursion_it_stands_for(xs: list[float]) -> None:
    values = [0.0] * len(LAMBDAS)
    for x in xs:
        sign = (x > 0) - (x < 0)
        values = [(m + 1) * (1 + bet * sign) for m, bet in zip(values, LAMBDAS, strict=True)]
    found = _run(xs).log_value
    assert (
        (found == -math.inf)
        if not xs
        else math.exp(found) == pytest.approx(sum(values) / len(values), rel=1e-9)
    )


@given(signs)
def test_a_worse_pair_raises_it_and_it_never_forgets_to_watch(xs: list[float]) -> None:
    detector = _run(xs)
    assert after(detector, 0.1).log_value > after(detector, -0.1).log_value
    assert after(detector, None) == after(detector, 0.1)
    better_for_long = _run([*xs, *[-0.1] * 500])
    assert better_for_long.log_value > math.log(1e-3)
    assert _run([*xs, *[-0.1] * 500, *[0.1] * 14]).alarm


def test_it_is_capped() -> None:
    detector = _run([0.1] * 5000)
    assert detector.log_value <= LOG_CAP and detector.alarm


@pytest.mark.parametrize("bad", [1.0, 0.0, math.inf, math.nan, 1e300])
def test_an_impossible_mean_run_length_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="mean run length"):
        started(bad)


@pytest.mark.parametrize("noise", NOISES)
def test_false_alarms_come_no_more_often_than_promised(noise: str) -> None:
    """A policy exactly at the margin. Cut off at 5 A, which only shortens the mean."""
    promised, runs = 100, 250
    rng = random.Random(1)
    lengths = [
        _pairs_until_alarm(
            lambda: 0.02 + 0.05 * NOISES[noise](rng), promised, margin=0.02, most=5 * promised
        )
        for _ in range(runs)
    ]
    error = statistics.stdev(lengths) / math.sqrt(runs)
    assert statistics.fmean(lengths) + 2.33 * error >= promised


@pytest.mark.full
def test_false_alarms_with_a_memory_and_load_steps() -> None:
    """An innocent policy in coin-ordered pairs, with a load that swings by half."""
    promised, runs = 200, 150
    lengths = []
    for run in range(runs):
        source = windows(random.Random(run), memory=0.9, season=0.4)
        gains = iter(pairs_of(source, run, count=5 * promised))
        lengths.append(
            _pairs_until_alarm(lambda g=gains: -(next(g).gain or 0.0), promised, 0.0, 5 * promised)  # type: ignore[misc]
        )
    error = statistics.stdev(lengths) / math.sqrt(runs)
    assert statistics.fmean(lengths) + 2.33 * error >= promised


def test_a_regression_is_found_soon() -> None:
    """10 % worse at sd 5 %, margin 2 %, at most one false alarm in 8760 pairs."""
    rng = random.Random(2)
    delays = [
        _pairs_until_alarm(lambda: 0.10 + 0.05 * rng.gauss(0, 1), 8760, 0.02, 1000)
        for _ in range(200)
    ]
    assert statistics.median(delays) <= 20

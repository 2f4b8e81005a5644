"""The pure rules around the search: baselines, stopping, halving."""

from __future__ import annotations

import doctest
import math
import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktune.evidence.pairs import Direction
from ktune.search import baseline, finalists
from ktune.search.baseline import BaselineWindow, Goal, is_final, reference, score
from ktune.search.finalists import ROUNDS, Finished, Measure, Round, next_step
from ktune.search.stopping import StopKind, StopRules, should_stop, trials_since_improvement
from ktune.search.trials import (
    InfeasibleTrial,
    Origin,
    Row,
    ScoredTrial,
    Told,
    VoidTrial,
    ranking,
    wants_remeasure,
)

RULES = StopRules(trials=100, time_s=60, stop_after=5, minimum_gain=0.01)


def rows(*told: tuple[int, Told | float], origin: Origin = Origin.SAMPLER) -> list[Row]:
    """Trials of assignments named by a number."""
    return [
        Row(i, {"k": key}, origin, ScoredTrial(t) if isinstance(t, float) else t)
        for i, (key, t) in enumerate(told)
    ]


def test_the_examples_in_the_documentation_run() -> None:
    assert doctest.testmod(baseline).failed == doctest.testmod(finalists).failed == 0


def test_a_steady_drift_cancels_between_two_baselines() -> None:
    drift = [BaselineWindow(at, {"tps": 100 * math.exp(0.01 * at)}) for at in (0.0, 10.0, 20.0)]
    goals = [Goal("tps", Direction.MAXIMIZE)]
    for at in (1.0, 5.0, 13.0):
        candidate = {"tps": 110 * math.exp(0.01 * at)}
        assert score(candidate, at, drift, goals) == pytest.approx(math.log(1.1))


def test_the_baseline_before_stands_alone_until_the_next() -> None:
    first = BaselineWindow(0, {"tps": 100.0})
    assert not is_final([first], 5) and reference([first], 5, "tps") == 100
    second = BaselineWindow(10, {"tps": 121.0})
    assert is_final([first, second], 5)
    assert reference([second, first], 5, "tps") == pytest.approx(110)
    assert reference([second], 5, "tps") == 121


def test_a_score_without_a_baseline_or_a_logarithm_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a baseline"):
        reference([], 0, "tps")
    with pytest.raises(ValueError, match="finite positive"):
        reference([BaselineWindow(0, {"tps": 0.0})], 1, "tps")


def test_several_objectives_make_one_score() -> None:
    windows = [BaselineWindow(0, {"tps": 100.0, "p99": 10.0})]
    goals = [Goal("tps", Direction.MAXIMIZE, 3), Goal("p99", Direction.MINIMIZE, 1)]
    found = score({"tps": 110.0, "p99": 12.0}, 1, windows, goals)
    assert found == pytest.approx((3 * math.log(1.1) - math.log(1.2)) / 4)


def test_ranking_averages_and_gives_ties_to_the_earlier() -> None:
    found = ranking(rows((1, 0.1), (2, 0.2), (1, 0.3), (3, InfeasibleTrial("x")), (3, 9.0)))
    assert [(entry.assignment["k"], entry.measured) for entry in found] == [(1, 2), (2, 1)]


def test_only_a_lead_of_one_measurement_is_measured_again() -> None:
    assert wants_remeasure(rows((1, 0.1)))
    assert not wants_remeasure(rows((1, 0.1), (2, 0.05)))
    assert wants_remeasure(rows((1, 0.1), (2, 0.15)))
    assert not wants_remeasure(rows((1, -0.1)))
    assert not wants_remeasure(rows((1, 0.1), (1, 0.2)))
    assert not wants_remeasure(rows((1, 0.1), (2, VoidTrial("x"))))
    assert not wants_remeasure(rows((1, 0.1), origin=Origin.BASELINE))


def test_a_single_lucky_number_does_not_keep_the_search_going() -> None:
    lucky = rows((1, 0.9), (2, 0.0), (3, 0.0), (4, 0.0), (5, 0.0))
    assert trials_since_improvement(lucky) == 5
    stop = should_stop(lucky, 0, RULES)
    assert stop is not None and stop.kind is StopKind.CONVERGED


def test_a_remeasured_improvement_starts_the_count_again() -> None:
    assert trials_since_improvement(rows((1, 0.2), (2, 0.0), (1, 0.2), (3, 0.0))) == 1
    small_step = rows((1, 0.2), (1, 0.2), (2, 0.205), (2, 0.205))
    assert trials_since_improvement(small_step, 0.01) == 2
    assert trials_since_improvement(small_step, 0.0) == 0


def test_what_failed_or_breaks_a_constraint_is_no_improvement() -> None:
    assert trials_since_improvement(rows((1, InfeasibleTrial("x")), (1, 0.3), (1, 0.3))) == 3
    broken = ScoredTrial(0.3, {"p99": 0.1})
    assert trials_since_improvement(rows((1, broken), (1, broken))) == 2


@pytest.mark.parametrize(
    ("told", "elapsed_s", "kind"),
    [
        ([(1, 0.1)], 60, StopKind.TIME),
        ([(i, 0.1) for i in range(100)], 0, StopKind.TRIALS),
        ([(1, 0.1), *[(2, VoidTrial("x"))] * 10], 0, StopKind.VOID),
        ([(1, 0.1), *[(2, VoidTrial("x"))] * 9, (2, 0.1)], 0, None),
        ([], 0, None),
    ],
)
def test_each_limit_stops_the_search_and_says_which(
    told: list[tuple[int, Told | float]], elapsed_s: float, kind: StopKind | None
) -> None:
    stop = should_stop(rows(*told), elapsed_s, RULES)
    assert (stop.kind if stop else None) is kind and (stop is None or stop.text)


def played(
    truth: Sequence[float],
    rng: random.Random,
    sd: float,
    failing: frozenset[int] = frozenset(),
    rounds: Sequence[Round] = ROUNDS,
) -> tuple[Finished, int]:
    measured: dict[int, list[float]] = {}
    failed: set[int] = set()
    windows = 0
    while not isinstance(
        step := next_step(len(truth), measured, frozenset(failed), rounds), Finished
    ):
        windows += 1
        if step.contender in failing:
            failed.add(step.contender)
        else:
            value = truth[step.contender] + rng.gauss(0, sd)
            measured.setdefault(step.contender, []).append(value)
    return step, windows


@given(st.lists(st.floats(min_value=-1, max_value=1), max_size=12), st.integers(0, 99))
def test_halving_ends_with_one_winner_and_every_contender_ranked(
    truth: list[float], seed: int
) -> None:
    finished, windows = played(truth, random.Random(seed), 0.1)
    assert sorted(finished.order) == list(range(len(truth)))
    assert finished.winner == (finished.order[0] if truth else None)
    assert windows <= 8 + 4 * 2 + 2 * 2


@given(st.sets(st.integers(0, 7)), st.integers(0, 99))
def test_what_fails_is_left_out(failing: set[int], seed: int) -> None:
    finished, _ = played([0.1] * 8, random.Random(seed), 0.1, frozenset(failing))
    assert not set(finished.order) & failing
    assert (finished.winner is None) == (len(failing) == 8)


def test_without_noise_the_best_wins_and_ties_go_to_the_earlier() -> None:
    rng = random.Random(0)
    assert played([0.1, 0.4, 0.4, 0.2], rng, 0)[0].order[:2] == (1, 2)
    assert played([0.1] * 8, rng, 0)[0].winner == 0


def test_contenders_are_measured_in_turn_within_a_round() -> None:
    first = [next_step(3, {i: [0.0] for i in range(n)}) for n in range(3)]
    assert first == [Measure(0), Measure(1), Measure(2)]


def test_fresh_numbers_beat_the_searchs_own_ranking() -> None:
    """Whoever led the search by luck: halving finds the truly best of eight."""
    rng, found = random.Random(3), 0
    for _ in range(200):
        truth = [0.0, 0.0, 0.0, 0.0, 0.0, 0.1, 0.0, 0.0]
        found += played(truth, rng, 0.05)[0].winner == 5
    assert found / 200 > 0.8

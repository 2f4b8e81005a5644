"""About 70 % of the windows are new, 30 % measure the best again."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ktune.search.budget import (
    AGAIN_SHARE,
    LADDER,
    TOP,
    Spent,
    fitted_rounds,
    next_again,
    spent,
)
from ktune.search.finalists import Finished, most_windows, next_step
from ktune.search.trials import (
    InfeasibleTrial,
    Origin,
    Row,
    ScoredTrial,
    VoidTrial,
    ranking,
    wants_remeasure,
)


def search(trials: int, seed: int, *, sd: float, spread: float) -> tuple[list[Row], Spent]:
    """A search by the rules alone: its rows, and its windows with the halving at its end.

    The true gain of a candidate is normal with sd `spread`; a few fail or are void.
    """
    rng = random.Random(seed)
    gains: dict[int, float] = {}
    rows: list[Row] = []
    queue: list[int] = []
    while len(rows) < trials:
        again = None if queue else next_again(rows, ranking(rows))
        if again is not None:
            queue.append(int(str(again.assignment["k"])))
        origin = Origin.REMEASURE if queue else Origin.SAMPLER
        key = queue.pop() if queue else len(gains)
        gain = gains.setdefault(key, rng.gauss(0, spread))
        told = ScoredTrial(gain + rng.gauss(0, sd))
        chance = rng.random()
        rows.append(
            Row(
                len(rows),
                {"k": key},
                origin,
                VoidTrial("noise")
                if chance < 0.03
                else InfeasibleTrial("crash")
                if chance < 0.06
                else told,
            )
        )
        if origin is Origin.SAMPLER and wants_remeasure(rows):
            queue.append(key)
    so_far = spent(rows)
    top = [ranked for ranked in ranking(rows) if ranked.score > 0][:TOP]
    rounds = fitted_rounds(so_far, len(top))
    measured: dict[int, list[float]] = {}
    while not isinstance(step := next_step(len(top), measured, rounds=rounds), Finished):
        measured.setdefault(step.contender, []).append(rng.gauss(0, sd))
    fresh = sum(len(scores) for scores in measured.values())
    return rows, Spent(so_far.new, so_far.again + fresh)


@pytest.mark.full
@given(
    st.integers(30, 250),
    st.integers(0, 2**32),
    st.sampled_from([0.002, 0.02, 0.1]),
    st.sampled_from([0.0, 0.01, 0.05]),
)
@settings(max_examples=20, deadline=None)
def test_about_30_percent_of_a_run_measures_again(
    trials: int, seed: int, sd: float, spread: float
) -> None:
    _, whole = search(trials, seed, sd=sd, spread=spread)
    assert 0.23 <= whole.share <= 0.36


@given(st.integers(12, 29), st.integers(0, 2**32))
@settings(max_examples=20, deadline=None)
def test_a_short_search_measures_its_best_again_too(trials: int, seed: int) -> None:
    """Its few windows can't hold the share: the shortest halving alone takes five."""
    _, whole = search(trials, seed, sd=0.05, spread=0.0)
    assert 0.10 <= whole.share <= 0.60


def test_a_long_search_spreads_its_repeats_over_the_top() -> None:
    rows, _ = search(200, 1, sd=0.03, spread=0.03)
    repeated = [row.assignment["k"] for row in rows if row.origin is Origin.REMEASURE]
    assert len(repeated) >= 30
    assert len(set(repeated)) >= TOP
    assert max(map(repeated.count, repeated)) <= len(repeated) / 3


def test_where_nothing_claims_a_gain_every_window_is_new() -> None:
    rows = [Row(n, {"k": n}, Origin.SAMPLER, ScoredTrial(-0.01)) for n in range(200)]
    assert next_again(rows, ranking(rows)) is None


def test_the_one_of_the_top_that_was_measured_least_is_next() -> None:
    rows = [Row(n, {"k": n}, Origin.SAMPLER, ScoredTrial(0.001 * n)) for n in range(100)]
    rows.append(Row(100, {"k": 99}, Origin.REMEASURE, ScoredTrial(0.2)))
    chosen = next_again(rows, ranking(rows))
    assert chosen is not None and chosen.assignment == {"k": 98}


@pytest.mark.parametrize("contenders", [1, 2, 3, 8, 20])
def test_the_halving_fits_what_is_left(contenders: int) -> None:
    for again in range(0, 40):
        rounds = fitted_rounds(Spent(70, again), contenders)
        room = (AGAIN_SHARE * (70 + again) - again) / (1 - AGAIN_SHARE)
        off = abs(most_windows(contenders, rounds) - room)
        assert all(off <= abs(most_windows(contenders, other) - room) for other in LADDER)

"""Dividing a limited number of windows between search, halving and proof."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktune.evidence.decide import Rule
from ktune.evidence.power import Noise, power
from ktune.search.allotment import Allotment, believed_gain, window_sd
from ktune.search.budget import LADDER, TOP, Spent
from ktune.search.finalists import most_windows
from ktune.search.trials import Origin, Row, ScoredTrial, Told, VoidTrial

_USUAL = Allotment(windows=120, min_pairs=5, max_pairs=30, after_pairs=10)


def row(number: int, value: int, told: Told, origin: Origin = Origin.SAMPLER) -> Row:
    return Row(number=number, assignment={"net.a": value}, origin=origin, told=told)


@given(
    windows=st.integers(54, 400),
    trials=st.integers(0, 200),
    again=st.integers(0, 30),
    gain=st.none() | st.floats(0.001, 2.0),
    sd=st.none() | st.floats(0.0, 1.0),
)
def test_a_search_that_stops_when_told_leaves_room_for_halving_and_proof(
    windows: int, trials: int, again: int, gain: float | None, sd: float | None
) -> None:
    allotment = Allotment(windows, 5, 30, 10)
    so_far = Spent(new=trials, again=min(again, trials))
    kept = allotment.proof_windows(gain, sd)
    # the most that a search has used that was let go on once more
    used = next(
        (used for used in range(windows, -1, -1) if allotment.search_goes_on(used, so_far, kept)),
        None,
    )
    if used is None:
        return
    used += 3  # a candidate, a baseline, and the one that closes the search
    rounds = allotment.rounds(used, so_far, TOP, kept)
    candidates = most_windows(TOP, rounds)
    used += candidates + -(-candidates // 2)

    assert used + kept <= windows
    assert allotment.pairs_left(used) >= (kept - 2 * 10) // 2 or allotment.pairs_left(used) == 30


@given(gain=st.floats(0.001, 2.0), sd=st.floats(0.0, 1.0), finalists=st.integers(1, 3))
def test_never_more_is_kept_for_a_proof_than_where_nothing_is_known(
    gain: float, sd: float, finalists: int
) -> None:
    allotment = Allotment(200, 5, 30, 10, finalists)

    kept = allotment.proof_windows(gain, sd)

    assert 2 * (6 * finalists + 10) <= kept <= allotment.proof_windows(None, None)


def test_a_large_gain_over_quiet_windows_leaves_nearly_all_to_the_search() -> None:
    assert _USUAL.proof_windows(0.4, 0.02) == 2 * (6 + 10)
    assert _USUAL.proof_windows(0.1, 0.1) == _USUAL.proof_windows(None, None) == 2 * (20 + 10)


@pytest.mark.parametrize("ratio", [0.7, 1.0, 1.5, 3.0])
def test_what_is_kept_shows_the_gain_nine_times_out_of_ten(ratio: float) -> None:
    """By the rule itself, simulated, at the sd that the pairs really have."""
    sd = 0.1
    roomy = Allotment(1000, 5, 200, 10)
    pairs = (roomy.proof_windows(ratio * sd, sd / 2**0.5) - 2 * 10) // 2
    rule = Rule(alpha=0.05, min_pairs=5, max_pairs=pairs, minimum_gain=0.0, finalists=1, margins={})

    assert power(rule, Noise(sd), ratio * sd, runs=300).promoted >= 0.9


def test_the_pairs_are_what_the_search_has_left() -> None:
    assert _USUAL.pairs_left(used=60) == 20
    assert _USUAL.pairs_left(used=10) == 30
    assert _USUAL.pairs_left(used=119) == 5


def test_a_halving_that_does_not_fit_is_a_shorter_one() -> None:
    so_far = Spent(new=60, again=0)
    kept = _USUAL.proof_windows(0.4, 0.02)

    assert _USUAL.rounds(40, so_far, TOP, kept) == LADDER[0]
    assert most_windows(TOP, _USUAL.rounds(74, so_far, TOP, kept)) == 8
    assert _USUAL.rounds(88, so_far, TOP, kept) == LADDER[-1]


def test_the_noise_of_a_window_is_found_from_what_was_measured_again() -> None:
    rng = random.Random(3)
    sd = 0.1
    baselines = [rng.gauss(0, sd) for _ in range(200)]
    steps = [after - before for before, after in pairwise(baselines)]
    scores = [
        row(number, number // 3, ScoredTrial(0.1 * (number // 3) + rng.gauss(0, 1.5**0.5 * sd)))
        for number in range(300)
    ]

    assert window_sd([], []) is None
    assert window_sd([], [0.1]) is None
    assert window_sd(scores, []) == pytest.approx(sd, rel=0.15)
    assert window_sd([], steps) == pytest.approx(sd, rel=0.15)


def test_one_lucky_window_is_believed_less_than_two() -> None:
    once, twice = ScoredTrial(0.29), ScoredTrial(0.28)
    rows = [row(1, 1, once), row(2, 2, twice), row(3, 2, twice), row(4, 3, VoidTrial("steal"))]

    assert believed_gain(rows, None) is None
    assert believed_gain(rows, 0.05) == pytest.approx(0.28 - 0.05 * 1.5**0.5 / 2**0.5)
    assert believed_gain([row(1, 1, ScoredTrial(0.01))], 0.05) is None
    assert believed_gain([row(1, 1, once, Origin.BASELINE)], 0.05) is None

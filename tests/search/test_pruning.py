"""Wilcoxon pruning saves windows of what is behind, and is told to Optuna as pruned."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState

from ktune.search.opening import open_search
from ktune.search.pruning import FEWEST_PAIRS, is_behind
from ktune.search.study import Search
from ktune.search.trials import Origin, ScoredTrial, key_of
from tests.search.spaces import example_space

pytest.importorskip("scipy")

SCORES = st.lists(st.floats(-1, 1), max_size=8)


def opened(folder: Path, *, pruning: bool = True) -> Search:
    return open_search(example_space(), name="s", journal=folder / "j", seed=3, pruning=pruning)


def measured(search: Search, ahead: int, scores: list[float]) -> None:
    for score in scores:
        search.remeasure({"vm.ahead": ahead})
        candidate = search.ask()
        assert candidate.assignment["vm.ahead"] == ahead
        search.tell(candidate, ScoredTrial(score))


@given(SCORES, SCORES)
@settings(max_examples=25, deadline=None)
def test_only_what_was_measured_often_enough_and_is_worse_is_behind(
    scores: list[float], best: list[float]
) -> None:
    behind = is_behind(scores, best)
    pairs = list(zip(scores, best, strict=False))
    if behind:
        assert len(pairs) >= FEWEST_PAIRS
        assert any(one < other for one, other in pairs)
    if all(one >= other for one, other in pairs):
        assert not behind


def test_four_losses_in_a_row_are_enough_and_three_are_not() -> None:
    assert is_behind([0.0] * 4, [0.1, 0.11, 0.12, 0.13])
    assert not is_behind([0.0] * 3, [0.1, 0.11, 0.12])


def test_equal_ones_are_seldom_pruned() -> None:
    """Four pairs without a difference: all four lost in 1 of 16."""
    rng = random.Random(2)
    draw = lambda: [rng.gauss(0, 1) for _ in range(4)]  # noqa: E731
    assert sum(is_behind(draw(), draw()) for _ in range(50)) <= 8


def test_what_is_behind_is_told_as_pruned_and_survives_a_resume(tmp_path: Path) -> None:
    with opened(tmp_path) as search:
        measured(search, 1024, [0.10, 0.11, 0.12, 0.13])
        measured(search, 64, [0.01, 0.02, 0.03, 0.04])
        ours = [row for row in search.rows if row.origin is Origin.REMEASURE]
        assert [row.pruned for row in ours] == [False] * 7 + [True]
        trial = search._study.get_trials()[ours[-1].number]
        assert trial.state is TrialState.PRUNED
        assert trial.intermediate_values[3] == pytest.approx(0.025), "the running mean"
        assert search.pruned == {key_of(ours[-1].assignment)}
        assert search.scores(ours[-1].assignment) == [0.01, 0.02, 0.03, 0.04], "none is lost"
        pruned = search.pruned
    with opened(tmp_path) as resumed:
        assert resumed.pruned == pruned


def test_nothing_is_pruned_unless_asked_for(tmp_path: Path) -> None:
    with opened(tmp_path, pruning=False) as search:
        measured(search, 1024, [0.10, 0.11, 0.12, 0.13])
        measured(search, 64, [0.01, 0.02, 0.03, 0.04])
        assert search.pruned == frozenset()

"""Which trials a sampler looks at in a long search."""

from __future__ import annotations

import random
from pathlib import Path

import optuna
import pytest

from ktune.profile.space import Dimension, DimensionKind
from ktune.search.distributions import CONTINUOUS_FROM, distributions_of
from ktune.search.opening import open_search
from ktune.search.space import Space
from ktune.search.thinning import BEST, NEWEST, thinned
from ktune.search.trials import ScoredTrial

GOOD = 25
"""The most trials of TPE's good density (optuna.samplers._tpe.sampler.default_gamma)."""


def trials(count: int, *, violating: int = 0) -> list[optuna.trial.FrozenTrial]:
    rng = random.Random(2)
    found = []
    for number in range(count):
        trial = optuna.trial.create_trial(
            value=rng.random() + (10 if number < violating else 0),
            constraints={"c": 1.0 if number < violating else -1.0},
        )
        trial.number = number
        found.append(trial)
    return found


def values(found: list[optuna.trial.FrozenTrial]) -> list[float]:
    return [trial.value for trial in found if trial.value is not None]


def test_a_short_search_is_left_alone() -> None:
    few = trials(BEST + NEWEST)
    assert thinned(few) == few


def test_a_long_one_keeps_its_best_and_its_newest_in_their_order() -> None:
    many = trials(1000)
    kept = thinned(many)
    assert len(kept) == BEST + NEWEST
    assert [trial.number for trial in kept] == sorted(trial.number for trial in kept)
    assert sorted(values(kept))[-GOOD:] == sorted(values(many))[-GOOD:]
    newest = [trial for trial in many if trial in kept[-10:]]
    assert newest[-1] is many[-1]


def test_what_violates_a_constraint_is_not_the_best() -> None:
    kept = thinned(trials(1000, violating=100))
    assert sum(trial.number < 100 for trial in kept) == 0


def test_several_objectives_are_left_alone() -> None:
    many = [optuna.trial.create_trial(values=[1.0, 2.0]) for _ in range(300)]
    assert thinned(many) == many


@pytest.mark.parametrize("log", [False, True])
def test_many_values_are_drawn_as_numbers_and_stay_whole_and_inside(
    log: bool, tmp_path: Path
) -> None:
    high = 4 * CONTINUOUS_FROM
    space = Space(
        [
            Dimension("net.wide", DimensionKind.INT, low=3, high=high, log=log),
            Dimension("net.narrow", DimensionKind.INT, low=3, high=9, log=log),
        ],
        (),
        {"net.wide": 5, "net.narrow": 5},
    )
    kinds = {name: type(one).__name__ for name, one in distributions_of(space).items()}
    assert kinds == {"net.wide": "FloatDistribution", "net.narrow": "IntDistribution"}
    for edge in (3, high):
        assert space.decode(space.nearest({"net.wide": edge, "net.narrow": 3})) == {
            "net.wide": edge,
            "net.narrow": 3,
        }
    with open_search(space, name="s", journal=tmp_path / "journal", seed=1) as search:
        for _ in range(30):
            candidate = search.ask()
            value = candidate.assignment["net.wide"]
            assert isinstance(value, int)
            assert 3 <= value <= high
            search.tell(candidate, ScoredTrial(value / high))
        search.remeasure(search.ranked()[0].assignment)
        assert search.ask().measured_before >= 1

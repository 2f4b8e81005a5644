"""A wide space along a few directions: limits kept, seeded, the baseline itself measured."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ktune.errors import UsageError
from ktune.search.opening import open_search
from ktune.search.projection import ProjectedSpace, place_of, value_at
from ktune.search.space import SPECIAL_BIAS, Axis, Number, Space
from ktune.search.study import Search
from ktune.search.trials import Origin, ScoredTrial, VoidTrial, key_of
from tests.depth import examples
from tests.search.spaces import BASELINE, choice, example_space, number, spaces
from tests.search.test_space import Drawn


def point(projected: ProjectedSpace, rng: random.Random) -> dict[str, float]:
    return {name: rng.choice([-1.0, 1.0, rng.uniform(-1, 1)]) for name in projected.names}


def opened(folder: Path, seed: int = 7, dimensions: int = 2, space: Space | None = None) -> Search:
    space = space or example_space()
    return open_search(
        space,
        name="study",
        journal=folder / "optuna.journal",
        seed=seed,
        projected=ProjectedSpace(space, dimensions, seed),
    )


@given(spaces(), st.integers(1, 8), st.integers(0, 2**32))
@settings(deadline=None, max_examples=examples(40))
def test_every_point_keeps_limits_and_relations(drawn: Drawn, dimensions: int, seed: int) -> None:
    space = Space(*drawn)
    projected = ProjectedSpace(space, dimensions, seed)
    assignment = projected.decode(point(projected, random.Random(seed)))
    if space.broken(assignment) is None:  # else no repair exists, and the search draws again
        assert space.why_not(assignment) is None


@given(spaces(), st.integers(0, 2**32))
@settings(deadline=None, max_examples=examples(40))
def test_a_place_and_its_value_agree(drawn: Drawn, seed: int) -> None:
    rng = random.Random(seed)
    for axis in Space(*drawn).axes:
        value = value_at(axis, rng.choice([0.0, 1.0, rng.random()]))
        assert axis.params(value) is not None
        again = value_at(axis, place_of(axis, value))
        off = abs(again - value) if isinstance(again, int) and isinstance(value, int) else 0
        assert again == value or (axis.number is not None and off <= axis.number.step)


@pytest.mark.parametrize(
    "axis",
    [
        Axis("k", None, Number(1, 1000), (0,)),
        Axis("k", None, Number(0, 1000), (0, -1)),
        Axis("k", None, Number(4, 8192, log=True), (0,)),
    ],
)
def test_special_values_keep_their_share_in_both_directions(axis: Axis) -> None:
    rng = random.Random(1)
    for sign in (1, -1):
        places = [(1 + sign * rng.uniform(-1, 1)) / 2 for _ in range(4000)]
        share = sum(value_at(axis, place) in axis.choices for place in places) / 4000
        assert share == pytest.approx(SPECIAL_BIAS, abs=0.025)


def test_the_same_seed_gives_the_same_projection_whatever_else_is_searched() -> None:
    keys = [f"k.k{index}" for index in range(40)]
    whole = ProjectedSpace(Space([number(key, 0, 9) for key in keys]), 8, 3)
    fewer = ProjectedSpace(Space([number(key, 0, 9) for key in keys[5:]]), 8, 3)
    other = ProjectedSpace(Space([number(key, 0, 9) for key in keys]), 8, 4)
    assert {key: whole.recorded[key] for key in keys[5:]} == fewer.recorded
    assert whole.recorded != other.recorded
    used = {abs(place) for place in whole.recorded.values()}
    assert len(used) >= 6 and used <= set(range(1, 9))
    assert {place > 0 for place in whole.recorded.values()} == {True, False}


def test_baseline_and_expert_settings_are_measured_exactly(tmp_path: Path) -> None:
    expert = {**BASELINE, "vm.ahead": 0, "vm.total": 55}
    wanted = {key: value for key, value in expert.items() if key in example_space().keys}
    with opened(tmp_path) as search:
        search.enqueue({}, Origin.BASELINE)
        search.enqueue(wanted, Origin.EXPERT)
        first, second = search.ask(), search.ask()
    assert first.assignment == search.space.completed({}) and first.origin is Origin.BASELINE
    assert second.assignment == wanted and second.origin is Origin.EXPERT


def test_a_point_measured_again_or_after_a_void_window_is_that_point(tmp_path: Path) -> None:
    with opened(tmp_path) as search:
        leader = search.ask()
        search.tell(leader, ScoredTrial(0.5))
        again = search.ask()
        search.tell(again, VoidTrial("spoilt"))
        retried = search.ask()
        search.tell(retried, ScoredTrial(0.1))
        told = [trial for trial in search._study.get_trials() if trial.value is not None]
    assert [key_of(c.assignment) for c in (again, retried)] == [key_of(leader.assignment)] * 2
    assert [trial.value for trial in told] == [0.5, pytest.approx(0.3)], "the sampler learns it"


def test_a_resumed_search_keeps_its_projection_and_another_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path) as search:
        for _ in range(6):
            candidate = search.ask()
            search.tell(candidate, ScoredTrial(-0.1))
        rows = [(row.number, dict(row.assignment)) for row in search.rows]
    with opened(tmp_path) as resumed:
        assert [(row.number, dict(row.assignment)) for row in resumed.rows] == rows
    for seed, dimensions in ((8, 2), (7, 3)):
        with pytest.raises(UsageError, match="searched other knobs"):
            opened(tmp_path, seed, dimensions)


def test_the_same_seed_asks_the_same(tmp_path: Path) -> None:
    asked = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        with opened(tmp_path / name) as search:
            asked.append([key_of(search.ask().assignment) for _ in range(5)])
    assert asked[0] == asked[1]


def test_more_dimensions_than_knobs_are_cut() -> None:
    space = Space([number("k.a", 0, 9), choice("k.b", "x", "y")])
    assert ProjectedSpace(space, 8, 1).names == ("projected1", "projected2")

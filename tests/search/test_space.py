"""Dimensions to parameters and back; limits and relations kept whatever is drawn."""

from __future__ import annotations

import dataclasses
import itertools
import math
import random
import re
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ktune.errors import UsageError
from ktune.kernel.values import Value
from ktune.profile.knobs import Relation, parse_relation
from ktune.profile.space import Dimension, DimensionKind
from ktune.search.distributions import distributions_of
from ktune.search.relations import repair
from ktune.search.space import SPECIAL_BIAS, Axis, Number, Space
from tests.search.spaces import BASELINE, choice, element, example_space, number, spaces, within

Drawn = tuple[tuple[Dimension, ...], tuple[Relation, ...], dict[str, Value]]


def random_params(space: Space, rng: random.Random) -> dict[str, Any]:
    """What a sampler might propose: anything its parameters allow."""
    params: dict[str, Any] = {}
    for axis in space.axes:
        if axis.number is None:
            params[axis.name] = axis.label(rng.choice(axis.choices))
        elif axis.number.log:
            params[axis.name] = rng.randint(axis.number.low, axis.number.high)
        else:
            steps = (axis.number.high - axis.number.low) // axis.number.step
            params[axis.name] = rng.randint(0, steps)
        if axis.has_chooser:
            params[axis.chooser] = rng.choice([0.0, 1.0, rng.random()])
    return params


@given(spaces(), st.integers(0, 2**32))
def test_a_drawn_assignment_keeps_the_limits(drawn: Drawn, seed: int) -> None:
    dimensions, _, baseline = drawn
    space = Space(dimensions, (), baseline)
    found = space.decode(random_params(space, random.Random(seed)))
    assert all(within(dimension, found[dimension.key]) for dimension in dimensions)
    assert set(found) == {dimension.key for dimension in dimensions}
    assert space.why_not(found) is None
    assert space.decode(space.nearest(found)) == found


@given(spaces(), st.integers(0, 2**32))
def test_a_repaired_assignment_keeps_limits_and_relations(drawn: Drawn, seed: int) -> None:
    dimensions, relations, baseline = drawn
    space = Space(dimensions, relations, baseline)
    repaired = repair(space, space.decode(random_params(space, random.Random(seed))))
    if repaired is not None:
        assert all(within(dimension, repaired[dimension.key]) for dimension in dimensions)
        assert all(relation.holds({**baseline, **repaired}) for relation in relations)
        assert space.why_not(repaired) is None


@given(st.integers(-100, 100), st.integers(0, 200), st.integers(1, 40), st.integers(-150, 350))
def test_the_grid_next_to_a_limit_is_the_nearest(low: int, width: int, step: int, at: int) -> None:
    axis = Number(low, low + width, step)
    grid = range(low, low + width + 1, step)
    assert axis.at_most(at) == max((value for value in grid if value <= at), default=None)
    assert axis.at_least(at) == min((value for value in grid if value >= at), default=None)
    assert axis.last == grid[-1]


def test_a_violated_relation_moves_one_side_a_little() -> None:
    space = example_space()
    wrong = {**BASELINE, "vm.background": 17, "vm.total": 15}
    assert repair(space, wrong) == {**wrong, "vm.total": 20}


def test_a_chain_of_relations_settles() -> None:
    keys = ("k.a", "k.b", "k.c", "k.d")
    relations = [parse_relation(f"{a} < {b}") for a, b in itertools.pairwise(keys)]
    space = Space([number(key, 0, 10) for key in keys], relations)
    repaired = repair(space, {"k.a": 9, "k.b": 5, "k.c": 5, "k.d": 1})
    assert repaired is not None and space.broken(repaired) is None


@given(spaces(), st.integers(0, 2**32))
def test_numbers_with_room_are_always_repaired(drawn: Drawn, seed: int) -> None:
    """Against trying all: where some assignment holds, the repair finds one."""
    dimensions, relations, baseline = drawn
    plain = [
        dataclasses.replace(d, log=False, low=d.low, high=min(d.high, d.low + 6), special=())
        for d in dimensions
        if d.kind is not DimensionKind.CHOICE
    ][:4]
    if not plain:
        return
    space = Space(plain, relations, baseline)
    grids = [
        range(axis.number.low, axis.number.last + 1, axis.number.step)
        for axis in space.axes
        if axis.number
    ]
    rng = random.Random(seed)
    start = space.decode(random_params(space, rng))
    repaired = repair(space, start)
    for values in itertools.product(*grids):
        tried = start
        for axis, value in zip(space.axes, values, strict=True):
            tried = space.with_value(tried, axis, value)
        if space.broken(tried) is None:
            assert repaired is not None and space.why_not(repaired) is None
            return
    assert repaired is None


def test_a_cycle_of_relations_has_no_repair() -> None:
    relations = [parse_relation("k.a < k.b"), parse_relation("k.b < k.a")]
    space = Space([number("k.a", 0, 9), number("k.b", 0, 9)], relations)
    assert repair(space, {"k.a": 1, "k.b": 5}) is None


def test_a_relation_to_a_knob_that_is_not_searched_moves_the_other() -> None:
    relations = [parse_relation("k.a < vm.total")]
    space = Space([number("k.a", 0, 99)], relations, BASELINE)
    assert repair(space, {"k.a": 50}) == {"k.a": 19}


def test_special_values_get_their_share_of_random_draws() -> None:
    axis = Axis("k", None, Number(1, 10), (0, -1))
    rng = random.Random(1)
    picks = [axis.pick({"k": 3, "k?special": rng.random()}) for _ in range(4000)]
    assert picks.count(0) + picks.count(-1) == pytest.approx(4000 * SPECIAL_BIAS, rel=0.15)
    assert picks.count(0) == pytest.approx(picks.count(-1), rel=0.25)
    for value in (0, -1, 1, 10):
        params = axis.params(value)
        assert params is not None and axis.pick(params) == value


@given(
    st.integers(-5, 50),
    st.integers(1, 100_000),
    st.integers(1, 9),
    st.lists(st.integers(-100, 100_100), min_size=1, max_size=3, unique=True),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=15)
def test_special_values_get_10_to_20_percent_wherever_they_lie(
    low: int, width: int, step: int, special: list[int], seed: int
) -> None:
    """Through Optuna's own random sampler; those in the range are drawn as numbers too."""
    space = Space([number("k", low, low + width, step=step, special=tuple(special))])
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    distributions = distributions_of(space)
    draws = 600
    drawn = [space.decode(study.ask(distributions).params)["k"] for _ in range(draws)]
    grid = range(low, low + width + 1, step)
    ordinary = sum(value in grid for value in special) / len(grid)
    share = sum(value in special for value in drawn) / draws
    expected = SPECIAL_BIAS + (1 - SPECIAL_BIAS) * ordinary
    assert 0.10 <= SPECIAL_BIAS <= 0.20
    assert share == pytest.approx(expected, abs=4.5 * math.sqrt(expected / draws))


@pytest.mark.parametrize("special", [0, 5, 10, 99])
def test_a_special_value_at_the_edge_or_inside_is_still_one_assignment(special: int) -> None:
    space = Space([number("k", 0, 10, special=(special,))])
    for value in (0, 3, 10, special):
        params = space.axes[0].params(value)
        assert params is not None and space.decode(params) == {"k": value}


def test_an_element_of_a_vector_leaves_the_others_alone() -> None:
    space = Space([element("net.rmem", 2, 100, 200)], (), BASELINE)
    assert space.decode({"net.rmem[2]": 50}) == {"net.rmem": (4096, 131072, 150)}
    assert space.why_not({"net.rmem": (1, 131072, 150)}) is not None
    assert space.why_not({"net.rmem": (4096, 131072, 201)}) is not None


@pytest.mark.parametrize(
    ("assignment", "why"),
    [
        ({"vm.background": 0}, r"vm.background = 0 is outside 1\.\.20"),
        ({"vm.total": 57}, "in steps of 5"),
        ({"vm.ahead": 2}, r"outside 4\.\.8192 or 0"),
        ({"vm.mode": "sometimes"}, "the choices madvise, always, never"),
        ({"vm.background": 20, "vm.total": 20}, "relation vm.background < vm.total"),
        ({"kernel.other": 1}, "kernel.other is not searched"),
    ],
)
def test_what_the_search_may_not_try_is_named(assignment: dict[str, Value], why: str) -> None:
    space = example_space()
    found = space.why_not(space.completed(assignment))
    assert found is not None
    assert re.search(why, found)


def test_what_a_person_enqueues_may_lie_off_the_grid_or_stay_at_the_baseline() -> None:
    space = Space([number("vm.total", 30, 60, step=10), number("vm.ahead", 1, 9)], (), BASELINE)
    assert space.why_not({"vm.total": 20, "vm.ahead": 5}) is not None
    assert space.why_not({"vm.total": 20, "vm.ahead": 5}, enqueued=True) is None
    assert space.why_not({"vm.total": 45, "vm.ahead": 5}, enqueued=True) is None
    assert space.why_not({"vm.total": 25, "vm.ahead": 5}, enqueued=True) is not None


def test_a_space_that_can_not_be_searched_is_refused() -> None:
    with pytest.raises(UsageError, match="no knob"):
        Space([])
    with pytest.raises(UsageError, match="searched twice"):
        Space([number("k", 1, 2), number("k", 1, 2)])
    with pytest.raises(UsageError, match="no value between"):
        Space([number("k", 2, 1)])
    with pytest.raises(UsageError, match="vector of the baseline"):
        Space([element("k", 1, 1, 2)], (), {"k": (1,)})
    with pytest.raises(UsageError, match="neither a range nor choices"):
        Space([choice("k")])


def test_the_fingerprint_tells_spaces_apart() -> None:
    one = Space([number("k", 1, 9)]).fingerprint
    assert one == Space([number("k", 1, 9)]).fingerprint
    assert one != Space([number("k", 1, 8)]).fingerprint

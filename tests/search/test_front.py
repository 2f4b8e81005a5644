"""The Pareto front, by its definition; and a search that is told several objectives."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktune.search.front import dominates, enters_front, front
from ktune.search.opening import open_search
from ktune.search.samplers import SamplerName
from ktune.search.trials import Origin, Ranked, Row, ScoredTrial
from tests.search.spaces import example_space

step = st.integers(-3, 3).map(lambda n: n / 10)
measured = st.lists(st.tuples(step, step), max_size=12).map(
    lambda points: [
        Ranked({"k": n}, (a + b) / 2, 1, n, {"a": a, "b": b}) for n, (a, b) in enumerate(points)
    ]
)


@given(measured)
def test_nothing_of_the_front_is_beaten_and_everything_else_is(ranked: list[Ranked]) -> None:
    baseline = {"a": 0.0, "b": 0.0}
    kept = front(ranked)
    everything = [baseline, *(dict(item.objectives) for item in ranked)]
    for item in kept:
        assert not any(dominates(rival, item.objectives) for rival in everything)
    for item in ranked:
        if item not in kept:
            rivals = [baseline, *(dict(other.objectives) for other in kept)]
            assert any(
                dominates(rival, item.objectives) or rival == dict(item.objectives)
                for rival in rivals
            )


@given(measured, st.randoms(use_true_random=False))
def test_the_order_of_measuring_does_not_matter(ranked: list[Ranked], rng: random.Random) -> None:
    mixed = rng.sample(ranked, len(ranked))
    assert front(mixed) == front(ranked)


def row(number: int, a: float, b: float, knob: int | None = None) -> Row:
    told = ScoredTrial((a + b) / 2, {}, {"a": a, "b": b})
    return Row(number, {"k": number if knob is None else knob}, Origin.SAMPLER, told)


def test_what_comes_into_the_front_by_one_window_is_measured_again() -> None:
    assert enters_front([row(1, 0.1, -0.1)])
    assert enters_front([row(1, 0.1, -0.1), row(2, -0.1, 0.1)])
    assert not enters_front([row(1, 0.1, 0.1), row(2, 0.05, 0.1)])
    assert not enters_front([row(1, 0.1, 0.1, 7), row(2, 0.2, 0.1, 7)])
    assert not enters_front([row(1, -0.1, -0.1)]), "the baseline is better in both"


@pytest.mark.parametrize("sampler", [SamplerName.TPE, SamplerName.RANDOM, SamplerName.QMC])
def test_a_search_with_several_objectives_goes_on_after_a_break(
    tmp_path: Path, sampler: SamplerName
) -> None:
    def opened():  # type: ignore[no-untyped-def]
        return open_search(
            example_space(),
            name="s",
            journal=tmp_path / "j",
            sampler=sampler,
            constraints=["c"],
            objectives=["a", "b"],
        )

    rng = random.Random(3)
    rows: list[Row] = []
    for _ in range(2):
        with opened() as search:
            assert search.rows == rows
            for _ in range(12):
                candidate = search.ask()
                told = ScoredTrial(
                    0.0, {"c": rng.gauss(0, 1)}, {"a": rng.gauss(0, 1), "b": rng.gauss(0, 1)}
                )
                search.tell(candidate, told)
            search.revise(candidate.number, 0.5, {"a": 1.0, "b": 0.0})
            rows = search.rows
    assert isinstance(rows[-1].told, ScoredTrial) and rows[-1].told.objectives["a"] == 1.0
    assert len(rows) == 24

"""No leap into the unknown: properties of the trust region, and of searches that keep to it."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ktune.kernel.values import Value
from ktune.profile.knobs import parse_relation
from ktune.profile.space import Dimension, DimensionKind
from ktune.search.opening import open_search
from ktune.search.regret import Tried, regret
from ktune.search.space import Space
from ktune.search.trials import InfeasibleTrial, Origin, Row, ScoredTrial
from ktune.search.trust_region import TrustRegion, centre_of

A, B, LOG, WORD, MODE, VECTOR = "vm.a", "vm.b", "vm.log", "vm.word", "vm.mode", "vm.v"
BASELINE: dict[str, Value] = {A: 20, B: 60, LOG: 64, WORD: "x", MODE: 1, VECTOR: (1, 50, 900)}


def space() -> Space:
    return Space(
        [
            Dimension(A, DimensionKind.INT, 0, 100),
            Dimension(B, DimensionKind.INT, 0, 100, step=5, special=(-1,)),
            Dimension(LOG, DimensionKind.INT, 4, 65536, log=True),
            Dimension(WORD, DimensionKind.CHOICE, choices=("x", "y", "z")),
            Dimension(MODE, DimensionKind.CHOICE, choices=(0, 1, 2)),
            Dimension(VECTOR, DimensionKind.VECTOR, 10, 500, element=1),
        ],
        [parse_relation("vm.a < vm.b")],
        BASELINE,
    )


SPACE = space()
POINTS = st.fixed_dictionaries(
    {
        A: st.integers(0, 100),
        B: st.one_of(st.just(-1), st.integers(0, 20).map(lambda n: 5 * n)),
        LOG: st.integers(4, 65536),
        WORD: st.sampled_from("xyz"),
        MODE: st.integers(0, 2),
        VECTOR: st.integers(10, 500).map(lambda n: (1, n, 900)),
    }
)
CENTRES = POINTS.filter(lambda point: SPACE.broken(point) is None)
SHARES = st.sampled_from([0.05, 0.1, 0.2, 0.5])


_CENTRE = {A: 0, B: 5, LOG: 4, WORD: "y", MODE: 0, VECTOR: (1, 10, 900)}


@given(CENTRES, POINTS, SHARES)
@example(_CENTRE, {**_CENTRE, B: -1}, 0.05)  # near by, and yet against the relation
def test_what_comes_back_is_near_keeps_the_limits_and_the_relations(centre, wanted, share) -> None:
    region = TrustRegion(share)

    found = region.nearest(SPACE, centre, wanted)

    assert region.holds(SPACE, centre, found)
    assert SPACE.why_not(found) is None
    assert abs(found[A] - centre[A]) <= share * 100
    assert abs(math.log(found[LOG] / centre[LOG])) <= share * math.log(65536 / 4) + 1e-9
    assert abs(found[VECTOR][1] - centre[VECTOR][1]) <= share * 490
    leaps = [key for key in (WORD, MODE) if found[key] != centre[key]]
    if -1 in (found[B], centre[B]) and found[B] != centre[B]:
        leaps.append(B)
    assert len(leaps) <= 1


@given(CENTRES, POINTS, SHARES)
def test_drawing_back_twice_changes_nothing_more(centre, wanted, share) -> None:
    region = TrustRegion(share)
    once = region.nearest(SPACE, centre, wanted)

    assert region.nearest(SPACE, centre, once) == once


@given(CENTRES, CENTRES, SHARES)
def test_what_is_near_stays_as_it_is(centre, wanted, share) -> None:
    region = TrustRegion(share)
    if region.holds(SPACE, centre, wanted):
        assert region.nearest(SPACE, centre, wanted) == wanted


@given(CENTRES, POINTS)
def test_off_means_everywhere(centre, wanted) -> None:
    assert TrustRegion(1.0).nearest(SPACE, centre, wanted) == wanted


def test_a_baseline_outside_the_range_steps_to_its_edge() -> None:
    outside = Space([Dimension(A, DimensionKind.INT, 50, 100)], (), {A: 10})

    assert TrustRegion(0.2).nearest(outside, {A: 10}, {A: 90}) == {A: 60}


def row(number: int, a: int, score: float | None, origin: Origin = Origin.SAMPLER) -> Row:
    told = InfeasibleTrial("crash") if score is None else ScoredTrial(score)
    return Row(number, {A: a}, origin, told)


def test_the_centre_moves_only_after_a_re_measured_improvement() -> None:
    baseline = {A: 20}
    rows = [row(0, 20, 0.0, Origin.BASELINE), row(1, 30, 0.5)]
    assert centre_of(rows, baseline, 0.02) == baseline, "one window is luck"

    rows.append(row(2, 30, 0.3))
    assert centre_of(rows, baseline, 0.02) == {A: 30}

    assert centre_of([*rows, row(3, 30, None)], baseline, 0.02) == baseline, "it failed once"
    assert centre_of(rows, baseline, 0.45) == baseline, "not more than the smallest gain"


def test_every_candidate_of_a_search_is_near_the_last_known_good(tmp_path: Path) -> None:
    region, asked = TrustRegion(0.2), 0
    with open_search(SPACE, name="s", journal=tmp_path / "journal", seed=3) as search:
        search.stay_near(region, 0.02)
        search.enqueue(BASELINE, Origin.BASELINE)
        search.enqueue({**BASELINE, A: 54, LOG: 60_000, WORD: "z"}, Origin.EXPERT)
        moved = set()
        for _ in range(30):
            centre = SPACE.completed(centre_of(search.rows, {}, 0.02))
            candidate = search.ask()
            if candidate.origin is not Origin.REMEASURE:
                assert region.holds(SPACE, centre, candidate.assignment)
                asked += 1
            moved.add(centre[LOG])
            score = math.log(float(candidate.assignment[LOG])) - math.log(64)  # larger is better
            search.tell(candidate, ScoredTrial(score))

    assert asked >= 15
    assert len(moved) > 1 and max(moved) > 64 * math.exp(0.2 * math.log(65536 / 4)), (
        "two steps away from the baseline"
    )


TRIED = st.builds(Tried, st.floats(0.1, 100), st.one_of(st.none(), st.floats(-2, 2)))


@given(st.lists(TRIED), st.floats(1, 1e4), TRIED)
def test_regret_grows_with_what_is_worse_and_shrinks_with_what_is_better(tried, search_s, more):
    before, after = regret(tried, search_s), regret([*tried, more], search_s)

    if more.score is None or more.score < 0:
        assert after >= before
    else:
        assert after <= before


@given(st.lists(st.floats(0.1, 100), min_size=1))
def test_regret_is_the_share_of_the_time_in_which_nothing_was_done(durations) -> None:
    total = sum(durations)

    assert regret([Tried(item, None) for item in durations], 2 * total) == pytest.approx(0.5)
    assert regret([Tried(item, 0.0) for item in durations], total) == 0
    assert regret([Tried(item, math.log(0.9)) for item in durations], total) == pytest.approx(0.1)

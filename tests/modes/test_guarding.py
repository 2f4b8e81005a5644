"""What the pairs of a watch say: a test for each load, and which pairs it may have."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ktune.evidence.pairs import Direction
from ktune.modes.events import ContextChanged, ProbationPassed, Regressed, WatchPhase
from ktune.modes.watch.guarding import (
    Guarding,
    GuardSettings,
    WatchedPair,
    after_pair,
    begun,
    restarted,
    unshown,
)

SETTINGS = GuardSettings(
    {"speed": 0.02}, load_band=1.3, directions={"speed": Direction.MAXIMIZE}, probation_pairs=60
)


def watched(tests: Guarding, *pairs: tuple[float, float]) -> tuple[Guarding, list[object]]:
    """Pairs of (worsening, load)."""
    events: list[object] = []
    for worsening, load in pairs:
        tests, event = after_pair(tests, WatchedPair({"speed": worsening}, load), SETTINGS)
        events.append(event)
    return tests, events


def test_another_load_is_another_test_with_the_next_share_of_alpha() -> None:
    tests, events = watched(begun(WatchPhase.PROBATION), (0.0, 100.0), (0.1, 150.0))
    assert [type(event) for event in events] == [type(None), ContextChanged]
    assert tests.now.begin == tests.begins == 2
    assert tests.now.worsenings == ({"speed": 0.1},)
    assert tests.counted == 2


def test_a_load_that_returns_goes_on_with_its_test() -> None:
    tests, _ = watched(
        begun(WatchPhase.PROBATION), (0.0, 100.0), (0.1, 150.0), (0.2, 98.0), (0.3, 151.0)
    )
    assert tests.now.worsenings == ({"speed": 0.1}, {"speed": 0.3})
    assert [test.worsenings for test in tests.resting] == [({"speed": 0.0}, {"speed": 0.2})]
    assert tests.begins == 2


def test_a_guilty_policy_is_found_although_the_load_changes_after_every_third_pair() -> None:
    tests = begun(WatchPhase.PROBATION)
    for number in range(60):
        load = (100.0, 150.0)[number // 3 % 2]
        tests, (event,) = watched(tests, (0.1, load))
        if isinstance(event, Regressed):
            break
    assert isinstance(event, Regressed)
    assert number < 25


@pytest.mark.parametrize("phase", [WatchPhase.PROBATION, WatchPhase.STEADY])
def test_only_so_many_tests_wait_for_their_load(phase: WatchPhase) -> None:
    loads = [100.0 * 2**step for step in range(20)]
    tests, _ = watched(begun(phase), *((0.0, load) for load in loads))
    assert len(tests.resting) == 8
    assert tests.resting[-1].load == pytest.approx(math.log(loads[-2]))


def test_any_other_change_of_the_context_ends_every_test() -> None:
    tests, _ = watched(begun(WatchPhase.PROBATION), (0.0, 100.0), (0.1, 150.0))
    fresh = restarted(tests, WatchPhase.PROBATION)
    assert (fresh.resting, fresh.now.worsenings) == ((), ())
    assert fresh.now.begin == fresh.begins == 3


def test_a_load_that_never_rests_does_not_keep_a_policy_on_probation() -> None:
    pairs = [(0.0, 100.0 * 2 ** (number % 3)) for number in range(SETTINGS.probation_pairs)]
    tests, events = watched(begun(WatchPhase.PROBATION), *pairs)
    assert isinstance(events[-1], ProbationPassed)
    assert tests.phase is WatchPhase.STEADY


def test_a_probation_that_is_always_begun_anew_is_not_passed() -> None:
    """No test of three pairs could find anything, however many of them there were."""
    tests = begun(WatchPhase.PROBATION)
    for number in range(3 * SETTINGS.probation_pairs):
        tests, (event,) = watched(tests, (0.0, 100.0))
        assert event is None
        if number % 3 == 2:
            tests = restarted(tests, WatchPhase.PROBATION)
    tests, events = watched(tests, *[(0.0, 100.0)] * 40)
    assert any(isinstance(event, ProbationPassed) for event in events)


def test_a_probation_passes_only_with_a_test_that_would_have_found_a_guilty_policy() -> None:
    for begins in (1, 2, 7):
        tests = begun(WatchPhase.PROBATION)
        for _ in range(begins - 1):
            tests = restarted(tests, WatchPhase.PROBATION)
        guilty = tests
        for _ in range(SETTINGS.probation_pairs):
            tests, (event,) = watched(tests, (0.0, 100.0))
            guilty, (found,) = watched(guilty, (0.1, 100.0))
            if isinstance(found, Regressed):
                break
            assert unshown(tests, SETTINGS) and event is None
        assert isinstance(found, Regressed)
        assert not unshown(tests, SETTINGS)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_which_test_a_pair_belongs_to_does_not_depend_on_what_it_says(seed: int) -> None:
    """The coin decides the sign of a pair, and must not decide its test."""
    rng = random.Random(seed)
    pairs = [(rng.gauss(0, 0.01), rng.choice((100.0, 150.0, 50.0))) for _ in range(30)]
    tests, _ = watched(begun(WatchPhase.PROBATION), *pairs)
    swapped, _ = watched(begun(WatchPhase.PROBATION), *((-x, load) for x, load in pairs))
    assert [test.load for test in tests.resting] == [test.load for test in swapped.resting]
    assert tests.begins == swapped.begins

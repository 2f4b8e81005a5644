"""What the pairs of a watch say: the load of the pairs, and what a change of it does."""

from __future__ import annotations

from ktune.evidence.pairs import Direction
from ktune.modes.machine import ContextChanged, ProbationPassed, WatchPhase
from ktune.modes.watch.guarding import GuardSettings, WatchedPair, after_pair, begun

SETTINGS = GuardSettings(
    {"speed": 0.02}, load_band=2.5, directions={"speed": Direction.MAXIMIZE}, probation_pairs=4
)


def test_the_pair_that_shows_another_load_is_no_evidence() -> None:
    tests, _ = after_pair(begun(WatchPhase.PROBATION), WatchedPair({"speed": 0.0}, 100.0), SETTINGS)
    tests, event = after_pair(tests, WatchedPair({"speed": 1.1}, 300.0), SETTINGS)
    assert isinstance(event, ContextChanged)
    assert (tests.begin, tests.worsenings, tests.counted) == (2, (), 2)
    tests, event = after_pair(tests, WatchedPair({"speed": 0.1}, 300.0), SETTINGS)
    assert event is None
    assert tests.worsenings == ({"speed": 0.1},)


def test_a_load_that_never_rests_does_not_keep_a_policy_on_probation() -> None:
    tests, event = begun(WatchPhase.PROBATION), None
    for number in range(SETTINGS.probation_pairs):
        load = 100.0 if number % 2 else 300.0
        tests, event = after_pair(tests, WatchedPair({"speed": 0.0}, load), SETTINGS)
    assert isinstance(event, ProbationPassed)
    assert tests.phase is WatchPhase.STEADY


def test_in_the_steady_state_another_load_begins_a_new_detector() -> None:
    tests = begun(WatchPhase.STEADY)
    for load in (100.0, 110.0, 300.0):
        tests, event = after_pair(tests, WatchedPair({"speed": 0.1}, load), SETTINGS)
    assert isinstance(event, ContextChanged)
    assert tests.steady_pairs == 0

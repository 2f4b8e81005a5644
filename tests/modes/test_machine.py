"""The mode machine: every promise holds for every sequence of events."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ktune.modes.machine import (
    Command,
    Confirmed,
    Event,
    GuardrailCrossed,
    Interrupted,
    LeaseFailed,
    Mode,
    SearchEnded,
    Started,
    State,
    step,
)

EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.just(Started()),
    st.builds(SearchEnded, st.integers(0, 3), st.just("budget")),
    st.builds(Confirmed, st.booleans(), st.just("decided")),
    st.just(GuardrailCrossed("psi")),
    st.just(LeaseFailed("guardian gone")),
    st.just(Interrupted("Ctrl-C")),
)


def run(events: list[Event], max_trips: int = 3) -> list[tuple[State, Event, State]]:
    state, seen = State(max_trips=max_trips), []
    for event in events:
        after, _ = step(state, event)
        seen.append((state, event, after))
        state = after
    return seen


@given(st.lists(EVENTS, max_size=30))
def test_emergency_is_left_only_by_a_person(events: list[Event]) -> None:
    for before, event, after in run(events):
        if before.mode is Mode.EMERGENCY and after.mode is not Mode.EMERGENCY:
            assert isinstance(event, Interrupted)


@given(st.lists(EVENTS, max_size=30))
def test_a_run_never_ends_without_restoring_the_baseline(events: list[Event]) -> None:
    state = State()
    for event in events:
        state, commands = step(state, event)
        if Command.END in commands:
            restore = list(commands).index(Command.RESTORE_BASELINE)
            assert restore < list(commands).index(Command.END)


@given(st.lists(EVENTS, max_size=30))
def test_collaboration_is_only_reached_with_a_finalist(events: list[Event]) -> None:
    for before, event, after in run(events):
        if after.mode is Mode.COLLABORATION and before.mode is not Mode.COLLABORATION:
            assert isinstance(event, SearchEnded)
            assert event.finalists > 0


@given(st.integers(1, 6))
def test_the_last_allowed_trip_is_an_emergency_and_none_before(max_trips: int) -> None:
    seen = run([Started(), *[GuardrailCrossed("oom")] * max_trips], max_trips)
    modes = [after.mode for _, _, after in seen[1:]]
    assert modes == [Mode.LEARNING] * (max_trips - 1) + [Mode.EMERGENCY]


def test_a_crossed_guardrail_restores_counts_against_the_candidate_and_waits() -> None:
    _, commands = step(State(Mode.LEARNING), GuardrailCrossed("psi"))
    assert list(commands) == [
        Command.RESTORE_BASELINE,
        Command.COUNT_INFEASIBLE,
        Command.WAIT_QUIET,
    ]


def test_without_a_finalist_the_run_goes_idle() -> None:
    state, _ = step(State(Mode.LEARNING), SearchEnded(0, "budget"))
    assert state.mode is Mode.IDLE
    assert "no finalist" in state.reason

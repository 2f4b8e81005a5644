"""The kernel's mode machine: what must always hold, and the Python machine beside it.

The machine is small enough to try every event in every state that can be reached.
"""

from __future__ import annotations

import ctypes as c
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from ktune.modes import machine as py
from tests.kmod.core import Conduct, Do, Event, Mode, State, Write

PHASE = py.WatchPhase.STEADY
SAME: dict[Event, py.Event] = {
    Event.STARTED: py.Started(),
    Event.FINALISTS: py.SearchEnded(2, "x"),
    Event.NO_FINALIST: py.SearchEnded(0, "x"),
    Event.CONFIRMED: py.Confirmed(True, "x"),
    Event.WATCH: py.WatchStarted("p", False, PHASE),
    Event.REGRESSED: py.Regressed("x"),
    Event.POLICY_GONE: py.PolicyGone("x"),
    Event.TRIPPED: py.GuardrailCrossed("x"),
    Event.FOREIGN: py.ForeignWrite("x"),
    Event.CLOSED: py.Interrupted("x"),
    Event.LOST: py.LeaseFailed("x"),
    Event.CRITICAL: py.LeaseFailed("x"),
    Event.CLEARED: py.Cleared("x"),
    Event.QUIET: py.Cleared("x"),
}
"""The events that both machines have. The deadline (EXPIRED) is the kernel's own: user space's
guardian restores by itself."""
COMMANDS = {
    py.Command.RESTORE_BASELINE: Do.RESTORE,
    py.Command.COUNT_INFEASIBLE: Do.INFEASIBLE,
    py.Command.WAIT_QUIET: Do.WAIT_QUIET,
    py.Command.SEARCH: Do.SEARCH,
    py.Command.CONFIRM: Do.CONFIRM,
    py.Command.LOCK_OUT: Do.LOCK_OUT,
    py.Command.RETURN_TO_POLICY: Do.RETURN,
    py.Command.VOID_PAIR: Do.VOID,
    py.Command.RESTART_TEST: Do.RESTART,
    py.Command.APPLY_POLICY: Do.APPLY,
    py.Command.KEEP_FOREIGN: Do.KEEP,
    py.Command.ALERT: Do.ALERT,
    py.Command.REFUSE_ALL: Do.REFUSE,
    py.Command.END: Do.END,
}
CONDUCTS = tuple(
    (trips, stays, reapplies)
    for trips, stays, reapplies in product((1, 2, 3), (False, True), (False, True))
)


@dataclass(frozen=True)
class Way:
    """One transition that can happen."""

    conduct: Conduct
    before: State
    event: Event
    commands: Do
    after: State


def stepped(lib: c.CDLL, before: State, event: Event) -> tuple[State, Do]:
    state = State.from_buffer_copy(bytes(before))
    commands = c.c_uint32()
    lib.core_step(c.byref(state), event, c.byref(commands))
    return state, Do(commands.value)


def ways(lib: c.CDLL) -> Iterator[Way]:
    """Every event in every state that can be reached, for every conduct."""
    for given in CONDUCTS:
        conduct = Conduct(*given)
        ahead = [State(Mode.IDLE, 0, False, conduct)]
        seen = {bytes(ahead[0])}
        while ahead:
            before = ahead.pop()
            for event in Event:
                after, commands = stepped(lib, before, event)
                yield Way(conduct, before, event, commands, after)
                if bytes(after) not in seen:
                    seen.add(bytes(after))
                    ahead.append(after)


def python_state(conduct: Conduct, state: State) -> py.State:
    mode = py.Mode(Mode(state.mode).name.lower())
    return py.State(
        mode,
        trips=state.trips,
        phase=PHASE if mode is py.Mode.RECOMMENDATION else None,
        conduct=py.Conduct(
            max_trips=conduct.max_trips,
            stays_without_watcher=conduct.stays,
            drift=py.Drift.REAPPLY if conduct.reapplies else py.Drift.KEEP,
        ),
    )


def test_both_machines_go_the_same_ways(lib: c.CDLL) -> None:
    modes = set()
    for way in ways(lib):
        if way.event not in SAME:
            continue
        modes.add((way.before.mode, way.event))
        theirs, expected = py.step(python_state(way.conduct, way.before), SAME[way.event])
        assert theirs.mode.value == Mode(way.after.mode).name.lower(), way
        assert theirs.trips == way.after.trips, way
        assert Do(sum(COMMANDS[item] for item in expected)) == way.commands, way
        for write in Write:
            allowed = py.may(theirs, py.Write(write.name.lower()))
            assert bool(lib.core_may(c.byref(way.after), write)) == allowed, way
    assert len(modes) == len(Mode) * len(SAME)


def test_leaving_a_mode_in_which_something_is_in_force_restores(lib: c.CDLL) -> None:
    for way in ways(lib):
        began_quiet = way.before.mode in (Mode.IDLE, Mode.EMERGENCY)
        quiet = way.after.mode in (Mode.IDLE, Mode.EMERGENCY)
        if quiet and not began_quiet and way.event != Event.POLICY_GONE:
            assert Do.RESTORE in way.commands, way
        if way.after.mode == Mode.EMERGENCY and way.before.mode != Mode.EMERGENCY:
            assert Do.RESTORE | Do.REFUSE in way.commands, way


def test_nothing_but_a_person_or_quiet_leaves_an_emergency(lib: c.CDLL) -> None:
    for way in ways(lib):
        if way.before.mode == Mode.EMERGENCY:
            left = way.event in (Event.CLEARED, Event.QUIET)
            assert way.after.mode == (Mode.IDLE if left else Mode.EMERGENCY), way
        if way.after.mode == Mode.EMERGENCY:
            may = [bool(lib.core_may(c.byref(way.after), write)) for write in Write]
            assert may == [True, False, False, False]


def test_every_mode_falls_to_emergency_at_once(lib: c.CDLL) -> None:
    for way in ways(lib):
        if way.event in (Event.CRITICAL, Event.LOST):
            assert way.after.mode == Mode.EMERGENCY, way


def test_a_policy_outlives_its_watcher_only_where_that_was_asked_for(lib: c.CDLL) -> None:
    for way in ways(lib):
        died = way.event in (Event.CLOSED, Event.EXPIRED)
        if died and way.before.mode == Mode.RECOMMENDATION:
            assert (way.after.mode == Mode.RECOMMENDATION) == way.conduct.stays, way
            assert (Do.RESTORE in way.commands) == (not way.conduct.stays), way
        if way.after.unguarded:
            assert way.after.mode == Mode.RECOMMENDATION and way.conduct.stays, way


def test_a_silent_search_is_an_emergency_and_a_closed_one_is_not(lib: c.CDLL) -> None:
    for event, mode in ((Event.EXPIRED, Mode.EMERGENCY), (Event.CLOSED, Mode.IDLE)):
        found = [
            way.after.mode
            for way in ways(lib)
            if way.event == event and way.before.mode in (Mode.LEARNING, Mode.COLLABORATION)
        ]
        assert found and set(found) == {mode}

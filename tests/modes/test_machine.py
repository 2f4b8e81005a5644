"""The mode machine: every promise holds for every sequence of events."""

from __future__ import annotations

from typing import Any

from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ktune.modes import machine
from ktune.modes.events import (
    Cleared,
    Confirmed,
    ContextChanged,
    Event,
    ForeignWrite,
    GuardrailCrossed,
    Interrupted,
    LeaseFailed,
    MetricsGone,
    PauseAsked,
    PauseEnded,
    PolicyGone,
    ProbationPassed,
    Regressed,
    SearchEnded,
    Started,
    TimeJumped,
    WatchPhase,
    WatchStarted,
)
from ktune.modes.machine import Command, Conduct, Drift, Mode, State, Write, may, step
from tests.depth import examples

CONDUCTS = st.builds(
    Conduct,
    max_trips=st.integers(1, 4),
    relearn=st.booleans(),
    rollback_on_missing=st.booleans(),
    stays_without_watcher=st.booleans(),
    drift=st.sampled_from(Drift),
)
PHASES = st.sampled_from(WatchPhase)
EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.just(Started()),
    st.builds(SearchEnded, st.integers(0, 3), st.just("budget")),
    st.builds(Confirmed, st.booleans(), st.just("decided")),
    st.just(GuardrailCrossed("psi")),
    st.just(LeaseFailed("guardian gone")),
    st.just(Interrupted("Ctrl-C")),
    st.builds(WatchStarted, st.just("p"), st.booleans(), PHASES),
    st.just(ProbationPassed("30 pairs")),
    st.just(Regressed("e-detector")),
    st.builds(ContextChanged, st.just("kernel"), PHASES),
    st.just(ForeignWrite("vm.swappiness")),
    st.just(MetricsGone("no answer")),
    st.just(TimeJumped("10 min")),
    st.just(PauseAsked("tune")),
    st.just(PauseEnded("tune")),
    st.just(PolicyGone("rolled back")),
    st.just(Cleared("by hand")),
)


def run(
    events: list[Event], conduct: Conduct | None = None
) -> list[tuple[State, Event, State, list[Command]]]:
    state, seen = State(conduct=conduct or Conduct()), []
    for event in events:
        after, commands = step(state, event)
        seen.append((state, event, after, list(commands)))
        state = after
    return seen


class World(RuleBasedStateMachine):
    """A kernel, a guardian and drivers that obey the commands: any event, any write that `may`
    allows, death and restart, in any order."""

    kernel = "baseline"
    committed = False
    """The policy stays when its watcher ends."""
    leased = False
    """A lease holds what differs from what would be in force without it."""
    state = State()

    @initialize(conduct=CONDUCTS)
    def begin(self, conduct: Conduct) -> None:
        self.kernel, self.committed, self.leased = "baseline", False, False
        self.state = State(conduct=conduct)

    def without_lease(self) -> str:
        return "policy" if self.committed else "baseline"

    def write(self, kind: Write, value: str) -> None:
        assert may(self.state, kind), f"{kind} in {self.state.mode}"
        self.kernel = value

    def obey(self, command: Command) -> None:
        match command:
            case Command.RESTORE_BASELINE:
                self.leased = self.committed = False
                self.write(Write.RESTORE, "baseline")
            case Command.APPLY_POLICY:
                self.leased = not self.state.conduct.stays_without_watcher
                self.committed = not self.leased
                self.write(Write.POLICY, "policy")
            case Command.RETURN_TO_POLICY:
                if self.committed:
                    self.leased = False
                self.kernel = "policy"
            case Command.END:
                self.die()

    def die(self) -> None:
        """The process ends; the guardian takes its lease back."""
        self.leased = False
        self.kernel = self.without_lease()

    def feed(self, event: Event) -> None:
        self.state, commands = step(self.state, event)
        for command in commands:
            self.obey(command)

    @rule(event=EVENTS.filter(lambda event: not isinstance(event, PolicyGone | WatchStarted)))
    def any_event(self, event: Event) -> None:
        self.feed(event)

    @rule(phase=PHASES)
    def watch_starts(self, phase: WatchPhase) -> None:
        """At first, or after a death; under a lease nothing outlives the watcher."""
        self.feed(WatchStarted("p", self.kernel == "policy", phase))

    @rule()
    def somebody_rolls_back(self) -> None:
        """Only a committed policy can be rolled back by another, who holds the scope."""
        if self.committed and not self.leased:
            self.committed, self.kernel = False, "baseline"
            self.feed(PolicyGone("rolled back by hand"))

    @precondition(lambda self: may(self.state, Write.CANDIDATE))
    @rule()
    def candidate(self) -> None:
        self.leased = True
        self.write(Write.CANDIDATE, "candidate")

    @precondition(lambda self: may(self.state, Write.HOLDBACK))
    @rule()
    def holdback(self) -> None:
        self.leased = True
        self.write(Write.HOLDBACK, "baseline")

    @precondition(lambda self: self.kernel == "baseline" and may(self.state, Write.HOLDBACK))
    @rule()
    def holdback_ends(self) -> None:
        self.obey(Command.RETURN_TO_POLICY)

    @rule()
    def killed(self) -> None:
        """kill -9: the guardian restores; a tuner begins anew, a watcher reads its state."""
        self.die()
        if self.state.mode in (Mode.LEARNING, Mode.COLLABORATION):
            self.state = State(conduct=self.state.conduct)
        elif self.state.mode is Mode.RECOMMENDATION:
            self.feed(WatchStarted("p", self.kernel == "policy", WatchPhase.PROBATION))

    @invariant()
    def nothing_is_applied_without_lease_or_commit(self) -> None:
        if self.kernel == "candidate":
            assert self.leased
            assert self.state.mode in (Mode.LEARNING, Mode.COLLABORATION)
        if self.kernel == "policy":
            assert self.leased or self.committed
            assert self.state.mode is Mode.RECOMMENDATION

    @invariant()
    def emergency_and_idle_are_the_baseline(self) -> None:
        if self.state.mode in (Mode.EMERGENCY, Mode.IDLE):
            assert (self.kernel, self.leased, self.committed) == ("baseline", False, False)

    @invariant()
    def in_emergency_nothing_may_be_written_but_the_baseline(self) -> None:
        if self.state.mode is Mode.EMERGENCY:
            assert [kind for kind in Write if may(self.state, kind)] == [Write.RESTORE]

    @invariant()
    def a_pause_leaves_the_policy_alone(self) -> None:
        if self.state.paused:
            assert self.kernel == "policy"
            assert not may(self.state, Write.HOLDBACK)


World.TestCase.settings = settings(
    max_examples=examples(150), stateful_step_count=30, derandomize=True
)
TestWorld = World.TestCase


def test_the_model_check_bites(monkeypatch: Any) -> None:
    """A machine that forgets one restore is found."""

    def forgetful(state: State, event: Event) -> machine.Step:
        after, commands = step(state, event)
        return after, [item for item in commands if item is not Command.RESTORE_BASELINE]

    class Forgetful(World):
        def feed(self, event: Event) -> None:
            self.state, commands = forgetful(self.state, event)
            for command in commands:
                self.obey(command)

    case = Forgetful.TestCase()
    # Found is enough; making the example small takes seconds.
    case.settings = settings(World.TestCase.settings, phases=[Phase.generate])
    failed = False
    try:
        case.runTest()
    except AssertionError:
        failed = True
    assert failed


@given(st.lists(EVENTS, max_size=30), CONDUCTS)
def test_emergency_is_left_only_when_it_is_cleared(events: list[Event], conduct: Conduct) -> None:
    for before, event, after, _ in run(events, conduct):
        if before.mode is Mode.EMERGENCY and after.mode is not Mode.EMERGENCY:
            assert isinstance(event, Cleared)


@given(st.lists(EVENTS, max_size=30), CONDUCTS)
def test_a_lost_lease_and_a_guardrail_while_watching_are_emergencies(
    events: list[Event], conduct: Conduct
) -> None:
    for before, event, after, commands in run(events, conduct):
        watching = before.mode is Mode.RECOMMENDATION and not before.paused
        if isinstance(event, LeaseFailed) or (watching and isinstance(event, GuardrailCrossed)):
            assert after.mode is Mode.EMERGENCY
            assert commands[0] is Command.RESTORE_BASELINE


@given(st.lists(EVENTS, max_size=30), CONDUCTS)
def test_collaboration_is_only_reached_with_a_finalist(
    events: list[Event], conduct: Conduct
) -> None:
    for before, event, after, _ in run(events, conduct):
        if after.mode is Mode.COLLABORATION and before.mode is not Mode.COLLABORATION:
            assert isinstance(event, SearchEnded)
            assert event.finalists > 0


@given(st.lists(EVENTS, max_size=30), CONDUCTS)
def test_a_regression_is_rolled_back_and_locked_out(events: list[Event], conduct: Conduct) -> None:
    for before, event, after, commands in run(events, conduct):
        watching = before.mode is Mode.RECOMMENDATION and not before.paused
        if watching and isinstance(event, Regressed):
            assert commands[:2] == [Command.RESTORE_BASELINE, Command.LOCK_OUT]
            assert after.mode is (Mode.LEARNING if conduct.relearn else Mode.IDLE)


@given(st.lists(EVENTS, max_size=30), CONDUCTS)
def test_missing_data_rolls_back_only_when_asked(events: list[Event], conduct: Conduct) -> None:
    for before, event, _, commands in run(events, conduct):
        if before.mode is Mode.RECOMMENDATION and isinstance(event, MetricsGone):
            undone = Command.RESTORE_BASELINE in commands
            assert undone is (conduct.rollback_on_missing and not before.paused)


@given(st.integers(1, 6))
def test_the_last_allowed_trip_is_an_emergency_and_none_before(max_trips: int) -> None:
    seen = run([Started(), *[GuardrailCrossed("oom")] * max_trips], Conduct(max_trips))
    modes = [after.mode for _, _, after, _ in seen[1:]]
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


def test_a_policy_goes_through_probation_to_the_steady_state() -> None:
    started = WatchStarted("p", in_force=True, phase=WatchPhase.PROBATION)
    *_, last = run([started, ProbationPassed("30 pairs")])
    assert last[2].phase is WatchPhase.STEADY


def test_where_pairs_are_impossible_no_holdback_is_allowed() -> None:
    state, _ = step(State(), WatchStarted("p", in_force=True, phase=WatchPhase.ALERT_ONLY))
    assert not may(state, Write.HOLDBACK)
    assert may(state, Write.POLICY)

"""Keeps the mode of a run: steps the machine, logs each transition, carries out its commands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ktune.errors import ExitCode, KtuneError
from ktune.modes.events import Event
from ktune.modes.machine import Command, Mode, State, step
from ktune.report.progress import Note, Observer


class Emergency(KtuneError):
    """The machine went into emergency mode: the baseline is in force, the run is over. `reason`:
    what the machine said."""

    exit_code = ExitCode.ROLLED_BACK

    def __init__(self, reason: str, *, hint: str) -> None:
        super().__init__(f"emergency: {reason}", hint=hint)
        self.reason = reason


@dataclass
class ModeKeeper:
    """The state of one run.

    `rest` puts the baseline in force and waits until it is quiet; `log` records a transition.
    """

    state: State
    rest: Callable[[], None]
    log: Callable[[State, Event, State], None]
    observe: Observer

    def handle(self, event: Event) -> State:
        """One event: transition, record, act.

        Raises:
            Emergency: the new mode is emergency.
        """
        before = self.state
        self.state, commands = step(before, event)
        self.log(before, event, self.state)
        if self.state.mode is Mode.EMERGENCY:
            raise Emergency(
                self.state.reason,
                hint="the baseline is restored on the way out; `ktune status` says if it was not",
            )
        if self.state.mode is not before.mode:
            self.observe(Note(f"{before.mode} -> {self.state.mode}: {self.state.reason}"))
        if Command.WAIT_QUIET in commands:
            self.rest()
        return self.state

"""How an event reaches the watcher from inside a window: the window unwinds first."""

from __future__ import annotations

from ktune.modes.events import Event


class Heard(Exception):
    """Something that the mode machine must be told before anything else is measured."""

    def __init__(self, event: Event) -> None:
        super().__init__(type(event).__name__)
        self.event = event

"""The scope that a watch holds, and how other commands get it for a while."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field

from ktune.errors import BusyError
from ktune.kernel.ending import Noted
from ktune.modes.watch.spec import WatchSpec
from ktune.proxy.pause import PauseDoor

_GUEST_S = 1.0

Lock = Callable[[], AbstractContextManager[None]]


@dataclass
class Tenancy:
    """The scope's lock and the door at which others ask for it. A context manager."""

    door: PauseDoor
    lock: Lock
    _held: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Tenancy:
        """Raises BusyError: somebody else holds the scope."""
        self._held.enter_context(self.lock())
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def guest(self, spec: WatchSpec) -> str | None:
        """Who asks for the scope. A policy under the watcher's own lease can't be left in it with
        anybody."""
        who = self.door.waiting()
        if who is None or spec.conduct.stays_without_watcher:
            return who
        self.door.refuse(
            f"ktune watch holds {spec.identity.policy} by a lease of its own: end it first"
        )
        return None

    def lend(self, noted: Noted) -> None:
        """Returns when the guest is done. Raises KeyboardInterrupt: a signal came meanwhile."""
        self._held.close()
        self.door.let_in()
        while not self.door.done(_GUEST_S):
            noted.check()

    def take_back(self, noted: Noted) -> None:
        """Somebody who did not ask may be quicker than we are: wait for them too. Raises
        KeyboardInterrupt: a signal came meanwhile."""
        while True:
            try:
                self._held.enter_context(self.lock())
                return
            except BusyError:
                noted.wait(_GUEST_S)

    def leave(self) -> None:
        """For good: a new search needs the scope and finds no watch there."""
        self.door.__exit__(None, None, None)
        self._held.close()

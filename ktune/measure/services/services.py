"""All servers of a run, as the window source sees them."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Mapping, Sequence

from ktune.measure.cgroup import PREFIX, WindowCgroup
from ktune.measure.services.errors import ServiceError
from ktune.measure.services.service import Service, Setup
from ktune.measure.spawner_client import Spawner
from ktune.measure.specs import ServiceStep
from ktune.measure.window import Poll

MOST_FAILURES = 3
"""So many windows in a row that a service spoils end the run."""
_BEHIND_S = 0.3
_RUNS = itertools.count()


class ServiceDied(Exception):
    """Raised inside a window to end it: a server has died."""


class Services:
    """Started at the first window (or `begin`), ended by `close`, and then ready to start again.

    A service that dies in a window, or does not come up for one, is a failure of that window and is
    started anew for the next; the third in a row, and a full disk at once, end the run.
    """

    def __init__(self, setups: Sequence[Setup]) -> None:
        self._setups = tuple(setups)
        self._services: dict[str, Service] = {}
        self._spawner: Spawner | None = None
        self._group: WindowCgroup | None = None
        self._failures = 0

    @property
    def group(self) -> str | None:
        """The cgroup2 group of the run, services and windows; None where there can be none."""
        if self._group is None:
            self._group = WindowCgroup.create(f"{PREFIX}{os.getpid()}-all{next(_RUNS)}")
        return None if self._group is None else self._group.path

    def environment(self) -> Mapping[str, str]:
        """What the workload finds in its environment of a service whose kind stands alone."""
        found: dict[str, str] = {}
        kinds = [setup.service.kind for setup in self._setups]
        for service, kind in zip(self._services.values(), kinds, strict=False):
            if kinds.count(kind) == 1:
                found |= service.environment
        return found

    def begin(self, poll: Poll) -> None:
        """All run and answer. Raises ServiceError, BusyError, RefusedError."""
        if not self._services:
            self._spawner = Spawner(lambda: self.group)
            self._services = {
                setup.service.name: Service(setup, self._spawner, self.group)
                for setup in self._setups
            }
        for service in self._services.values():
            service.ensure(poll)

    def step(self, step: ServiceStep, poll: Poll) -> None:
        """A reset. Raises ServiceError."""
        service = self._services[step.service]
        match step.action:
            case "checkpoint":
                service.checkpoint(poll)
            case "restart":
                service.restart(poll)
            case "restore":
                service.restore(poll)

    def watching(self, poll: Poll) -> Poll:
        """`poll`, which also raises ServiceDied."""
        for service in self._services.values():
            service.begin_window()

        def watch() -> None:
            poll()
            if (why := self.dead()) is not None:
                raise ServiceDied(why)

        return watch

    def dead(self) -> str | None:
        """Why a service is no longer there."""
        for service in self._services.values():
            if (death := service.death()) is not None:
                return service.told(death)
        return None

    def dead_by_now(self) -> str | None:
        """`dead`, of a service whose client has just failed: its end may be a moment behind."""
        deadline = time.monotonic() + _BEHIND_S
        while (why := self.dead()) is None and time.monotonic() < deadline:
            time.sleep(0.02)
        return why

    def disturbance(self) -> str:
        """What the services say against the window that has just ended; empty: nothing."""
        said = ((service.name, service.disturbance()) for service in self._services.values())
        return "; ".join(f"{name}: {why}" for name, why in said if why)

    def failed(self, why: str) -> None:
        """A window was spoilt. Raises ServiceError when it is time to give up."""
        self._failures += 1
        full = [service.name for service in self._services.values() if service.out_of_space()]
        if full:
            raise ServiceError(
                f"no space is left for the data of service {', '.join(full)}: {why}",
                hint="free space where the state directory is",
            )
        if self._failures >= MOST_FAILURES:
            raise ServiceError(
                f"{MOST_FAILURES} windows in a row were spoilt by a service: {why}",
                hint="its log lies beside the study's records",
            )

    def went_well(self) -> None:
        """A window was not."""
        self._failures = 0

    def full(self) -> bool:
        """Whether a service's disk is full."""
        return any(service.out_of_space() for service in self._services.values())

    def close(self) -> None:
        """Everything is down and gone, whatever goes wrong on the way."""
        services, self._services = self._services, {}
        spawner, self._spawner = self._spawner, None
        group, self._group = self._group, None
        steps: list[Callable[[], object]] = [item.close for item in services.values()]
        steps += [spawner.close] if spawner is not None else []
        steps += [group.kill, group.remove] if group is not None else []
        _all(steps)


def _all(steps: Sequence[Callable[[], object]]) -> None:
    """Each of them, even if one before it fails."""
    for index, step in enumerate(steps):
        try:
            step()
        except BaseException:
            _all(steps[index + 1 :])
            raise

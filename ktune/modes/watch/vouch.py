"""Who says that a boot stayed healthy under the policies that it was begun under: the watch."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ktune.errors import KtuneError
from ktune.modes.events import WatchPhase
from ktune.modes.machine import State
from ktune.modes.watch.spec import WatchSpec
from ktune.policy import persisted
from ktune.profile.units import format_duration
from ktune.records.paths import StatePaths
from ktune.report.progress import Note, Observer


@dataclass
class Vouch:
    """Called after every look that found nothing; marks the boot once, after the probation of this
    boot or after `after_s` of watching without an emergency."""

    paths: StatePaths
    digest: str
    after_s: float
    observe: Observer
    clock_s: Callable[[], float] = time.monotonic
    _began_s: float = field(init=False)
    _done: bool = False
    _failed: str = ""

    def __post_init__(self) -> None:
        self._began_s = self.clock_s()

    def __call__(self, state: State) -> None:
        if self._done or state.paused:
            return
        if state.phase is WatchPhase.STEADY:
            why = "probation passed"
        elif self.clock_s() - self._began_s >= self.after_s:
            why = f"watched for {format_duration(self.after_s)}"
        else:
            return
        try:
            new = persisted.mark_healthy(self.paths, self.digest, why)
        except (KtuneError, OSError) as error:  # said once, tried again at every look
            if str(error) != self._failed:
                self.observe(Note(f"that this boot is healthy could not be recorded: {error}"))
            self._failed = str(error)
            return
        self._done = True
        if new:
            self.observe(Note(f"this boot counts as healthy: {why}"))


def vouch_for(
    spec: WatchSpec, paths: StatePaths, observe: Observer
) -> Callable[[State], None] | None:
    """None: the policy is not applied after boots."""
    if not spec.identity.scope.is_host:
        return None
    item = persisted.find(paths, spec.identity.digest)
    if item is None:
        return None
    return Vouch(paths, spec.identity.digest, item.healthy_after_s, observe)

"""What the watch writes down: its state after every change, each pair, each transition."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ktune.evidence.guard import worse_by
from ktune.kernel.namespaces import boot_id
from ktune.kernel.wording import counted
from ktune.modes.events import Event, WatchPhase
from ktune.modes.machine import Mode, State
from ktune.modes.watch.guarding import (
    Guarding,
    begun,
    log_alarm,
    restarted,
    standing,
    unshown,
)
from ktune.modes.watch.holdback import HeldBack
from ktune.modes.watch.spec import WatchSpec
from ktune.records import clock
from ktune.records.codec import decode, encode
from ktune.records.paths import StatePaths
from ktune.records.transitions import append_transition
from ktune.records.watches import (
    WatchRecord,
    append_pair,
    read_watch,
    watch_folder,
    write_watch,
)


class Diary:
    """The record of one watch on disk.

    A disk that refuses does not end the watch: `unwritten` says why, the state is written whole
    with the next change, lines of `pairs.jsonl` and `modes.jsonl` are lost.
    """

    def __init__(self, paths: StatePaths, record: WatchRecord) -> None:
        self._paths = paths
        self.record = record
        self.unwritten = ""

    @property
    def folder(self) -> os.PathLike[str]:
        return watch_folder(self._paths, self.record.id)

    def transition(self, before: State, event: Event, after: State) -> None:
        """A change of mode, or what an event did to it."""
        with self._unless_full():
            append_transition(
                watch_folder(self._paths, self.record.id),
                before=before.mode.value,
                after=after.mode.value,
                event=type(event).__name__,
                reason=after.reason,
                trips=after.trips,
            )
        moved = (before.mode, before.phase) != (after.mode, after.phase)
        self._save(
            mode=after.mode.value,
            phase=after.phase.value if after.phase else "",
            paused=after.paused,
            reason=after.reason,
            since=clock.now() if moved else self.record.since,
        )

    def pair(self, held: HeldBack, worsening: Mapping[str, float], guarding: Guarding) -> None:
        """One pair, measured or void; the state of the tests goes with it."""
        line = {
            "draw": held.draw,
            "order": held.order.value,
            "void": None if held.void is None else held.void.value,
            "reason": held.reason,
            "metrics": {arm.value: dict(w.metrics) for arm, w in held.windows.items()},
            "worsening": dict(worsening),
        }
        with self._unless_full():
            append_pair(self._paths, self.record.id, line)
        self._save(
            pairs=self.record.pairs + (held.void is None),
            last_pair_at=clock.now(),
            baseline_s=self.record.baseline_s + held.baseline_s,
            guarding=encode(guarding),
        )

    def tests(self, guarding: Guarding, evidence: tuple[str, ...]) -> None:
        """Where the tests stand."""
        self._save(guarding=encode(guarding), evidence=evidence)

    def decided_by(self, who: str, leaves: Iterable[str]) -> None:
        """Who chooses among the leaves."""
        self._save(decided_by=who, leaves=tuple(leaves))

    def leaf(self, name: str, *, switches: int) -> None:
        """The assignment of an adaptive policy that is in force from now on, and how often it has
        changed since the last time."""
        switches += self.record.switches
        self._save(leaf=name, leaf_since=clock.now(), switches=switches)

    def alert(self, text: str) -> None:
        """Something a person should know."""
        self.record = self.record.with_alert(text)
        self._save()

    def watched(self, seconds: float) -> None:
        """Time that the watch has run; on disk with the next change."""
        self.record = dataclasses.replace(self.record, watched_s=self.record.watched_s + seconds)

    def end(self) -> None:
        """Nobody watches any more."""
        self._save(runner=None)

    def _save(self, **changes: Any) -> None:
        self.record = dataclasses.replace(self.record, **changes)
        with self._unless_full():
            write_watch(self._paths, self.record)
            self.unwritten = ""

    @contextmanager
    def _unless_full(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.unwritten = f"{error.filename or self._paths.watches}: {error.strerror}"


def open_diary(spec: WatchSpec, paths: StatePaths, *, on_death: str) -> tuple[Diary, Guarding]:
    """The watch's record and tests: gone on with where they were, begun anew where the kernel or
    the boot is another.

    Raises RecordError, OSError.
    """
    identity = spec.identity
    kernel = os.uname().release
    earlier = read_watch(paths, identity.watch_id)
    fresh = WatchRecord(
        id=identity.watch_id,
        policy=identity.policy,
        serial=identity.serial,
        digest=identity.digest,
        scope=identity.scope.text,
        boot_id=boot_id(),
        kernel=kernel,
        mode=Mode.IDLE.value,
        since=clock.now(),
        reason="not started",
        seed=spec.seed,
        on_death=on_death,
        runner=clock.this_process(),
    )
    if earlier is None:
        return Diary(paths, fresh), begun(spec.first_phase)
    guarding = decode(Guarding, earlier.guarding, "guarding") if earlier.guarding else None
    if guarding is None:
        guarding = begun(spec.first_phase)
    same = (earlier.boot_id, earlier.kernel) == (fresh.boot_id, fresh.kernel)
    # A policy that was taken back and applied again is on probation again, as after a boot.
    if not same or earlier.mode != Mode.RECOMMENDATION.value:
        guarding = begun(spec.first_phase, draws=guarding.draws)
    elif (spec.first_phase is WatchPhase.ALERT_ONLY) != (guarding.phase is WatchPhase.ALERT_ONLY):
        guarding = restarted(guarding, spec.first_phase)
    record = dataclasses.replace(
        earlier,
        boot_id=fresh.boot_id,
        kernel=kernel,
        on_death=on_death,
        runner=fresh.runner,
        scope=fresh.scope,
    )
    return Diary(paths, record), guarding


def evidence_lines(guarding: Guarding, spec: WatchSpec) -> tuple[str, ...]:
    """The tests so far, for people."""
    if guarding.phase is WatchPhase.ALERT_ONLY:
        return (f"no pairs: {', '.join(spec.unpaired)} can't be switched for a window",)
    if guarding.phase is WatchPhase.STEADY:
        alarm = log_alarm(guarding)
        value = math.exp(alarm) if alarm > -math.inf else 0.0
        return (
            f"{counted(guarding.steady_pairs, 'pair')} in the steady state, detector {value:.3g} "
            f"(alarm at {spec.guard.mean_pairs:g})",
        )
    planned, done = spec.guard.probation_pairs, counted(guarding.counted, "pair")
    if guarding.counted < planned:
        lines = [f"probation: {guarding.counted} of {counted(planned, 'pair')}"]
    elif unshown(guarding, spec.guard):
        lines = [
            f"probation: {done} ({planned} planned); it goes on: begun anew so often that no test "
            "could have found a regression"
        ]
    else:
        lines = [f"probation: {done} ({planned} planned)"]
    for item in standing(guarding, spec.guard).metrics.values():
        if item.mean is not None:
            share = worse_by(item.mean, spec.guard.directions[item.metric])
            lines.append(
                f"{item.metric}: {abs(share):.1%} {'worse' if share > 0 else 'better'} so far, "
                f"E {item.e_value:.3g} of {item.threshold:g}"
            )
    return tuple(lines)

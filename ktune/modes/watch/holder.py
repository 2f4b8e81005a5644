"""Who keeps the policy in force while it is watched, and how it is taken out of force.

Committed: the policy stays whatever becomes of the watcher; a holdback is a short lease that goes
back to the policy. Leased: the watcher holds the policy by a lease of its own, so that the
baseline returns when it dies (`--on-death=baseline`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from ktune.errors import KtuneError
from ktune.kernel.tunable import Assignment
from ktune.kernel.values import Value
from ktune.modes.watch.spec import WatchSpec
from ktune.policy import stack
from ktune.policy.deciding import Decider
from ktune.policy.guarded import listener
from ktune.policy.inside import NoProcess
from ktune.policy.live import read_live
from ktune.policy.rollback import roll_back
from ktune.policy.scope import ScopeIdentity, cookie_of
from ktune.policy.settle import WAY_BACK
from ktune.policy.stack import StackEntry
from ktune.proxy.backends import ProxyChoice
from ktune.proxy.client import Lease, LeaseRequest, open_lease
from ktune.proxy.guard.foreign import writer_of
from ktune.proxy.guard.rules import guarded_name
from ktune.proxy.model import ApplyReport, Writer
from ktune.proxy.storage import archive
from ktune.records import history
from ktune.records.paths import StatePaths

LEASE_S = 15.0
"""A watcher that says nothing for so long (hung, stopped) loses a holdback's lease."""


_CARRIED_OUT_S = 0.02


class NotInForce(KtuneError):
    """A value could not be put in force, or the policy is not back after a holdback."""


class NoHoldback(KtuneError):
    """No lease was to be had for a holdback (a full disk, no free process): nothing was written."""


class Holder(Protocol):
    """Keeps the policy in force. `spec` is what it keeps: knobs that others took over leave it."""

    spec: WatchSpec
    decider: Decider
    """Who chooses among the leaves of a policy that adapts."""

    def holdback(self) -> AbstractContextManager[Lease]:
        """A context: its lease may switch between baseline and policy; afterwards the policy.

        Raises NoHoldback on the way in, NotInForce on the way out.
        """

    def apply_policy(self, why: str) -> None:
        """The policy's values again, where somebody else wrote others."""

    def roll_back(self, why: str) -> None:
        """The baseline, read back; the policy is out of force. Raises KtuneError."""

    def still_there(self) -> str | None:
        """None while the policy is in force by our record, else why it is not."""

    def drift(self) -> dict[str, Value | None]:
        """Knobs that do not have the policy's value now. Raises LeaseLost."""

    def renew(self) -> None:
        """Called at every look."""

    def wake_fds(self) -> list[int]:
        """Readable as soon as somebody else has written a knob; none where that is found by the
        looks alone."""

    def writers(self) -> dict[str, Writer]:
        """Who has written which knob since the last call, as far as a guard has told. Waits a
        moment for their writes to show. Raises LeaseLost."""


class CommittedHolder:
    """A policy that `apply` committed."""

    def __init__(
        self, spec: WatchSpec, entry: StackEntry, paths: StatePaths, proxy: ProxyChoice
    ) -> None:
        self.spec = spec
        self.decider = Decider("the policy is committed")
        self._proxy = proxy
        self._listener = None if proxy is ProxyChoice.FILE else listener(entry, paths)
        self._entry = entry
        self._paths = paths

    @contextmanager
    def holdback(self) -> Iterator[Lease]:
        """Goes back to the policy whatever kills us: its values are the lease's originals."""
        try:
            lease = self._lease("holdback")
        except (KtuneError, OSError) as error:
            raise NoHoldback(f"no lease for a pair: {error}") from error
        try:
            with lease:
                yield lease
        finally:
            self._returned(lease)

    def apply_policy(self, why: str) -> None:
        """Raises NotInForce."""
        with self._lease(why) as lease:
            put(lease, self.spec.policy, why)
            note = {"policy": self._entry.name, "why": why, WAY_BACK: self._entry.journal}
            journal = lease.commit(note)
        # The way back is on record since the policy's own apply: this one leads nowhere. Whoever
        # kills us here leaves it to the next `settle`.
        with suppress(FileNotFoundError):
            archive(Path(journal), self._paths)

    def roll_back(self, why: str) -> None:
        """Raises KtuneError: a knob is not back."""
        roll_back(self._entry, paths=self._paths, why=why, locked=True)

    def still_there(self) -> str | None:
        """Somebody may have rolled it back, its namespace may have ended."""
        if _ended(self._entry.scope):
            return "its scope has ended"
        for other in stack.readable(self._paths):
            if other.file_name == self._entry.file_name and other.digest == self._entry.digest:
                return None
        return "it was rolled back"

    def drift(self) -> dict[str, Value | None]:
        tunables = (knob.tunable for knob in self.spec.knobs)
        try:
            live = read_live(tunables, self.spec.identity.scope.ref)
        except NoProcess:
            return {}  # what can't be looked into now says nothing
        return _drifted(self.spec, live)

    def renew(self) -> None:
        """A committed policy needs nobody."""

    def wake_fds(self) -> list[int]:
        """Of the guard that is pinned for the policy."""
        return [] if self._listener is None else [self._listener.wake_fd]

    def writers(self) -> dict[str, Writer]:
        if self._listener is None:
            return {}
        names = {guarded_name(knob.tunable.path): knob.tunable.key for knob in self.spec.knobs}
        found = {
            names[event.knob]: writer_of(event)
            for event in self._listener.events()
            if event.knob in names
        }
        return _shown(found)

    def _returned(self, lease: Lease) -> None:
        """Is the policy back? A journal that has ended goes to the archive."""
        if lease.restored is None:
            return  # its guardian is gone; whoever lost it says so
        if lease.restored.failed:
            lines = "; ".join(item.message for item in lease.restored.failed)
            raise NotInForce(f"the policy is not back after a holdback: {lines}")
        with suppress(OSError):  # a full disk: the next `recover` clears up what has ended
            archive(Path(lease.journal), self._paths)

    def _lease(self, why: str) -> Lease:
        request = LeaseRequest(
            f"watch-{self._entry.number:03d}", f"watch {self._entry.name}: {why}", _who()
        )
        return open_lease(
            [knob.between for knob in self.spec.knobs],
            request,
            paths=self._paths,
            namespace=self.spec.identity.scope.ref,
            proxy=self._proxy,
        )


class LeasedHolder:
    """A policy held by the watcher's own lease."""

    def __init__(
        self, lease: Lease, spec: WatchSpec, *, deadline_s: float, decider: Decider | None = None
    ) -> None:
        self._lease = lease
        self.spec = spec
        self.decider = decider or Decider("it was not asked for")
        self._deadline_s = deadline_s

    @contextmanager
    def holdback(self) -> Iterator[Lease]:
        """The same lease; afterwards the policy again."""
        try:
            yield self._lease
        finally:
            self.apply_policy("back from the holdback")

    def apply_policy(self, why: str) -> None:
        """Raises NotInForce. What the kernel made of the values is the policy's from then on."""
        report = put(self._lease, self.spec.policy, why, deadline_s=self._deadline_s)
        seen = {item.key: item.observed for item in report.results if item.observed is not None}
        knobs = (
            replace(knob, policy=seen.get(knob.tunable.key, knob.policy))
            for knob in self.spec.knobs
        )
        self.spec = replace(self.spec, knobs=tuple(knobs))

    def roll_back(self, why: str) -> None:
        """Raises KtuneError: a knob is not back."""
        if self._lease.lost:
            raise KtuneError(
                "the guardian is gone, and nothing says that the baseline is back",
                hint="`ktune recover`",
            )
        report = self._lease.release()
        if not report.verified:
            raise KtuneError(f"NOT restored: {', '.join(item.key for item in report.failed)}")

    def still_there(self) -> str | None:
        """A lease ends with us."""
        return None

    def drift(self) -> dict[str, Value | None]:
        """The guardian is there already: a message instead of a process that enters the scope."""
        return _drifted(self.spec, self._lease.read())

    def renew(self) -> None:
        """Raises LeaseLost."""
        self._lease.ensure_alive()
        self._lease.renew(deadline_s=self._deadline_s)

    def wake_fds(self) -> list[int]:
        """The guardian says what its guard hears."""
        return [fd for fd in (self._lease.fileno(),) if fd >= 0]  # -1: the lease is over

    def writers(self) -> dict[str, Writer]:
        return _shown({item.key: item.by for item in self._lease.heard() if item.by is not None})


def put(
    lease: Lease, assignment: Assignment, why: str, *, deadline_s: float = LEASE_S
) -> ApplyReport:
    """Apply, or say what went wrong. Raises NotInForce, LeaseLost."""
    report = lease.apply(assignment, deadline_s=deadline_s, why=why)
    if not report.ok:
        raise NotInForce("; ".join(report.problems))
    return report


def _shown(writers: dict[str, Writer]) -> dict[str, Writer]:
    """A guard hears of a write before the kernel carries it out."""
    if writers:
        time.sleep(_CARRIED_OUT_S)
    return writers


def _drifted(spec: WatchSpec, live: Mapping[str, Value | None]) -> dict[str, Value | None]:
    found = {}
    for knob in spec.knobs:
        key = knob.tunable.key
        # One that can't be read says nothing.
        if live[key] is not None and live[key] != knob.policy and not knob.kernel_moves:
            found[key] = live[key]
    return found


def _ended(scope: ScopeIdentity) -> bool:
    """A namespace that can't be looked into now (no free process) has not ended."""
    try:
        if scope.alive():
            return False
        if scope.ref is None or not os.path.exists(scope.ref.netns):
            return True
        cookie = cookie_of(scope.ref)
    except NoProcess:
        return False
    return cookie is not None and cookie != scope.cookie


def _who() -> str:
    return str(history.actor())

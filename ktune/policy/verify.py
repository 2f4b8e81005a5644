"""Compares the kernel with the policies in force. Reads only; standard library only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from ktune.kernel.values import Value
from ktune.policy import stack
from ktune.policy.live import read_live
from ktune.policy.stack import EntryState, StackEntry, StackKnob
from ktune.proxy.journal import JournalState
from ktune.proxy.recover import JournalCondition, pending
from ktune.records.paths import StatePaths


class Standing(StrEnum):
    """How a policy stands."""

    IN_FORCE = "in_force"
    DRIFTED = "drifted"
    COVERED = "covered"
    """A lease at work has set other values for now: a pair of its watch, a `tune`."""
    PENDING = "pending"
    """Its apply died (or is at work): `ktune recover` decides."""
    REBOOTED = "rebooted"
    """Applied before the last boot, which has reset its knobs."""
    SCOPE_GONE = "scope_gone"


@dataclass(frozen=True)
class KnobCheck:
    """One knob against its policy."""

    key: str
    applied: Value
    live: Value | None
    kernel_moves: bool
    leased: bool = False
    """A lease at work has set the live value."""

    @property
    def ok(self) -> bool:
        """Values that the kernel moves by itself are never drift."""
        return self.live is not None and (self.live == self.applied or self.kernel_moves)


@dataclass(frozen=True)
class EntryCheck:
    """One policy against the kernel; knobs that a later policy decides are left out."""

    entry: StackEntry
    standing: Standing
    knobs: tuple[KnobCheck, ...] = ()

    @property
    def drifted(self) -> tuple[KnobCheck, ...]:
        return tuple(knob for knob in self.knobs if not knob.ok)


def verify(entries: Iterable[StackEntry], paths: StatePaths) -> list[EntryCheck]:
    """Check every policy, oldest first."""
    return [_check(entry, knobs, paths) for entry, knobs in stack.effective(entries)]


def _check(entry: StackEntry, knobs: tuple[StackKnob, ...], paths: StatePaths) -> EntryCheck:
    if not entry.scope.same_boot:
        return EntryCheck(entry, Standing.REBOOTED)
    if not entry.scope.alive():
        return EntryCheck(entry, Standing.SCOPE_GONE)
    if entry.state is EntryState.PENDING:
        return EntryCheck(entry, Standing.PENDING)
    before = _at_work(entry, paths)  # one may end while the values are read, or begin
    live = read_live((knob.tunable for knob in knobs), entry.scope.ref)
    leases = [*before, *_at_work(entry, paths)]
    checks = tuple(
        KnobCheck(
            knob.key,
            knob.applied,
            live[knob.key],
            knob.kernel_moves,
            any(_has_set(lease, knob.key, live[knob.key]) for lease in leases),
        )
        for knob in knobs
    )
    if all(check.ok for check in checks):
        return EntryCheck(entry, Standing.IN_FORCE, checks)
    covered = all(check.ok or check.leased for check in checks)
    return EntryCheck(entry, Standing.COVERED if covered else Standing.DRIFTED, checks)


def _at_work(entry: StackEntry, paths: StatePaths) -> list[JournalState]:
    """Journals of the leases that are held in the entry's scope now."""
    found = []
    for item in pending(paths):
        if item.condition is JournalCondition.ACTIVE and item.state is not None:
            header = item.state.header
            on_host = header.scope == "host"
            if on_host == entry.scope.is_host and (
                on_host or header.netns_cookie == entry.scope.cookie
            ):
                found.append(item.state)
    return found


def _has_set(lease: JournalState, key: str, live: Value | None) -> bool:
    held = lease.held.get(key)
    return held is not None and (held.pending or held.observed == live)

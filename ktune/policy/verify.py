"""Compares the kernel with the policies in force. Reads only; standard library only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from ktune.kernel.values import Value
from ktune.policy import stack
from ktune.policy.live import read_live
from ktune.policy.stack import EntryState, StackEntry, StackKnob


class Standing(StrEnum):
    """How a policy stands."""

    IN_FORCE = "in_force"
    DRIFTED = "drifted"
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


def verify(entries: Iterable[StackEntry]) -> list[EntryCheck]:
    """Check every policy, oldest first."""
    return [_check(entry, knobs) for entry, knobs in stack.effective(entries)]


def _check(entry: StackEntry, knobs: tuple[StackKnob, ...]) -> EntryCheck:
    if not entry.scope.same_boot:
        return EntryCheck(entry, Standing.REBOOTED)
    if not entry.scope.alive():
        return EntryCheck(entry, Standing.SCOPE_GONE)
    if entry.state is EntryState.PENDING:
        return EntryCheck(entry, Standing.PENDING)
    live = read_live((knob.tunable for knob in knobs), entry.scope.ref)
    checks = tuple(
        KnobCheck(knob.key, knob.applied, live[knob.key], knob.kernel_moves) for knob in knobs
    )
    standing = Standing.IN_FORCE if all(check.ok for check in checks) else Standing.DRIFTED
    return EntryCheck(entry, standing, checks)

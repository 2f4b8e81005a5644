"""Whether a knob of a lease is still ours: others' writes are found here, by looking and by the
guard, and each is told once. Standard library only."""

from __future__ import annotations

from collections.abc import Callable

from ktune.kernel.values import Value
from ktune.proxy.guardian.guarding import LeaseGuard
from ktune.proxy.guardian.knob_set import KnobSet
from ktune.proxy.guardian.record import LeaseRecord
from ktune.proxy.guardian.scheduling import Look
from ktune.proxy.model import ForeignWrite
from ktune.proxy.module.hold import ModuleHold


class Witness:
    """`look` says what is so where the kernel switches by itself (None elsewhere), `read` what a
    knob's file says now."""

    def __init__(
        self,
        knobs: KnobSet,
        record: LeaseRecord,
        guard: LeaseGuard,
        module: ModuleHold,
        *,
        look: Callable[[str], Look | None],
        read: Callable[[str], Value | None],
    ) -> None:
        self._knobs = knobs
        self._held = knobs.held
        self._record = record
        self._guard = guard
        self._module = module
        self._look = look
        self._read = read
        self._heard: set[str] = set()

    def look_at_all(self, seen: dict[str, Value | None]) -> tuple[ForeignWrite, ...]:
        """Knobs of the set, and partners that a write of ours would zero, that somebody else
        wrote since we last looked; each is told once. Puts what it reads into `seen`."""
        found = self.heard()
        leased = self._knobs.limits
        for key in [*leased, *sorted(self._knobs.partners - leased.keys())]:
            item = self._held[key]
            if item.foreign or item.kernel_moves:
                continue
            look = self._look(key)
            if look is None:
                live = self._read(key)
            else:
                item.observed, live = look.expected, look.live
            seen[key] = live
            kept = look is not None and look.foreign
            if live is not None and (kept or live != item.expected):
                found.append(self.note(ForeignWrite(key, item.expected, live), kept=kept))
        return tuple(found)

    def heard(self) -> list[ForeignWrite]:
        """What the guard has told of others' writes; each knob is told once, here or there."""
        for key in self._knobs.limits if self._guard.wake_fd is not None else ():
            if look := self._look(key):  # what the kernel has put there meanwhile is ours
                self._held[key].observed = look.expected
        told = self._guard.heard(self._held, self._read)
        self._heard |= {item.key for item in told}
        return [self.note(item) for item in told]

    def note(self, write: ForeignWrite, *, kept: bool = False) -> ForeignWrite:
        """On record. A value that is ours again already leaves the knob ours, unless the kernel
        has `kept` it."""
        held = self._held[write.key]
        held.foreign = kept or not self._is_ours(write.key)
        if held.foreign:
            self._module.keep(write.key)
        self._record.foreign(write, passing=not held.foreign)
        return write

    def judge_again(self) -> None:
        """Before a restore: whoever put our value back has left the knob to us."""
        for key in self._heard:
            self._held[key].foreign = not self._is_ours(key)

    def _is_ours(self, key: str) -> bool:
        """What is in force is what we, or the kernel for us, have put there."""
        look = self._look(key)
        if look is not None:
            return look.live == look.expected
        return self._read(key) == self._held[key].expected

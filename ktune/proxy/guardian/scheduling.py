"""The guardian's part of a schedule in the kernel: begin it, end it, and know what is in force
meanwhile. Standard library only."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from ktune.kernel.values import Value, ValueFormatError, format_value, parse
from ktune.proxy.model import ProxyError
from ktune.proxy.module import modes
from ktune.proxy.module.device import Device
from ktune.proxy.module.hold import ModuleHold
from ktune.proxy.module.modes import KernelEvent, StampFlag
from ktune.proxy.planner import Held
from ktune.proxy.stamps import Stamp, Stamped

_SLOT = 1
_SAID = {
    errno.EPERM: "it refuses everything in an emergency",
    errno.EBUSY: "another session of it holds the mode",
    errno.ESTALE: "it has ended the lease",
    errno.ENOTTY: "it knows no schedules",
}


class CantSchedule(Exception):
    """Why the kernel does not switch; the text is for people."""


@dataclass(frozen=True)
class Look:
    """One knob under a schedule or a tree, read in one go: `expected` is what the kernel last
    saw there, `foreign` that it has found somebody else's value."""

    expected: Value
    live: Value | None
    foreign: bool


class Scheduling:
    """The schedule of one lease, if there is one. `on` until it was ended here: the kernel may have
    come to its end before."""

    def __init__(self, module: ModuleHold) -> None:
        self._module = module
        self._held: Mapping[str, Held] = {}
        self._collaborates = False
        self.on = False

    def check(self, differing: Mapping[str, Value]) -> None:
        """Raises CantSchedule: a knob is not the kernel's to switch."""
        if not self._module.is_open:
            raise CantSchedule(f"the kernel module does not hold this lease: {self._module.why}")
        if beside := sorted(set(differing) - self._module.numbers.keys()):
            raise CantSchedule(f"the kernel module can't write {', '.join(beside)}")
        if not differing:
            raise CantSchedule("nothing differs from the baseline")

    def start(
        self,
        differing: Mapping[str, Value],
        held: Mapping[str, Held],
        candidate_first: Sequence[bool],
        window_s: float,
    ) -> None:
        """`held`: by key, with the originals. The lease has begun.

        Raises CantSchedule; ValueError for more pairs than the kernel takes.
        """
        device, numbers = self._device, self._module.numbers
        items = [
            (numbers[key], format_value(held[key].tunable.type, value))
            for key, value in differing.items()
        ]
        try:
            device.stage(_SLOT, items)
            if not self._collaborates:  # until the session ends
                modes.tell(device, KernelEvent.STARTED)
                modes.tell(device, KernelEvent.FINALISTS)
                self._collaborates = True
            modes.start_schedule(device, candidate_first, window_s, _SLOT)
        except OSError as error:
            said = _SAID.get(error.errno or 0, error.strerror or str(error))
            raise CantSchedule(f"the kernel module: {said}") from error
        self._held, self.on = held, True

    def stamped(self, first: int) -> Stamped:
        """The last schedule's windows. Raises ProxyError: there was none."""
        try:
            found = modes.stamps(self._device, first)
        except OSError as error:
            raise ProxyError("protocol", f"no schedule: {os.strerror(error.errno or 0)}") from error
        return Stamped(
            tuple(
                Stamp(
                    item.window,
                    item.candidate,
                    item.asked_ns,
                    item.begun_ns,
                    item.ended_ns,
                    late=StampFlag.LATE in item.flags,
                    failed=StampFlag.FAILED in item.flags,
                    cut=StampFlag.CUT in item.flags,
                )
                for item in found.windows
            ),
            found.over,
        )

    def look(self, key: str) -> Look | None:
        """What is in force and what should be, of one moment; None without a schedule, and for a
        knob that is not the module's."""
        number = self._module.numbers.get(key)
        if not self.on or number is None:
            return None
        now, item = self._device.knob(number), self._held[key]
        seen = parsed(item, now.seen)  # empty before the first write
        expected = item.original if seen is None else seen
        return Look(expected, parsed(item, now.live), now.foreign)

    def end(self, keys: Iterable[str]) -> dict[str, Look]:
        """End it; the originals are in force. Says what is so of `keys` then."""
        # Its error is that of the last switch (or: over, with the lease); whoever writes or looks
        # next meets the same knob again, by name.
        with suppress(OSError):
            modes.stop(self._device)
        found = {key: look for key in keys if (look := self.look(key))}
        self.on = False
        return found

    @property
    def _device(self) -> Device:
        device = self._module.device
        if device is None:
            raise ProxyError("protocol", "no schedule: the kernel module does not hold this lease")
        return device


def parsed(item: Held, text: str) -> Value | None:
    """A text of the kernel's; None: nothing was read."""
    try:
        return parse(item.tunable.type, text)
    except ValueFormatError:
        return None

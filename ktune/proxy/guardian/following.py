"""The guardian's part of a tree that the kernel follows: begin it, have it rest, know what is in
force meanwhile. Standard library only."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping, Sequence

from ktune.kernel.values import Value, format_value
from ktune.proxy.guardian.scheduling import Look, parsed
from ktune.proxy.model import Json, ProxyError
from ktune.proxy.module import modes
from ktune.proxy.module.device import Device
from ktune.proxy.module.hold import ModuleHold
from ktune.proxy.module.modes import Keeps, KernelEvent
from ktune.proxy.planner import Held

_SAID = {
    errno.EPERM: "it refuses everything in an emergency",
    errno.EBUSY: "another session of it holds the mode",
    errno.EBADFD: "it is in another mode",
    errno.ESTALE: "it has ended the lease",
    errno.EOPNOTSUPP: "the tree asks for what it can't count here",
    errno.EINVAL: "it does not take this tree",
    errno.ENOTTY: "it knows no trees",
}


class CantFollow(Exception):
    """Why the kernel does not follow the tree; the text is for people."""


class Following:
    """The tree of one lease. `alone_s`: for how long it goes on when user space has died.

    `at_work`: the kernel switches now; a tree that is paused is `on`, and the knobs are ours.
    """

    def __init__(self, module: ModuleHold) -> None:
        self._module = module
        self._held: Mapping[str, Held] = {}
        self.on = False
        self.paused = False
        self.alone_s = 0.0

    @property
    def at_work(self) -> bool:
        return self.on and not self.paused

    @property
    def outlives(self) -> bool:
        """Goes on when this process ends."""
        return self.on and self.alone_s > 0

    def check(self, keys: Sequence[str]) -> None:
        """Raises CantFollow: a knob is not the kernel's to switch."""
        if self._module.device is None:
            why = self._module.why or "it was not asked for"
            raise CantFollow(f"the kernel module does not hold this lease: {why}")
        if beside := sorted(set(keys) - self._module.numbers.keys()):
            raise CantFollow(f"the kernel module can't write {', '.join(beside)}")

    def start(
        self, tree: bytes, leaves: Sequence[Mapping[str, Value]], held: Mapping[str, Held]
    ) -> None:
        """Leaf i of the tree is `leaves[i]`. The lease has begun.

        Raises CantFollow; ValueError: no tree.
        """
        device, numbers = self._device, self._module.numbers
        raw = modes.keeping(tree, Keeps.LEASE if self.alone_s > 0 else Keeps.NOT)
        try:
            for slot, values in enumerate(leaves, 1):
                items = [
                    (numbers[key], format_value(held[key].tunable.type, value))
                    for key, value in values.items()
                ]
                device.stage(slot, items)
            modes.tell(device, KernelEvent.WATCH)
            try:
                modes.start_tree(device, raw)
            except OSError:
                modes.tell(device, KernelEvent.POLICY_GONE)
                raise
        except OSError as error:
            self.alone_s = 0.0
            said = _SAID.get(error.errno or 0, error.strerror or str(error))
            raise CantFollow(f"the kernel module: {said}") from error
        self._held, self.on, self.paused = held, True, False

    def pause(self) -> None:
        """Returns when no switch of the kernel's is under way. Raises ProxyError."""
        self._ask(modes.pause_tree)
        self.paused = True

    def resume(self) -> None:
        """Raises ProxyError."""
        self._ask(modes.resume_tree)
        self.paused = False

    def state(self) -> Json:
        """What the kernel has chosen.

        Raises:
            ProxyError: `tree`: it has ended the tree.
        """
        self._expect_tree()
        try:
            mode, leaf = modes.shown("mode"), int(modes.shown("tree/leaf"))
            if mode != "recommendation" or leaf < 0:
                raise ProxyError("tree", f"the kernel has ended the tree: {_why()}")
            return {
                "leaf": leaf,
                "changes": int(modes.shown("tree/changes")),
                "looks": int(modes.shown("stats/looks")),
                "paused": self.paused,
            }
        except OSError as error:
            raise ProxyError("tree", f"the kernel module: {error.strerror}") from error

    def look(self, key: str) -> Look | None:
        """What is in force and what should be, of one moment; None where the kernel does not
        switch now, and for a knob that is not the module's."""
        number = self._module.numbers.get(key)
        if not self.at_work or number is None:
            return None
        return self._look(key, number)

    def all_seen(self) -> dict[str, Look]:
        """Of every knob, whether the tree is paused or not; nothing without a tree."""
        numbers = self._module.numbers if self.on else {}
        return {key: self._look(key, number) for key, number in numbers.items()}

    def _look(self, key: str, number: int) -> Look:
        try:
            now = self._device.knob(number)
        except OSError as error:
            raise ProxyError("tree", f"the kernel module: {error.strerror}") from error
        item = self._held[key]
        expected = parsed(item, now.seen)
        return Look(
            item.original if expected is None else expected, parsed(item, now.live), now.foreign
        )

    def _ask(self, what: Callable[[Device], None]) -> None:
        self._expect_tree()
        try:
            what(self._device)
        except OSError as error:
            raise ProxyError("tree", f"the kernel has ended the tree: {_why()}") from error

    def _expect_tree(self) -> None:
        if not self.on:
            raise ProxyError("protocol", "the kernel follows no tree for this lease")

    @property
    def _device(self) -> Device:
        device = self._module.device
        if device is None:
            raise ProxyError("protocol", "the kernel module does not hold this lease")
        return device


def _why() -> str:
    try:
        return f"{modes.shown('mode')}: {modes.shown('reason')}"
    except OSError:
        return "it is gone"

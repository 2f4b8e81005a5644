"""Watches the error counters of devices: growth is what counts, not what was there before."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from ktune.kernel.namespaces import CLONE_NEWNET, NamespaceRef, setns
from ktune.measure.guardrails.counters import (
    ErrorCounter,
    find_counters,
    network_errors,
)
from ktune.measure.guardrails.source import Guardrail, KeptFile, Unwatchable, reason_of
from ktune.profile.guards import DeviceKind

_SEARCH_EVERY_S = 60.0
"""Devices come and go (hot-plug, mounts): looked for anew."""


class DeviceErrors(Guardrail):
    """More errors than allowed on one device since we look at it.

    A device that goes away is dropped: that is for its file system and the kernel log to tell.
    """

    name = "device_errors"
    every_s = 1.0

    def __init__(
        self,
        kinds: Sequence[DeviceKind],
        devices: Sequence[str] = (),
        *,
        above: int = 0,
        namespace: NamespaceRef | None = None,
        sys: str = "/sys",
    ) -> None:
        """`namespace`: whose interfaces to watch; None is our own."""
        self._kinds = tuple(kinds)
        self._devices = tuple(devices)
        self._above = above
        self._namespace = namespace
        self._sys = sys
        self._files: dict[str, tuple[ErrorCounter, KeptFile]] = {}
        self._network: KeptFile | None = None
        self._before: dict[tuple[str, str], int] = {}
        self._search_next_s = 0.0

    def open(self) -> str:
        """See Guardrail."""
        missing = []
        if DeviceKind.NETWORK in self._kinds:
            try:
                self._network = open_net_dev(self._namespace)
            except OSError as error:
                raise Unwatchable(f"/proc/net/dev: {reason_of(error)}") from None
        self._search()
        for kind in self._kinds:
            if kind is not DeviceKind.NETWORK and not any(
                counter.kind is kind for counter, _ in self._files.values()
            ):
                missing.append(kind.value)
        if not self._files and self._network is None:
            raise Unwatchable(f"nothing here counts errors of: {', '.join(self._kinds)}")
        self.forget()
        return f"nothing here counts errors of: {', '.join(missing)}" if missing else ""

    @property
    def watched(self) -> list[str]:
        """`DEVICE: WHAT` of each counter."""
        names = [f"{item.device}: {item.what}" for item, _ in self._files.values()]
        return [*names, *(["network interfaces"] if self._network else [])]

    def crossed(self, now_s: float) -> str | None:
        """See Guardrail."""
        if now_s >= self._search_next_s:
            if self._search_next_s:
                self._search()
            self._search_next_s = now_s + _SEARCH_EVERY_S
        found = []
        for (device, what), count in self._counts().items():
            before = self._before.setdefault((device, what), count)
            if count < before:  # counted anew after a reset or a new mount
                self._before[device, what] = count
            elif count - before > self._above:
                found.append(f"{device}: {count - before} new {what}")
                self._before[device, what] = count  # each error is told once
        return "; ".join(found) or None

    def forget(self) -> None:
        """See Guardrail."""
        self._before = self._counts()

    def close(self) -> None:
        """See Guardrail."""
        for _, file in self._files.values():
            file.close()
        self._files.clear()
        if self._network is not None:
            self._network.close()
            self._network = None

    def _counts(self) -> dict[tuple[str, str], int]:
        counts = {}
        for path, (counter, file) in list(self._files.items()):
            try:
                counts[counter.device, counter.what] = counter.parse(file.read())
            except (OSError, ValueError):  # ENODEV: gone, and found again if it comes back
                file.close()
                del self._files[path]
        if self._network is not None:
            found = network_errors(self._network.read(), self._devices)
            counts.update({(name, "network errors"): count for name, count in found.items()})
        return counts

    def _search(self) -> None:
        for counter in find_counters(self._kinds, self._devices, sys=self._sys):
            if counter.path in self._files:
                continue
            try:
                file = KeptFile(counter.path)
                counter.parse(file.read())
            except (OSError, ValueError):  # went away while we looked, or not for us to read
                continue
            self._files[counter.path] = (counter, file)


def open_net_dev(namespace: NamespaceRef | None) -> KeptFile:
    """/proc/net/dev of a namespace; the descriptor stays with it. Raises OSError."""
    if namespace is None:
        return KeptFile("/proc/self/net/dev")
    if namespace.netns.startswith("/proc/") and namespace.netns.endswith("/ns/net"):
        return KeptFile(namespace.netns.removesuffix("ns/net") + "net/dev")
    opened: list[KeptFile | OSError] = []

    def enter_and_open() -> None:
        """A thread has its own network namespace and ends with it."""
        try:
            setns(namespace.netns, CLONE_NEWNET)
            opened.append(KeptFile(f"/proc/self/task/{threading.get_native_id()}/net/dev"))
        except OSError as error:
            opened.append(error)

    thread = threading.Thread(target=enter_and_open)
    thread.start()
    thread.join()
    if isinstance(opened[0], OSError):
        raise opened[0]
    return opened[0]

"""The guard in the kernel: load, attach, set rules, hear what it reports. Standard library only.

Its links are bare: whatever kills the process that loaded it, the guard goes with it
(`pinned.py` keeps one for a committed policy).
"""

from __future__ import annotations

import os
import secrets
import struct
from collections.abc import Sequence

from ktune.kernel.bpf.library import BpfError
from ktune.kernel.bpf.objects import BpfObject, Link, RingBuffer, open_object, pin
from ktune.kernel.cgroup2 import cgroup2_root
from ktune.proxy.guard.wire import (
    KERNEL_THREADS,
    NO_COUNTERS,
    Counters,
    GuardEvent,
    GuardRule,
    decode_counters,
    decode_event,
    encode_exact,
    encode_introduction,
    encode_name,
    encode_own,
    encode_rule,
    introduced_pid,
)

OBJECTS = ("guard", "guard_plain")
"""With the writer's network namespace (needs the kernel's BTF), and without."""
LIMITS = "guard_limits"
AUDIT = "guard_audit"
_KEPT = ("counters", "last", "own", "events")
"""Maps that somebody looks at or writes after the loader has gone."""
_INTRODUCE_BY = "/proc/sys/kernel/ostype"
_BOUND = "limits "
_FIRST = struct.pack("<I", 0)


class LoadedGuard:
    """One guard of this process.

    `sees_netns`: the writer's network namespace is known; else `netns_why` says why not.
    """

    def __init__(self, prefer: Sequence[str] = OBJECTS) -> None:
        """Load the first of `prefer` that loads. Raises BpfError."""
        self.netns_why = "" if prefer[0] == OBJECTS[0] else f"{prefer[0]} was chosen"
        try:
            self._object = _loaded(prefer[0])
        except BpfError as error:
            if len(prefer) == 1:
                raise
            self.netns_why = error.why
            self._object = _loaded(prefer[1])
        self._links: dict[str, Link] = {}
        self._numbers: dict[str, int] = {}
        self._ring: RingBuffer = self._object.ring("events")
        self._own = 0
        self.root: str | None = None
        """Where it audits: the root of cgroup2 as this process sees it."""

    @property
    def sees_netns(self) -> bool:
        return not self.netns_why

    @property
    def object(self) -> BpfObject:
        """For pinning."""
        return self._object

    def audit_everybody(self) -> None:
        """Report writers of the whole machine (of this cgroup namespace); ourselves excepted.

        Raises:
            BpfError: no cgroup2, or our own accesses do not pass the program.
        """
        root = cgroup2_root()
        if root is None:
            raise BpfError(2, "no cgroup2 is mounted: nowhere to attach the guard")
        self.audit(root)
        self.root = root
        self._own = self._introduce()
        self._object.map("own").update(encode_own(self._own), _FIRST)

    def audit(self, folder: str) -> None:
        """Report writers of a group and below, ourselves as well. Raises BpfError, OSError."""
        self._links[folder] = self._object.attach_cgroup(AUDIT, folder)

    def bind(self, folder: str) -> None:
        """Hold every process of a cgroup2 group, and below, to the limits; a second call does
        nothing. Raises BpfError, OSError (no such group)."""
        for bound in [name for name in self._links if name.startswith(_BOUND)]:
            if not os.path.isdir(bound.removeprefix(_BOUND)):
                self._links.pop(bound).close()  # a watch makes a group for each pair, for months
        if _BOUND + folder not in self._links:
            self._links[_BOUND + folder] = self._object.attach_cgroup(LIMITS, folder)

    def unbind(self, folder: str) -> None:
        """No longer; a group that was removed is unbound already."""
        link = self._links.pop(_BOUND + folder, None)
        if link is not None:
            link.close()

    def set_rules(self, rules: Sequence[GuardRule]) -> None:
        """From now on these knobs are watched, too. Raises BpfError, ValueError (name too long)."""
        for rule in rules:
            number = self._numbers.setdefault(rule.name, len(self._numbers) + 1)
            key = encode_name(rule.name)
            for value in rule.exact:
                self._object.map("exact").update(encode_exact(value, number), _FIRST)
            if self._object.map("counters").lookup(key) is None:
                self._object.map("counters").update(key, NO_COUNTERS)
            self._object.map("rules").update(key, encode_rule(rule, number))

    @property
    def own_pid(self) -> int:
        """This process as the initial pid namespace counts, 0 before `audit_everybody`."""
        return self._own

    def forget_own(self) -> None:
        """Our own writes are reported as well from now on."""
        self._object.map("own").delete(encode_own(self._own))

    def kernel_threads_are_ours(self) -> None:
        """What they write is not reported any more: ktune's module writes by them."""
        self._object.map("own").update(encode_own(KERNEL_THREADS), _FIRST)

    def pin(self, folder: str) -> None:
        """Keep what is attached, and the maps to look at it, in a folder of bpffs. Raises
        BpfError."""
        for name, link in self._links.items():
            kind = "limits" if name.startswith(_BOUND) else "audit"
            pin(link.fd, os.path.join(folder, f"link_{kind}"))
        for name in _KEPT:
            pin(self._object.map(name).fd, os.path.join(folder, name))

    def counters(self, name: str) -> Counters:
        """What has happened to one knob."""
        raw = self._object.map("counters").lookup(encode_name(name))
        return Counters() if raw is None else decode_counters(raw)

    @property
    def wake_fd(self) -> int:
        """Readable when there are events."""
        return self._ring.fd

    def events(self) -> list[GuardEvent]:
        """What has been reported since the last call, oldest first; never waits."""
        return [decode_event(raw) for raw in self._ring.read()]

    def close(self) -> None:
        """Detach and unload."""
        self._object.close()
        self._links.clear()

    def _introduce(self) -> int:
        """Our pid as the initial pid namespace counts it: see `introduce` in guard.bpf.h."""
        position = secrets.randbits(30) | 1 << 30  # the context shows 32 bits of it
        cell = self._object.map("introductions")
        cell.update(_FIRST, encode_introduction(position))
        fd = os.open(_INTRODUCE_BY, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.pread(fd, 1, position)
        finally:
            os.close(fd)
        raw = cell.lookup(_FIRST)
        pid = introduced_pid(raw) if raw is not None else 0
        cell.update(_FIRST, encode_introduction(0))
        if pid == 0:
            raise BpfError(1, "attached, but this process's own accesses do not pass the guard")
        return pid


def _loaded(name: str) -> BpfObject:
    made = open_object(name)
    try:
        made.load()
    except BpfError:
        made.close()
        raise
    return made

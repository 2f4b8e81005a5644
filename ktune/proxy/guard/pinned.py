"""A guard that outlives its maker: for a policy in force, until it is rolled back. Standard library
only.

It has a folder in bpffs, `ktune/NAME`; removing the folder (`rm -r`) removes the guard, with or
without ktune. A reboot removes it as well.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from ktune.kernel.bpf.bpffs import bpffs, mounted_bpffs
from ktune.kernel.bpf.library import BpfError
from ktune.kernel.bpf.objects import Map, RingBuffer, pinned
from ktune.proxy.guard.loaded import LoadedGuard
from ktune.proxy.guard.wire import (
    KERNEL_THREADS,
    SIZES,
    Counters,
    GuardEvent,
    GuardRule,
    decode_counters,
    decode_event,
    decode_own,
    encode_name,
    encode_own,
)

_HOME = "ktune"
_ENFORCING = "link_limits"


@dataclass(frozen=True)
class Seen:
    """What a pinned guard knows of one knob."""

    counters: Counters
    last: GuardEvent | None
    """The last write by somebody who is not ktune."""


def pin_guard(name: str, rules: Sequence[GuardRule], *, enforce: bool) -> tuple[str, str]:
    """Audit the rules' knobs for the whole machine from now on; `enforce` also refuses what they
    do not allow. Returns (its folder, why it does not know writers' network namespaces).

    Raises:
        BpfError: it can't be loaded, attached or pinned; nothing of it is left.
    """
    guard = LoadedGuard()
    try:
        home = os.path.join(mounted_bpffs(), _HOME)
        folder = os.path.join(home, name)
        guard.audit_everybody()
        guard.forget_own()  # this process ends soon, and its id may be somebody else's tomorrow
        guard.set_rules(rules)
        if enforce and guard.root is not None:
            guard.bind(guard.root)
        try:
            os.makedirs(home, mode=0o700, exist_ok=True)
            os.mkdir(folder, 0o700)
            guard.pin(folder)
        except OSError as error:
            _remove(folder)
            raise BpfError(error.errno or 5, f"{folder}: {error.strerror}") from error
        return folder, guard.netns_why
    finally:
        guard.close()


def folder_of(name: str) -> str | None:
    """Its folder, None when there is no such guard (or this user may not look)."""
    root = bpffs()
    folder = "" if root is None else os.path.join(root, _HOME, name)
    return folder if folder and os.path.isdir(folder) else None


def names() -> list[str]:
    """Every pinned guard of ktune."""
    root = bpffs()
    if root is None:
        return []
    try:
        return sorted(os.listdir(os.path.join(root, _HOME)))
    except OSError:
        return []  # none was ever made, or they are root's


def remove(name: str) -> bool:
    """Take it away; False: there is none. Raises OSError."""
    folder = folder_of(name)
    if folder is None:
        return False
    _remove(folder)
    return True


def unlock_command(folder: str) -> str:
    """What anybody can type to be rid of it, without ktune."""
    return f"rm -r {folder}"


def enforces(folder: str) -> bool:
    """It refuses, and not only tells."""
    return os.path.exists(os.path.join(folder, _ENFORCING))


def look(folder: str, knobs: Sequence[str]) -> dict[str, Seen]:
    """What it knows of knobs (`vm/swappiness`). Raises BpfError."""
    counters, last = _open(folder, "counters"), _open(folder, "last")
    try:
        found = {}
        for knob in knobs:
            key = encode_name(knob)
            counted, event = counters.lookup(key), last.lookup(key)
            found[knob] = Seen(
                Counters() if counted is None else decode_counters(counted),
                None if event is None else decode_event(event),
            )
        return found
    finally:
        os.close(counters.fd)
        os.close(last.fd)


class Listener:
    """Hears what a pinned guard tells, from now on. One at a time: events go to who reads first."""

    def __init__(self, folder: str) -> None:
        """Raises BpfError."""
        self._fd = pinned(os.path.join(folder, "events"))
        self._ring = RingBuffer(self._fd)
        self._ring.read()  # what was before us is in `look`

    @property
    def wake_fd(self) -> int:
        """Readable when there are events."""
        return self._fd

    def events(self) -> list[GuardEvent]:
        """What has come since the last call; never waits."""
        return [decode_event(raw) for raw in self._ring.read()]

    def close(self) -> None:
        """A second call does nothing."""
        if self._fd >= 0:
            self._ring.close()
            os.close(self._fd)
            self._fd = -1


class Introduced:
    """Our writes are ktune's own to every pinned guard, until `close`."""

    def __init__(self, pid: int) -> None:
        """`pid`: as the initial pid namespace counts. Guards that can't be told are left out: they
        will report us, which harms nobody."""
        self._pid = encode_own(pid)
        for own in _each_own():
            with suppress(BpfError):
                own.update(self._pid, self._pid)
                if pid == os.getpid():  # else /proc does not show the pids that the guard knows
                    _forget_dead(own)

    def kernel_threads(self) -> None:
        """The kernel module writes for us, and restores when we can't: so its threads stay known
        when we are gone."""
        kernel = encode_own(KERNEL_THREADS)
        for own in _each_own():
            with suppress(BpfError):
                own.update(kernel, kernel)

    def close(self) -> None:
        """Forget us."""
        for own in _each_own():
            with suppress(BpfError):
                own.delete(self._pid)


def _each_own() -> Iterator[Map]:
    root = bpffs()
    for name in names():
        try:
            own = _open(os.path.join(root or "", _HOME, name), "own")
        except BpfError:
            continue  # being made or removed right now
        try:
            yield own
        finally:
            os.close(own.fd)


def _forget_dead(own: Map) -> None:
    """A writer that was killed could not say goodbye, and its id may come back."""
    for key in list(own.keys()):
        pid = decode_own(key)
        if pid != KERNEL_THREADS and not os.path.exists(f"/proc/{pid}"):
            with suppress(BpfError):
                own.delete(key)


def _open(folder: str, name: str) -> Map:
    return Map(pinned(os.path.join(folder, name)), *SIZES[name])


def _remove(folder: str) -> None:
    """Raises OSError."""
    with suppress(FileNotFoundError):
        for name in os.listdir(folder):
            os.unlink(os.path.join(folder, name))
        os.rmdir(folder)

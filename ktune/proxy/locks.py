"""One tuner per scope. Standard library only.

The host scope has one lock whatever the state directory; each network namespace has its own, named
by its cookie. A lock is an flock(2): it goes with its holder, however that dies.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from ktune.errors import BusyError
from ktune.proxy.storage import ProxyPaths


@contextmanager
def scope_lock(paths: ProxyPaths, *, netns_cookie: int | None, what: str) -> Iterator[None]:
    """Hold the scope: the host (None) or the namespace of that cookie.

    Raises:
        BusyError: another tune, apply or watch holds it (exit 6); says which.
    """
    name = "host.lock" if netns_cookie is None else f"netns-{netns_cookie}.lock"
    paths.runtime.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(paths.runtime / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, 200, 0).decode(errors="replace").strip() or "another run"
            raise BusyError(
                f"{holder} holds {'the host' if netns_cookie is None else 'this namespace'}",
                hint="wait for it to end; `ktune status` shows it",
            ) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{what} (pid {os.getpid()})\n".encode(), 0)
        yield
    finally:
        os.close(fd)

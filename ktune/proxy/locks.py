"""One tuner per scope. Standard library only.

The host scope has one lock whatever the state directory; each network namespace has its own, named
by its cookie. A lock is an flock(2): it goes with its holder, however that dies.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ktune.errors import BusyError
from ktune.proxy.pause import asked_to_pause
from ktune.proxy.storage import ProxyPaths


@contextmanager
def scope_lock(
    paths: ProxyPaths, *, netns_cookie: int | None, what: str, ask_watch: bool = True
) -> Iterator[None]:
    """Hold the scope: the host (None) or the namespace of that cookie.

    A running watch is asked to leave it until we are done; a watch itself asks nobody.

    Raises:
        BusyError: another tune, apply or watch holds it (exit 6); says which.
    """
    name = "host.lock" if netns_cookie is None else f"netns-{netns_cookie}.lock"
    paths.runtime.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = paths.runtime / name
    who = f"{what} (pid {os.getpid()})"
    with ExitStack() as stack:
        if ask_watch:
            stack.enter_context(asked_to_pause(paths.runtime, netns_cookie, who))
        fd = _locked(path, "the host" if netns_cookie is None else "this namespace")
        try:
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{who}\n".encode(), 0)
            yield
        finally:
            if netns_cookie is not None:
                path.unlink(missing_ok=True)  # namespaces come and go, their locks with them
            os.close(fd)


def _locked(path: Path, place: str) -> int:
    """Open and lock. A holder unlinks the file before it lets go, so a lock on a file that has lost
    its name is no lock: try again with the new one."""
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.path.samestat(os.fstat(fd), path.stat()):
                return fd
        except BlockingIOError:
            holder = os.pread(fd, 200, 0).decode(errors="replace").strip() or "another run"
            os.close(fd)
            raise BusyError(
                f"{holder} holds {place}", hint="wait for it to end; `ktune status` shows it"
            ) from None
        except FileNotFoundError:
            os.close(fd)
            continue
        os.close(fd)

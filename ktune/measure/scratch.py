"""A folder of a window's own: where its command starts, and where its logs go.

Standard library only. Made empty, owned by the workload's user, removed after its window. The maker
holds a lock on it (flock(2)) as long as it lives: what a killed one left behind is known by the
missing lock, whichever process id namespace it was in, and is removed by the next.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from typing import Self

PREFIX = "ktune-window-"
_STALE_AFTER_S = 60.0
"""Not younger: between being made and being locked a folder has no lock either."""


@dataclass
class Scratch:
    """One folder; `remove` ends it."""

    path: str
    _fd: int

    @classmethod
    def create(cls, uid: int | None, gid: int | None) -> Self:
        """An empty folder for that user (None: the caller). Raises OSError."""
        path = tempfile.mkdtemp(prefix=PREFIX)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)
                if uid is not None:
                    os.fchown(fd, uid, -1 if gid is None else gid)
            except BaseException:
                os.close(fd)
                raise
        except BaseException:
            os.rmdir(path)
            raise
        return cls(path, fd)

    @property
    def empty(self) -> bool:
        """Nothing was left in it."""
        return not os.listdir(self._fd)

    def remove(self) -> None:
        """Remove it with all that is in it. What can't be removed stays for the next sweep."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._fd)


def sweep() -> None:
    """Remove what makers left behind that were killed."""
    folder = tempfile.gettempdir()
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            if name.startswith(PREFIX):
                with contextlib.suppress(OSError):  # somebody else's, in use, or gone meanwhile
                    _remove_if_stale(os.path.join(folder, name))


def _remove_if_stale(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        status = os.fstat(fd)
        if time.time() - status.st_ctime > _STALE_AFTER_S:
            shutil.rmtree(path, ignore_errors=True)
    finally:
        os.close(fd)

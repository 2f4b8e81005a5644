"""A folder of a window's own: where its command starts, and where its logs go.

Standard library only. Empty, owned by the workload's user, removed after its window; one that was
left empty is the next window's, since to make and remove one costs up to a millisecond. The maker
holds a lock on it (flock(2)) as long as it lives: what a killed one left behind is known by the
missing lock, whichever process id namespace it was in, and is removed by the next.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

PREFIX = "ktune-window-"
_OPEN = ("/tmp", "/var/tmp")
_STALE_AFTER_S = 60.0
"""Not younger: between being made and being locked a folder has no lock either."""


@dataclass
class Scratch:
    """One folder; `remove` ends it."""

    path: str
    owner: tuple[int | None, int | None]
    _fd: int

    @classmethod
    def create(cls, uid: int | None, gid: int | None) -> Self:
        """An empty folder for that user (None: the caller). Raises OSError."""
        path = tempfile.mkdtemp(prefix=PREFIX, dir=_place(uid))
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
        return cls(path, (uid, gid), fd)

    @property
    def empty(self) -> bool:
        """Nothing was left in it."""
        return not os.listdir(self._fd)

    def renew(self) -> None:
        """As it was made. Raises OSError."""
        os.fchmod(self._fd, 0o700)

    def remove(self) -> None:
        """Remove it with all that is in it. What can't be removed stays for the next sweep."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._fd)


def _place(uid: int | None) -> str:
    """Where that user can get to: $TMPDIR may lie in a folder that is private to the caller."""
    usual = tempfile.gettempdir()
    if uid is None:
        return usual
    return next((place for place in (usual, *_OPEN) if _open_to_all(place)), usual)


def _open_to_all(place: str) -> bool:
    ways = [place, *(str(parent) for parent in Path(place).parents)]
    with contextlib.suppress(OSError):
        return all(os.stat(way).st_mode & stat.S_IXOTH for way in ways)
    return False


class Folders:
    """The folders of one maker's windows: one that is in use, one begun ahead, one to be read."""

    def __init__(self) -> None:
        self._spare: Scratch | None = None
        self._left: Scratch | None = None

    def take(self, uid: int | None, gid: int | None) -> Scratch:
        """An empty folder for that user. Raises OSError."""
        spare, self._spare = self._spare, None
        if spare is not None:
            if spare.owner == (uid, gid):
                return spare
            spare.remove()
        return Scratch.create(uid, gid)

    def give_back(self, scratch: Scratch | None) -> None:
        """Its window is over: kept for the next one, or, where something was left in it, until
        `tidy`."""
        if scratch is None:
            return
        if not scratch.empty:
            self.tidy()
            self._left = scratch
            return
        try:
            scratch.renew()
        except OSError:
            scratch.remove()  # it belongs to a user who may change it when we may not
        else:
            self._replace_spare(scratch)

    def tidy(self) -> None:
        """Remove what the last window left."""
        left, self._left = self._left, None
        if left is not None:
            left.remove()

    def close(self) -> None:
        """Remove all that is not in use."""
        self.tidy()
        self._replace_spare(None)

    def _replace_spare(self, scratch: Scratch | None) -> None:
        spare, self._spare = self._spare, scratch
        if spare is not None:
            spare.remove()


def sweep() -> None:
    """Remove what makers left behind that were killed."""
    for folder in {tempfile.gettempdir(), *_OPEN}:
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

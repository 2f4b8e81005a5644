"""A folder below `STATE/services/run` that one run holds at a time, by a lock beside it. Standard
library only.

The lock's file says for `ktune status` who holds it, and is empty while nobody does.
"""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from ktune.proxy.folders import private_folder
from ktune.records.services import LOCK_SUFFIX, RunningService


class Taken(Exception):
    """Another run holds the folder; the text says which, where that is known."""


@dataclass(frozen=True)
class Hold:
    """The lock of a folder, as long as it is open."""

    folder: Path
    fd: int

    def tell(self, running: RunningService) -> None:
        """For `ktune status`. Raises OSError."""
        os.ftruncate(self.fd, 0)
        os.pwrite(self.fd, json.dumps(asdict(running)).encode(), 0)

    def release(self) -> None:
        """Nothing is left in the folder's place."""
        os.ftruncate(self.fd, 0)
        os.close(self.fd)


def hold(folder: Path) -> Hold:
    """Raises Taken, OSError."""
    private_folder(folder.parent)
    path = folder.with_name(folder.name + LOCK_SUFFIX)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        said = os.pread(fd, 1 << 16, 0)
        os.close(fd)
        raise Taken(_holder(said)) from None
    return Hold(folder, fd)


def _holder(said: bytes) -> str:
    try:
        return f" (pid {json.loads(said)['pid']})"
    except (ValueError, TypeError, KeyError):
        return ""

"""Files that a tool left in the window's folder, read as what a stranger wrote.

The folder belongs to the workload's user, who may have put links, pipes or devices there, and
may be another one than its reader. So nothing is followed, only regular files with a single name
are opened, and no more than a stated number of bytes is taken.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass

MAX_BYTES = 64 << 20
_MAX_FILES = 256
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW


class UnreadableError(ValueError):
    """What is there is no plain file, or too much; the text is for people."""


@dataclass(frozen=True)
class Folder:
    """A folder by its path. Only files right in it are seen."""

    path: str

    def texts(self, prefix: str) -> dict[str, str]:
        """Names and texts of the files whose names begin so. Raises UnreadableError."""
        try:
            folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise UnreadableError(f"the window's folder: {error.strerror}") from error
        try:
            names = sorted(name for name in os.listdir(folder) if name.startswith(prefix))
            if len(names) > _MAX_FILES:
                raise UnreadableError(f"it left more than {_MAX_FILES} logs")
            left = MAX_BYTES
            found = {}
            for name in names:
                found[name] = _text(folder, name, left)
                left -= len(found[name])
            return found
        finally:
            os.close(folder)


def _text(folder: int, name: str, left: int) -> str:
    shown = name[:60]
    try:
        fd = os.open(name, _READ, dir_fd=folder)
    except OSError as error:
        raise UnreadableError(f"{shown!r} can't be read: {error.strerror}") from error
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        os.close(fd)
        raise UnreadableError(f"{shown!r} is no plain file")
    with os.fdopen(fd, "rb") as file:
        data = file.read(left + 1)
    if len(data) > left:
        raise UnreadableError(f"it left more than {MAX_BYTES >> 20} MiB of logs")
    return data.decode("ascii", "replace")

"""Reading files that a profile names: bounded, regular files only, never a pipe or a device.

Opening a FIFO would block, opening a device may do something (watchdogs, tapes). So a path is first
opened with O_PATH, which does nothing, looked at, and only then opened for reading through
/proc/self/fd, which means the same file whatever happens to the path meanwhile.
"""

from __future__ import annotations

import os
import stat

MAX_KERNEL_FILE = 4 << 20
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


class NotRegularError(OSError):
    """The path leads to something else than a regular file."""


def open_regular(path: str) -> int:
    """A descriptor of a regular file. Raises OSError, NotRegularError."""
    look = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        mode = os.fstat(look).st_mode
        if not stat.S_ISREG(mode):
            raise NotRegularError(f"{path} is no regular file")
        return os.open(f"/proc/self/fd/{look}", _READ)
    finally:
        os.close(look)


def read_kernel_file(path: str, *, dir_fd: int | None = None) -> str:
    """The text of a file of procfs or cgroupfs, bounded. Raises OSError."""
    fd = os.open(path, _READ | os.O_NOFOLLOW, dir_fd=dir_fd)
    try:
        parts = []
        left = MAX_KERNEL_FILE
        while left > 0 and (part := os.read(fd, min(left, 1 << 16))):
            parts.append(part)
            left -= len(part)
    finally:
        os.close(fd)
    return b"".join(parts).decode("utf-8", "replace")

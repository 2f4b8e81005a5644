"""Files that are either the old one or the new one, whatever dies in between.

Temporary name, fsync, rename, fsync of the folder (the rename itself is not durable without
the last step: see fsync(2)). Files are 0600. Standard library only.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PRIVATE_FILE = 0o600


def write_bytes(path: Path, data: bytes, *, sync: bool = True) -> None:
    """Replace `path` by `data`, durably unless `sync` is False (it then survives our death, not
    that of the machine). Raises OSError; the old file then stays."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)  # of a process that died and had this pid
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_FILE)
    try:
        try:
            write_all(fd, data)
            if sync:
                os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if sync:
        sync_folder(path.parent)


def write_text(path: Path, text: str, *, sync: bool = True) -> None:
    """Replace `path` by `text` in UTF-8, as `write_bytes`. Raises OSError."""
    write_bytes(path, text.encode(), sync=sync)


def write_json(path: Path, data: object, *, sync: bool = True) -> None:
    """Replace `path` by `data` as JSON that a person can read, as `write_bytes`. Raises OSError."""
    write_text(path, json.dumps(data, indent=1, allow_nan=False) + "\n", sync=sync)


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold `folder` against everybody else who reads a file there, changes it and writes it back;
    it goes with its holder, however that dies. Raises OSError."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def append_line(path: Path, line: str, *, sync: bool = True) -> None:
    """Add one line with one write(2); `sync=False` leaves the timing to the kernel.

    A writer that died half-way leaves a piece of a line: it is cut off first, so that it
    can't swallow this one. Raises OSError.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, PRIVATE_FILE)
    try:
        created = os.fstat(fd).st_size == 0
        _cut_torn_tail(fd)
        os.lseek(fd, 0, os.SEEK_END)
        write_all(fd, line.encode() + b"\n")
        if sync:
            os.fsync(fd)
    finally:
        os.close(fd)
    if created and sync:
        sync_folder(path.parent)


def write_all(fd: int, data: bytes) -> None:
    """os.write until everything is out (a full disk shows as ENOSPC on the second call)."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def sync_folder(folder: Path) -> None:
    """Make renames and new names in `folder` durable. Raises OSError."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def remove(path: Path) -> None:
    """Remove a file durably; one that is gone already is fine. Raises OSError."""
    path.unlink(missing_ok=True)
    sync_folder(path.parent)


def _cut_torn_tail(fd: int) -> None:
    size = os.fstat(fd).st_size
    if size == 0 or os.pread(fd, 1, size - 1) == b"\n":
        return
    end = size
    block = 4096
    while end > 0:
        start = max(0, end - block)
        found = os.pread(fd, end - start, start).rfind(b"\n")
        if found >= 0:
            os.ftruncate(fd, start + found + 1)
            return
        end = start
    os.ftruncate(fd, 0)

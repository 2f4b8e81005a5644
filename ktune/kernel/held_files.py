"""Knob files kept open for reading: a lease looks at the same few again and again.

pread(2) at offset 0 has the kernel print the value anew (fs/proc/proc_sysctl.c; fs/kernfs/file.c),
so a kept descriptor is never stale; what it can be is dead, when its device or namespace has gone:
then the path is opened again, which tells a device that came back from one that did not. Files of
debugfs are opened for each look: most take no offset (nonseekable_open() in fs/libfs.c). Standard
library only.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress

from ktune.kernel.tunable import PAGE_BYTES, read_text

_MOST = 256
"""Descriptors kept; more knobs than that are opened for each look (RLIMIT_NOFILE is 1024)."""


class HeldFiles:
    """Reads texts like `tunable.read_text`; close it, or let the process end."""

    def __init__(self) -> None:
        self._fds: dict[str, int] = {}

    def text(self, path: str) -> str:
        """The content of a knob file now. Raises OSError."""
        fd = self._fds.get(path)
        if fd is not None:
            try:
                return self._pread(fd, path)
            except OSError:
                self._forget(path)
        if len(self._fds) >= _MOST:
            return read_text(path)
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        self._fds[path] = fd
        try:
            return self._pread(fd, path)
        except OSError as error:
            self._forget(path)
            if error.errno == errno.ESPIPE:
                return read_text(path)
            raise

    def close(self) -> None:
        """Close all."""
        for path in list(self._fds):
            self._forget(path)

    def _pread(self, fd: int, path: str) -> str:
        data = os.pread(fd, PAGE_BYTES, 0)
        return data.decode("utf-8", "replace") if len(data) < PAGE_BYTES else read_text(path)

    def _forget(self, path: str) -> None:
        with suppress(OSError):
            os.close(self._fds.pop(path))

"""What every guardrail can do, and files that stay open between looks."""

from __future__ import annotations

import contextlib
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping

_READ_BYTES = 16 * 1024


class Unwatchable(Exception):
    """This guardrail can't be watched here; the text says why."""


class Guardrail(ABC):
    """One thing that is watched. Made closed; `open()` tries whether it works here.

    `name` is what people read (`oom_kills`); `every_s`: looking more often tells nothing new.
    """

    name: str
    every_s: float = 0.2

    @abstractmethod
    def open(self) -> str:
        """Begin to watch; gives what is weaker here than asked for, or an empty text.

        Raises Unwatchable.
        """

    @abstractmethod
    def crossed(self, now_s: float) -> str | None:
        """Why it is crossed. Raises OSError when it can't be watched any more."""

    @abstractmethod
    def close(self) -> None:
        """Give everything back; may be called twice."""

    def start(self) -> None:  # noqa: B027 (not every one counts by window)
        """A window begins."""

    def forget(self) -> None:  # noqa: B027 (not every one counts)
        """Count from now on."""

    def quiet(self, now_s: float) -> bool:
        """Whether what crossed it is over. Raises OSError."""
        return True

    def fds(self) -> Mapping[int, int]:
        """Descriptors that wake a poll(2), with the events to wait for."""
        return {}

    def woken(self, fd: int, events: int) -> None:  # noqa: B027 (needed with `fds` only)
        """poll(2) gave `events` for one of `fds()`."""


class KeptFile:
    """A /proc or /sys file, opened once: each read gives the text of now."""

    def __init__(self, path: str, flags: int = os.O_RDONLY) -> None:
        """Raises OSError."""
        self.path = path
        self.fd = os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK)

    def read(self) -> bytes:
        """At most 16 KiB. Raises OSError (ENODEV when the device behind it is gone)."""
        return os.pread(self.fd, _READ_BYTES, 0)

    def close(self) -> None:
        """May be called twice."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            with contextlib.suppress(OSError):
                os.close(fd)

    def __del__(self) -> None:
        if hasattr(self, "fd"):
            self.close()


def reason_of(error: OSError) -> str:
    """Why, for people: `/dev/kmsg: Permission denied`."""
    where = f"{error.filename}: " if error.filename else ""
    return where + (error.strerror or str(error))

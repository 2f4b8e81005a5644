"""A server's words: a file of bounded size and the last lines in memory. Standard library only."""

from __future__ import annotations

import os

_MOST_BYTES = 4 << 20
_TAIL_BYTES = 4096


class ServerLog:
    """Appends to a file; when that is full it becomes `.1`, and the `.1` before it goes.

    A disk that is full costs the file, never the server: the tail is kept all the same.
    """

    def __init__(self, path: str, *, most_bytes: int = _MOST_BYTES) -> None:
        self._path, self._most_bytes = path, most_bytes
        self._tail = bytearray()
        self._fd: int | None = None
        self._size = 0
        self._open()

    @property
    def tail(self) -> str:
        """The last words."""
        return self._tail[-_TAIL_BYTES:].decode("utf-8", "replace")

    def write(self, chunk: bytes) -> None:
        """Keep it."""
        self._tail += chunk
        if len(self._tail) > 4 * _TAIL_BYTES:
            del self._tail[:-_TAIL_BYTES]
        if self._fd is None or not chunk:
            return
        if self._size > self._most_bytes:
            self._rotate()
        try:
            if self._fd is not None:
                self._size += os.write(self._fd, chunk)
        except OSError:
            self.close()

    def close(self) -> None:
        """No more is written."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def _rotate(self) -> None:
        self.close()
        try:
            os.replace(self._path, f"{self._path}.1")
        except OSError:
            return
        self._open()

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._fd = os.open(self._path, flags, 0o600)
            self._size = os.fstat(self._fd).st_size
        except OSError:
            self._fd = None

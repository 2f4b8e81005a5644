"""Appends to the journal from a thread of its own, so that a stuck disk never stops a restore.

A frozen file system blocks write(2) and fsync(2) without end; the guardian's main thread must
still meet its deadline. It therefore only waits for a ticket, with a limit. Standard library only.
"""

from __future__ import annotations

import fcntl
import os
import queue
import threading

from ktune.proxy.journal import encode
from ktune.proxy.model import Json

_STACK_BYTES = 256 * 1024
"""Of the thread, instead of 8 MiB: a guardian with locked memory holds every byte of it."""


class JournalWriter:
    """One new journal file, locked for the life of this process."""

    def __init__(self, path: str) -> None:
        """Create the file. Raises OSError (EEXIST: never reuse a journal)."""
        self.path = path
        self._fd = os.open(
            path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600
        )
        fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._queue: queue.SimpleQueue[tuple[int, bytes, bool]] = queue.SimpleQueue()
        self._issued = 0
        self._finished = 0
        self._error: OSError | None = None
        self.wake_fd, self._wake_writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        usual = threading.stack_size(_STACK_BYTES)
        self._thread.start()
        threading.stack_size(usual)

    def append(self, record: Json, *, durable: bool) -> int:
        """Queue a record; `durable` asks for fsync. Returns its ticket."""
        self._issued += 1
        self._queue.put((self._issued, encode(record), durable))
        return self._issued

    def is_done(self, ticket: int) -> bool:
        """The record of `ticket` is in the file (and on disk if durable).

        Raises:
            OSError: an append failed (disk full, I/O error); nothing after it was written.
        """
        if self._error is not None:
            raise self._error
        return self._finished >= ticket

    def drain_wakeups(self) -> None:
        """Empty the wake-up pipe after a poll."""
        try:
            while os.read(self.wake_fd, 512):
                pass
        except BlockingIOError:
            return

    def _run(self) -> None:
        while True:
            ticket, data, durable = self._queue.get()
            if self._error is None:
                try:
                    self._write_all(data)
                    if durable:
                        os.fsync(self._fd)
                except OSError as error:
                    self._error = error
            self._finished = ticket
            os.write(self._wake_writer, b".")

    def _write_all(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._fd, data) :]


def sync_folder(path: str) -> None:
    """fsync a folder, so that a new name in it is on disk. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

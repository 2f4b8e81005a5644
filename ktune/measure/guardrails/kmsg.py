"""Reads /dev/kmsg without waiting, from the end on; several guardrails listen to one reader."""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Mapping
from errno import EAGAIN, EPIPE

from ktune.measure.guardrails.kernel_log import LogRecord, parse_record, trouble_of
from ktune.measure.guardrails.source import Guardrail, KeptFile, Unwatchable, reason_of
from ktune.profile.guards import Trouble

PATH = "/dev/kmsg"
_RECORD_BYTES = 16 * 1024  # a shorter buffer than the record is EINVAL
_RECORDS_A_LOOK = 2000


class KernelLog:
    """The reader. What the kernel overwrote before we came is lost (the taint tells the worst)."""

    def __init__(self, path: str = PATH) -> None:
        self._path = path
        self._file: KeptFile | None = None
        self._listeners: list[Callable[[LogRecord], None]] = []

    def listen(self, listener: Callable[[LogRecord], None]) -> None:
        """`listener` gets every record from now on; the first one opens the log.

        Raises OSError.
        """
        if self._file is None:
            self._file = KeptFile(self._path)
            os.lseek(self._file.fd, 0, os.SEEK_END)
        self._listeners.append(listener)

    def leave(self, listener: Callable[[LogRecord], None]) -> None:
        """The last one closes it; may be called twice."""
        if listener in self._listeners:
            self._listeners.remove(listener)
        if not self._listeners and self._file is not None:
            self._file.close()
            self._file = None

    def pump(self) -> None:
        """Hand out what is new, at most 2000 records a time. Raises OSError."""
        if self._file is None:
            return
        for _ in range(_RECORDS_A_LOOK):
            try:
                data = os.read(self._file.fd, _RECORD_BYTES)
            except OSError as error:
                if error.errno == EAGAIN:
                    return
                if error.errno == EPIPE:  # overwritten meanwhile: goes on with the oldest
                    continue
                raise
            record = parse_record(data)
            if record is not None:
                for listener in self._listeners:
                    listener(record)

    def fd(self) -> int | None:
        """To be polled for POLLIN."""
        return None if self._file is None else self._file.fd


class KernelWarnings(Guardrail):
    """Lines of the kernel's own that report one of `troubles`."""

    name = "kernel_warnings log"
    every_s = 5.0  # a new line wakes

    def __init__(self, log: KernelLog, troubles: frozenset[Trouble]) -> None:
        self._log = log
        self._troubles = troubles
        self._found: str | None = None
        self._more = 0

    def open(self) -> str:
        """See Guardrail."""
        try:
            self._log.listen(self._hear)
        except OSError as error:
            raise Unwatchable(f"{reason_of(error)} (root, or kernel.dmesg_restrict=0)") from None
        return ""

    def crossed(self, now_s: float) -> str | None:
        """See Guardrail."""
        self._log.pump()
        found, self._found = self._found, None
        more, self._more = self._more, 0
        return found and found + (f" (and {more} more)" if more else "")

    def forget(self) -> None:
        """See Guardrail."""
        self._log.pump()
        self._found, self._more = None, 0

    def fds(self) -> Mapping[int, int]:
        """See Guardrail."""
        fd = self._log.fd()
        return {} if fd is None else {fd: select.POLLIN}

    def close(self) -> None:
        """See Guardrail."""
        self._log.leave(self._hear)

    def _hear(self, record: LogRecord) -> None:
        trouble = trouble_of(record)
        if trouble is None or trouble not in self._troubles:
            return
        if self._found is None:
            self._found = f"kernel log: {trouble.value}: {record.text[:160]}"
        else:
            self._more += 1

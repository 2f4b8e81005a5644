"""Follows a log during a window, across rotation, and hands its new lines to the helper."""

from __future__ import annotations

import contextlib
import math
import os
import time

from ktune.errors import RefusedError
from ktune.measure.attach.files import NotRegularError, open_regular
from ktune.measure.attach.helper_client import Helper
from ktune.measure.attach.observe import Logged
from ktune.measure.attach.specs import LogLines, MissingData
from ktune.measure.window import Poll

_MAX_BYTES = 8 << 20
"""At most so much between two looks."""
_MAX_LINE = 1 << 16
_MATCH_S = 2.0


class LogTail:
    """Lines appended since the last look.

    Renamed and made anew (logrotate's `create`): the rest of the old file, then the new one from
    its start. Truncated in place (`copytruncate`): from the start again.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._fd = -1
        self._at = 0
        self._partial = b""

    def start(self) -> None:
        """Begin at the end of what is there now. Raises MissingData, RefusedError."""
        self.close()
        self._fd = self._open()
        self._at = os.fstat(self._fd).st_size
        self._partial = b""

    def lines(self) -> list[str]:
        """Whole lines that came since. Raises MissingData."""
        text = self._partial + self._appended()
        *whole, self._partial = text.split(b"\n")
        if len(self._partial) > _MAX_LINE or any(len(line) > _MAX_LINE for line in whole):
            raise MissingData(f"{self.path}: a line is longer than {_MAX_LINE >> 10} KiB")
        return [line.decode("utf-8", "replace") for line in whole]

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    def _appended(self) -> bytes:
        size = os.fstat(self._fd).st_size
        if size < self._at:
            self._at, self._partial = 0, b""
        text = self._read(size - self._at)
        if self._replaced():
            # what was written between the size and the rename
            text += self._read(os.fstat(self._fd).st_size - self._at)
            new = self._open()
            os.close(self._fd)
            self._fd, self._at = new, 0
            text += self._read(os.fstat(new).st_size)
        return text

    def _replaced(self) -> bool:
        """Whether another file has the name now; none at all: not yet, in the middle of it."""
        with contextlib.suppress(FileNotFoundError):
            there, ours = os.stat(self.path), os.fstat(self._fd)
            return (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino)
        return False

    def vanished(self) -> bool:
        """No file has the name."""
        return not os.path.exists(self.path)

    def _read(self, count: int) -> bytes:
        if count > _MAX_BYTES:
            raise MissingData(
                f"{self.path} grew by {count >> 20} MiB between two looks (at most "
                f"{_MAX_BYTES >> 20}): sample more often"
            )
        parts = []
        while count > 0 and (part := os.pread(self._fd, count, self._at)):
            parts.append(part)
            self._at += len(part)
            count -= len(part)
        return b"".join(parts)

    def _open(self) -> int:
        try:
            return open_regular(self.path)
        except NotRegularError as error:
            raise RefusedError(f"{self.path} is no regular file: not read as a log") from error
        except PermissionError as error:
            raise RefusedError(
                f"{self.path} may not be read by this user", hint="run it as a user who may"
            ) from error
        except OSError as error:
            raise MissingData(f"{self.path}: {error.strerror}") from error


def look_at_log(origin: LogLines, lines: list[str], helper: Helper, poll: Poll) -> Logged:
    """The lines that match, with their numbers. Raises MissingData, RefusedError."""
    if not lines:
        return Logged(time.monotonic(), 0)
    request = {"op": "match", "pattern": origin.pattern, "lines": lines}
    try:
        found = helper.ask(request, within_s=_MATCH_S, poll=poll)["values"]
    except MissingData as missing:
        raise MissingData(f"{origin.path}: the pattern gave no result: {missing}") from None
    values = [_number(text, origin) for text in found if text is not None]
    return Logged(time.monotonic(), len(found), tuple(values))


def _number(text: str, origin: LogLines) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise RefusedError(f"{origin.path}: the pattern captured {text[:40]!r}, which is no number")
    return value

"""One kernel setting on this host: read it, write it with one write(2), read it back.

Standard library only: the guardian imports this. `open(path, "w").write(...)` would lose EPERM
and EINVAL until the destructor; here every value is one `os.write` on a fresh descriptor
(`kernel.sysctl_writes_strict` wants the whole value at offset 0).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from ktune.kernel.values import Value, ValueFormatError, ValueType, format_value, parse

Assignment = Mapping[str, Value]
"""Values for several tunables, by key."""

PAGE_BYTES = 4096

TextReader = Callable[[str], str]
"""Gives the text of a knob file by its path. Raises OSError."""


class Outcome(StrEnum):
    """What became of one write."""

    APPLIED = "applied"
    UNCHANGED = "unchanged"
    ROUNDED = "rounded"
    """The kernel took another value, as the catalog says that it does for this knob."""
    CLAMPED = "clamped"
    """The kernel took another value although nothing says that it rounds."""
    REFUSED = "refused"
    MISSING = "missing"
    READ_ONLY = "read_only"

    @property
    def success(self) -> bool:
        """Only these leave the knob as intended."""
        return self in (Outcome.APPLIED, Outcome.UNCHANGED, Outcome.ROUNDED)


@dataclass(frozen=True)
class Tunable:
    """A knob on this host in a scope.

    `key` is what people write: a dotted sysctl name or a sysfs/cgroup path. `path` is the file.
    """

    key: str
    path: str
    type: ValueType
    kernel_rounds: bool = False


@dataclass(frozen=True)
class WriteResult:
    """One write: what was there, what was wanted, what is there now."""

    key: str
    outcome: Outcome
    before: Value | None
    intended: Value
    observed: Value | None
    errno: int | None = None

    @property
    def message(self) -> str:
        """One line for people."""
        match self.outcome:
            case Outcome.REFUSED | Outcome.READ_ONLY | Outcome.MISSING:
                why = os.strerror(self.errno) if self.errno else "no reason given"
                return f"{self.key}: {self.outcome.value} ({why}), wanted {self.intended!r}"
            case _:
                return f"{self.key}: {self.outcome.value}, {self.before!r} -> {self.observed!r}"


def sysctl_path(name: str) -> str:
    """The file of a sysctl: `vm.swappiness` -> `/proc/sys/vm/swappiness` (sysctl(8) spelling:
    a `/` inside a component stands for a dot, as in `net.ipv4.conf.eth0/100.mtu_expires`)."""
    return "/proc/sys/" + "/".join(part.replace("/", ".") for part in name.split("."))


def read_text(path: str) -> str:
    """The content of a knob file (at most 64 KiB). Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        data = os.read(fd, PAGE_BYTES)  # the kernel clears a buffer of the size asked for
        if len(data) == PAGE_BYTES:
            data += os.read(fd, 15 * PAGE_BYTES)
        return data.decode("utf-8", "replace")
    finally:
        os.close(fd)


def read_value(tunable: Tunable) -> Value:
    """The value in force. Raises OSError, or ValueFormatError when it is not of its type."""
    return parse(tunable.type, read_text(tunable.path))


def write_text(path: str, text: str) -> None:
    """One write(2) of the whole value. Raises OSError (EIO for a short write)."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        data = text.encode()
        if os.write(fd, data) != len(data):
            raise OSError(errno.EIO, "short write", path)
    finally:
        os.close(fd)


def write_value(
    tunable: Tunable, value: Value, before: Value | None, read: TextReader = read_text
) -> WriteResult:
    """Write, read back, compare normalised. Never raises OSError: the outcome says it.

    `before` is the value just read; an equal one is not written again. `read` gives a file's text.
    """
    if before == value:
        return WriteResult(tunable.key, Outcome.UNCHANGED, before, value, before)
    try:
        write_text(tunable.path, format_value(tunable.type, value))
    except OSError as error:
        observed = try_read(tunable, read)
        return WriteResult(
            tunable.key, outcome_of(error.errno), before, value, observed, error.errno
        )
    return _read_back(tunable, value, before, read)


def _read_back(
    tunable: Tunable, value: Value, before: Value | None, read: TextReader
) -> WriteResult:
    return taken(tunable, value, before, try_read(tunable, read))


def taken(
    tunable: Tunable, value: Value, before: Value | None, observed: Value | None
) -> WriteResult:
    """The outcome of a write that the kernel took, by what the knob reads after it."""
    if observed == value:
        outcome = Outcome.APPLIED
    elif observed is None:
        outcome = Outcome.MISSING
    else:
        outcome = Outcome.ROUNDED if tunable.kernel_rounds else Outcome.CLAMPED
    return WriteResult(tunable.key, outcome, before, value, observed)


def outcome_of(code: int | None) -> Outcome:
    """What a write that failed with this errno says of the knob."""
    if code in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        return Outcome.MISSING
    if code in (errno.EROFS, errno.EACCES):
        return Outcome.READ_ONLY
    return Outcome.REFUSED


def try_read(tunable: Tunable, read: TextReader = read_text) -> Value | None:
    """The value in force, None when it can't be read as its type."""
    try:
        return parse(tunable.type, read(tunable.path))
    except (OSError, ValueFormatError):
        return None

"""What the running kernel shows of the catalog's knobs. Reads files, never writes one."""

from __future__ import annotations

import errno
import glob
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

from ktune.catalog.catalog import Catalog
from ktune.catalog.model import DEVICE, KnobEntry, Match, Version, path_of
from ktune.kernel.tunable import read_text

_RELEASE = re.compile(r"([0-9]+)\.([0-9]+)")


@dataclass(frozen=True)
class Observation:
    """One file as found: its text, or why it could not be read."""

    key: str
    text: str | None
    errno: int | None = None
    writable: bool = False
    """Whether the file's mode has a write bit (a read-only view of a global knob has none)."""

    @property
    def missing(self) -> bool:
        """There is no such file."""
        return self.errno in (errno.ENOENT, errno.ENOTDIR)

    @property
    def why(self) -> str:
        """The error, in words."""
        return os.strerror(self.errno) if self.errno else ""


def kernel_version() -> Version:
    """The running kernel's version, (6, 12)."""
    match = _RELEASE.match(os.uname().release)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def matches(catalog: Catalog, entry: KnobEntry) -> Iterator[Match]:
    """Every file of `entry` on this host; for an exact name the one file, there or not."""
    if not entry.pattern:
        yield Match(entry.name, entry, path_of(entry.name))
        return
    for path in sorted(glob.glob(path_of(entry.name).replace(DEVICE, "*"))):
        match = catalog.find(path)
        if match and match.entry is entry:
            yield match


def observe(key: str, path: str) -> Observation:
    """Read one file. Never raises OSError."""
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        return Observation(key, None, error.errno)
    writable = bool(mode & 0o222)
    try:
        return Observation(key, read_text(path), None, writable)
    except OSError as error:
        return Observation(key, None, error.errno, writable)

"""Memory of a process that starts with much code and then mostly waits.

Starting up touches most pages of the interpreter's and its libraries' code, once. They stay mapped,
and count as resident, until memory is short. A process that will wait for hours can unmap them
itself: a page that is wanted again is mapped again from the page cache.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)
_MADV_DONTNEED = 4
_SMAPS = Path("/proc/self/smaps")
_HEAD = re.compile(
    r"(?P<start>[0-9a-f]+)-(?P<end>[0-9a-f]+) (?P<rights>[rwxps-]{4}) \S+ \S+ (?P<inode>\d+)"
)


@dataclass(frozen=True)
class CleanMapping:
    """Pages of a file, mapped read-only and privately, none of which this process has changed."""

    start: int
    length_bytes: int
    resident_kib: int


def clean_mappings(lines: Iterable[str]) -> Iterator[CleanMapping]:
    """Those of /proc/PID/smaps (proc_pid_smaps(5)) that hold nothing but what their file holds.

    The data that the loader relocates is read-only too, but its pages are private copies: they
    count as `Anonymous`, and dropping them would lose them.
    """
    head: re.Match[str] | None = None
    resident_kib = 0
    for line in lines:
        if found := _HEAD.match(line):
            head, resident_kib = found, 0
        elif head is None:
            continue
        elif line.startswith("Rss:"):
            resident_kib = int(line.split()[1])
        elif line.startswith(("Anonymous:", "Swap:", "Locked:")) and int(line.split()[1]):
            head = None
        elif line.startswith("VmFlags:"):
            flags = line.split()
            if _is_clean(head["rights"], head["inode"], flags) and resident_kib:
                start, end = int(head["start"], 16), int(head["end"], 16)
                yield CleanMapping(start, end - start, resident_kib)
            head = None


def _is_clean(rights: str, inode: str, flags: list[str]) -> bool:
    return rights in ("r--p", "r-xp") and inode != "0" and not {"lo", "pf", "io"} & set(flags)


def let_go_of_code() -> None:
    """Unmap clean pages of files (madvise(2), MADV_DONTNEED); where that is refused nothing is lost
    but the memory."""
    try:
        text = _SMAPS.read_text(encoding="ascii", errors="replace")
    except OSError:  # no /proc: memory is not worth an error
        return
    for mapping in list(clean_mappings(text.splitlines())):
        address, length = ctypes.c_void_p(mapping.start), ctypes.c_size_t(mapping.length_bytes)
        _LIBC.madvise(address, length, _MADV_DONTNEED)

"""A swap file: made, switched on, switched off, found again. Standard library only.

Sources: swapon(2), include/linux/swap.h (union swap_header, format of mkswap(8)), proc_swaps(5).
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path

FILE = "swapfile"
KEEP_FREE_BYTES = 256 << 20
"""So much stays free on the file system."""
_LIBC = ctypes.CDLL(None, use_errno=True)
_PAGE = os.sysconf("SC_PAGE_SIZE")
_HEADER = 1024
_MAGIC = b"SWAPSPACE2"
_LABEL = b"ktune"
_PREFERRED = 0x8000 | 0x7FFF
"""SWAP_FLAG_PREFER, highest priority: the run's pages go here, not to the host's own swap."""
_OCTAL = re.compile(r"\\([0-7]{3})")
_DELETED = " (deleted)"
_SWAPS = "/proc/swaps"


def make(path: Path, size_bytes: int) -> None:
    """A new file of that size with all its blocks, ours alone. Raises OSError, FileExistsError."""
    space = os.statvfs(path.parent)
    if space.f_bavail * space.f_frsize < size_bytes + KEEP_FREE_BYTES:
        need = (size_bytes + KEEP_FREE_BYTES) >> 20
        raise OSError(errno.ENOSPC, f"{need} MiB are wanted ({KEEP_FREE_BYTES >> 20} stay free)")
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(path, flags, 0o600)
    try:
        os.posix_fallocate(fd, 0, size_bytes)
        header = struct.pack("=III", 1, size_bytes // _PAGE - 1, 0) + os.urandom(16)
        os.pwrite(fd, header + _LABEL.ljust(16, b"\0"), _HEADER)
        os.pwrite(fd, _MAGIC, _PAGE - len(_MAGIC))
        os.fsync(fd)
    finally:
        os.close(fd)


def switch_on(path: Path) -> None:
    """Raises OSError; EINVAL: its file system can't hold swap."""
    _call("swapon", path, _PREFERRED)


def switch_off(path: Path) -> None:
    """What was swapped out is read back first. Raises OSError (ENOMEM: it does not fit)."""
    while True:
        try:
            _call("swapoff", path)
        except InterruptedError:
            continue
        return


def is_on(path: Path) -> bool:
    """Whether the kernel swaps to it."""
    return os.path.realpath(path) in switched_on()


def switched_on() -> list[str]:
    """Every swap area of this host, by path; none where the kernel tells or has none."""
    return list(areas(_swaps()))


def has_swap() -> bool:
    """Whether this kernel can swap at all (CONFIG_SWAP)."""
    return os.path.exists(_SWAPS)


def areas(text: str) -> Iterator[str]:
    r"""The paths in the text of /proc/swaps.

    >>> list(areas("Filename Type Size Used Priority\n/a\\040b file 8 0 -2\n"))
    ['/a b']
    """
    for line in text.splitlines()[1:]:
        name = _OCTAL.sub(
            lambda match: chr(int(match[1], 8)), line.partition(" ")[0].split("\t")[0]
        )
        yield name.removesuffix(_DELETED)


def _swaps() -> str:
    try:
        return Path(_SWAPS).read_text(encoding="utf-8", errors="surrogateescape")
    except (FileNotFoundError, PermissionError):
        return ""


def _call(name: str, path: Path, *flags: int) -> None:
    if getattr(_LIBC, name)(os.fsencode(path), *flags):
        code = ctypes.get_errno()
        raise OSError(code, f"{name} {path}: {os.strerror(code)}")

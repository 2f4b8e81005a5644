"""The file system in which programs and maps have names: bpffs. Standard library only."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from ktune.kernel.bpf.library import BpfError

USUAL = "/sys/fs/bpf"
_LIBC = ctypes.CDLL(None, use_errno=True)


def bpffs() -> str | None:
    """Where it is mounted, the usual place first; None: nowhere. Raises OSError."""
    text = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    found = [
        fields.split()[4]
        for fields, _, tail in (line.partition(" - ") for line in text.splitlines())
        if tail.startswith("bpf ")
    ]
    return USUAL if USUAL in found else found[0] if found else None


def mounted_bpffs() -> str:
    """The same; mounts it at the usual place where it is not, as iproute2 does.

    Raises:
        BpfError: it can't be mounted.
    """
    there = bpffs()
    if there is not None:
        return there
    if _LIBC.mount(b"bpf", USUAL.encode(), b"bpf", ctypes.c_ulong(0), b"mode=0700"):
        code = ctypes.get_errno()
        raise BpfError(code, f"no bpffs is mounted, and mounting {USUAL}: {os.strerror(code)}")
    return USUAL

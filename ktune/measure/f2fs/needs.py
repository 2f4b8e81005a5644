"""What an f2fs of one's own needs of this host. Looks, touches nothing. Standard library only."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ktune.kernel.programs import WORKLOAD_PATH

MKFS = "mkfs.f2fs"
_FILE_SYSTEMS = Path("/proc/filesystems")
_MODULES = Path("/lib/modules")


def mkfs() -> str | None:
    """The path of mkfs.f2fs, None where it is not installed."""
    return shutil.which(MKFS, path=WORKLOAD_PATH)


def missing() -> str:
    """Everything that is missing, for people; empty: nothing is."""
    found = []
    if not _has_f2fs():
        found.append(
            f"this kernel ({os.uname().release}) has no f2fs, built in or as a module "
            "(CONFIG_F2FS_FS)"
        )
    if not os.path.exists("/dev/loop-control") and not _is_module("loop"):
        found.append("no loop devices (/dev/loop-control is missing)")
    if mkfs() is None:
        found.append(f"{MKFS} is not installed (apt-get install f2fs-tools)")
    return "; ".join(found)


def _has_f2fs() -> bool:
    known = _FILE_SYSTEMS.read_text(encoding="ascii").split()
    return "f2fs" in known or _is_module("f2fs")


def _is_module(name: str) -> bool:
    """Whether modprobe would find it, by modules.dep(5)."""
    try:
        listed = (_MODULES / os.uname().release / "modules.dep").read_text(encoding="utf-8")
    except OSError:
        return False
    return f"/{name}.ko" in listed

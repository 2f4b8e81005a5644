"""Servers that runs have started: who, where, since when. Standard library only.

Each has a lock in the state folder that is held as long as its run lives.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LOCK_SUFFIX = ".lock"


@dataclass(frozen=True)
class RunningService:
    """What `ktune status` tells of a service. `held`: its run lives."""

    name: str
    kind: str
    profile: str
    version: str
    pid: int
    """Of the ktune that started it."""
    since: str
    socket: str
    port: int | None = None
    held: bool = True


def running_services(state: Path) -> Iterator[RunningService]:
    """Services of runs that live, and folders that dead runs have left."""
    for lock in sorted((state / "services" / "run").glob(f"*{LOCK_SUFFIX}")):
        try:
            fd = os.open(lock, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            continue  # closed to us, or just gone
        try:
            held = _is_held(fd)
            fields: dict[str, Any] = json.loads(os.pread(fd, 1 << 16, 0) or b"null") or {}
            if fields and (held or lock.with_suffix("").is_dir()):
                yield RunningService(**{**fields, "held": held})
        except (ValueError, TypeError):
            continue  # written just now, or by another version
        finally:
            os.close(fd)


def _is_held(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False

"""Memory cgroups (version 1) with a limit. Standard library only.

Source: Documentation/admin-guide/cgroup-v1/memory.rst. Such a group takes its swappiness over
from the one above it when it is made, and vm.swappiness is that of the root alone: a group for each
window gets the value that is in force then, as every group of cgroup2 has it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import signal
import time
from pathlib import Path

PREFIX = "ktune-swap-"
_PATIENCE_S = 10.0
_PAUSE_S = 0.005
_NAME = re.compile(r"ktune-(swap|window)-[0-9-]+\Z")


class NoMemoryGroup(Exception):
    """Why there can be none here: text for people."""


class MemoryGroup:
    """One of ours, at this path."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, below: Path, name: str, limit_bytes: int | None = None) -> MemoryGroup:
        """A new one, with the swappiness of the host. Raises OSError; then there is none."""
        path = below / name
        path.mkdir(mode=0o755)
        try:
            if limit_bytes is not None:
                _write(path / "memory.limit_in_bytes", str(limit_bytes))
                swappiness = Path("/proc/sys/vm/swappiness").read_text(encoding="ascii")
                _write(path / "memory.swappiness", swappiness.strip())
        except BaseException:
            path.rmdir()
            raise
        return cls(path)

    def join(self) -> None:
        """Move the calling process in. Raises OSError."""
        _write(self.path / "cgroup.procs", "0")

    def end(self) -> None:
        """Kill all in it and in the groups inside it, and remove them. Raises OSError when one does
        not die in time."""
        if not _NAME.match(self.path.name):
            raise OSError(errno.EINVAL, f"{self.path} is none of ours")
        for inner in _inner(self.path):
            MemoryGroup(inner).end()
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            self._kill()
            try:
                self.path.rmdir()
            except FileNotFoundError:
                return
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_PAUSE_S)
            else:
                return

    def remove(self) -> None:
        """The same, of one that should be empty: page cache that it has paid for goes first."""
        with contextlib.suppress(OSError):
            _write(self.path / "memory.force_empty", "0")
        self.end()

    def _kill(self) -> None:
        with contextlib.suppress(OSError):
            for pid in map(int, (self.path / "cgroup.procs").read_text(encoding="ascii").split()):
                with contextlib.suppress(ProcessLookupError):
                    if (
                        pid > 0
                    ):  # 0 is one of another namespace (cgroups(7)), and for kill(2) ourselves
                        os.kill(pid, signal.SIGKILL)


def own_memory_group() -> Path:
    """The folder of our own memory cgroup (version 1). Raises NoMemoryGroup."""
    try:
        mount = _mounted(Path("/proc/self/mountinfo").read_text(encoding="utf-8"))
        mine = _mine(Path("/proc/self/cgroup").read_text(encoding="utf-8"))
    except OSError as error:
        raise NoMemoryGroup(f"this host's cgroups can't be read: {error}") from error
    if mount is None or mine is None:
        raise NoMemoryGroup("no memory controller of cgroup version 1 is mounted here")
    part, folder = mount
    inside = os.path.relpath(mine, part)
    path = Path(os.path.normpath(f"{folder}/{inside}"))
    if inside.startswith("..") or not os.access(path, os.W_OK):
        raise NoMemoryGroup(f"no memory cgroup can be made in {path}")
    return path


def _mounted(mountinfo: str) -> tuple[str, str] | None:
    """(which part of the hierarchy, where) by proc_pid_mountinfo(5); the last is what is seen."""
    found = None
    for line in mountinfo.splitlines():
        fields, _, tail = line.partition(" - ")
        kind, _, options = tail.split(" ", 2)
        if kind == "cgroup" and "memory" in options.split(","):
            _, _, _, part, folder, *_ = fields.split()
            found = part, folder
    return found


def _mine(cgroups: str) -> str | None:
    """Our own path in the hierarchy, by cgroups(7)."""
    for line in cgroups.splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            return path
    return None


def _inner(path: Path) -> list[Path]:
    try:
        return [entry for entry in path.iterdir() if entry.is_dir()]
    except OSError:
        return []


def _write(path: Path, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    except OSError as error:
        raise OSError(error.errno, f"{path}: {error.strerror}") from error
    finally:
        os.close(fd)

"""Survive what kills the tuner: own session, own cgroups, low out-of-memory score.

Each hardening is tried; what failed is reported, never fatal. Standard library only.
"""

from __future__ import annotations

import ctypes
import os
import signal
from contextlib import suppress
from dataclasses import dataclass, field

_MCL_CURRENT = 1
_MCL_FUTURE = 2
_ESCAPED = ("memory", "pids", "freezer", "cpu")
"""cgroup v1 controllers whose limits or kills must not reach the guardian."""
_PREFIX = "ktune-guardian-"


@dataclass
class Isolation:
    """What was done, in words for `doctor`, and what must be cleaned up."""

    report: dict[str, str] = field(default_factory=dict)
    cgroups: list[tuple[str, str]] = field(default_factory=list)
    """(own folder, folder of the parent) for each cgroup made."""

    def in_cgroup2(self) -> list[str]:
        """Our own groups of cgroup2."""
        return [own for own, _ in self.cgroups if os.path.exists(f"{own}/cgroup.controllers")]

    def leave(self) -> None:
        """Move back to the hierarchy's root and remove our folders (an empty one is harmless)."""
        for own, root in reversed(self.cgroups):
            with suppress(OSError):
                _join(root)
                os.rmdir(own)


def isolate(*, lock_memory: bool) -> Isolation:
    """Apply every hardening that this host allows."""
    done = Isolation()
    _attempt(done, "session", os.setsid)
    for name in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE, signal.SIGTSTP):
        signal.signal(name, signal.SIG_IGN)
    done.report["signals"] = "ok"
    _attempt(done, "oom_score_adj", _lower_oom_score)
    if os.geteuid() == 0:
        for root in _hierarchies():
            _attempt(done, f"cgroup {root}", lambda root=root: _own_cgroup(done, root))
    if lock_memory:
        _attempt(done, "locked memory", _lock_memory)
    return done


def _attempt(done: Isolation, name: str, action: object) -> None:
    try:
        action()  # type: ignore[operator]
    except OSError as error:
        done.report[name] = f"failed: {error.strerror or error}"
    else:
        done.report[name] = "ok"


def _lower_oom_score() -> None:
    try:
        _write("/proc/self/oom_score_adj", "-1000")
    except OSError:
        _write("/proc/self/oom_score_adj", "0")
        raise


def _hierarchies() -> list[str]:
    """Mount points of cgroup2 and of the v1 controllers that could hurt us."""
    found = []
    with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as file:
        for line in file:
            fields, _, tail = line.partition(" - ")
            kind, _, options = tail.strip().partition(" ")
            mount = fields.split()[4]
            words = options.rsplit(" ", 1)[-1].split(",")
            if kind == "cgroup2" or (kind == "cgroup" and set(words) & set(_ESCAPED)):
                found.append(mount)
    return found


def _own_cgroup(done: Isolation, root: str) -> None:
    _sweep(root)
    own = os.path.join(root, f"{_PREFIX}{os.getpid()}")
    os.mkdir(own)
    done.cgroups.append((own, root))
    _join(own)


def _sweep(root: str) -> None:
    """Remove the empty folders of guardians that were killed; rmdir refuses those in use."""
    for name in os.listdir(root):
        pid = name.removeprefix(_PREFIX)
        if pid != name and not os.path.exists(f"/proc/{pid}"):
            with suppress(OSError):
                os.rmdir(os.path.join(root, name))


def _join(folder: str) -> None:
    _write(os.path.join(folder, "cgroup.procs"), str(os.getpid()))


def _lock_memory() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(_MCL_CURRENT | _MCL_FUTURE):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)

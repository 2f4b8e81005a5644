"""Where cgroup2 is mounted. Standard library only."""

from __future__ import annotations

from pathlib import Path


def cgroup2_root() -> str | None:
    """The mount point of cgroup2 (unified or hybrid), None without one. Raises OSError.

    A mount of the hierarchy's root (of this cgroup namespace) goes before one of a part of it; of
    several over the same folder only the last can be seen.
    """
    text = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    return visible_root(text)


def visible_root(mountinfo: str) -> str | None:
    r"""The same from the text of `/proc/PID/mountinfo` (proc_pid_mountinfo(5)).

    >>> visible_root("9 1 0:2 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw")
    '/sys/fs/cgroup'
    """
    parts: dict[str, str] = {}
    for line in mountinfo.splitlines():
        fields, _, tail = line.partition(" - ")
        _, _, _, part, folder, *_ = fields.split()
        parts.pop(folder, None)
        if tail.startswith("cgroup2 "):
            parts[folder] = part
    whole = [folder for folder, part in parts.items() if part == "/"]
    chosen = [*whole, *parts][:1]
    return chosen[0].replace("\\040", " ") if chosen else None

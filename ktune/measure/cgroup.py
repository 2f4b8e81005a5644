"""A cgroup2 child for one window, where the host lets us make one. Standard library only.

It needs no controller: it is there so that `cgroup.kill` (Linux >= 5.14, cgroup-v2.rst) ends
every process of the workload at once, those too that left its session and process group.
"""

from __future__ import annotations

import os
import time

from ktune.kernel.cgroup2 import cgroup2_root

PREFIX = "ktune-window-"


class WindowCgroup:
    """One cgroup below our own; removed after the window."""

    def __init__(self, path: str) -> None:
        self.path = path

    @classmethod
    def create(cls, name: str, below: str | None = None) -> WindowCgroup | None:
        """A new child of our own cgroup (or of `below`), or None where that is not possible."""
        parent = below or own_cgroup()
        if parent is None:
            return None
        path = os.path.join(parent, name)
        try:
            os.mkdir(path, 0o755)
        except OSError:
            return None
        group = cls(path)
        if not os.access(os.path.join(path, "cgroup.kill"), os.W_OK):
            group.remove()
            return None
        return group

    def join(self) -> None:
        """Move the calling process in. Raises OSError."""
        _write(os.path.join(self.path, "cgroup.procs"), "0")

    def members(self) -> list[int]:
        """The processes inside, zombies excluded by the kernel."""
        try:
            with open(os.path.join(self.path, "cgroup.procs"), encoding="ascii") as file:
                return [int(line) for line in file]
        except OSError:
            return []

    def kill(self) -> None:
        """SIGKILL to every process inside, forks included."""
        try:
            _write(os.path.join(self.path, "cgroup.kill"), "1")
        except OSError:
            return

    def remove(self, *, patience_s: float = 2.0) -> bool:
        """Remove it and the groups inside it once they are empty. False when something in them
        refuses to die."""
        deadline = time.monotonic() + patience_s
        if not self.remove_inner(patience_s=patience_s):
            return False
        while True:
            try:
                os.rmdir(self.path)
            except FileNotFoundError:
                return True
            except OSError:
                if time.monotonic() > deadline:
                    return False
                time.sleep(0.002)
            else:
                return True

    def end_inner(self) -> None:
        """SIGKILL to every process of the groups inside it, and remove these."""
        for path in _inner(self.path):
            group = WindowCgroup(path)
            group.kill()
            group.remove()

    def remove_inner(self, *, patience_s: float = 2.0) -> bool:
        """Remove the groups inside it, which are empty or die now. False: one does not."""
        gone = [WindowCgroup(path).remove(patience_s=patience_s) for path in _inner(self.path)]
        return all(gone)


def _inner(path: str) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def sweep() -> None:
    """Remove the empty cgroups of runs that were killed (`ktune-window-PID-...`, with what is left
    inside). Once for each spawner: a window must not pay for it. What can't be listed or removed
    harms nobody."""
    parent = own_cgroup()
    if parent is None:
        return
    try:
        names = os.listdir(parent)
    except OSError:
        return
    for name in names:
        pid = name.removeprefix(PREFIX).partition("-")[0]
        if name.startswith(PREFIX) and not os.path.exists(f"/proc/{pid}"):
            WindowCgroup(os.path.join(parent, name)).remove(patience_s=0)


def own_cgroup() -> str | None:
    """The folder of our own cgroup in the cgroup2 hierarchy, wherever that is mounted."""
    try:
        mount = cgroup2_root()
        if mount is None:
            return None
        with open("/proc/self/cgroup", encoding="utf-8") as file:
            for line in file:
                if line.startswith("0::"):
                    path = os.path.normpath(mount + line[3:].rstrip("\n"))
                    return path if os.path.isdir(path) else None
    except OSError:
        pass
    return None


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)

"""Finds cgroups: of a unit, of a process, of a path; version 2 and 1. Reads only.

Sources: cgroups(7), proc_pid_cgroup(5), proc_pid_mountinfo(5).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from ktune.measure.attach.files import read_kernel_file

_DEEPEST = 8
_MOST_FOLDERS = 20_000
_ESCAPES = (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\"))


@dataclass(frozen=True)
class Hierarchy:
    """A mounted hierarchy; `controllers` is empty for version 2."""

    mount: str
    root: str
    controllers: frozenset[str]

    @property
    def unified(self) -> bool:
        return not self.controllers


def hierarchies() -> tuple[Hierarchy, ...]:
    """Everything mounted, version 2 first. Raises OSError."""
    found = []
    for line in read_kernel_file("/proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        fields, (kind, _, options) = before.split(), after.split(" ", 2)
        mount, root = _unescaped(fields[4]), _unescaped(fields[3])
        if kind == "cgroup2":
            found.append(Hierarchy(mount, root, frozenset()))
        elif kind == "cgroup":
            found.append(Hierarchy(mount, root, frozenset(options.split(","))))
    return tuple(sorted(found, key=lambda item: not item.unified))


def folders_of_unit(unit: str) -> tuple[str, ...]:
    """Every cgroup folder of that name, one of a hierarchy at most; version 2 first.

    Raises LookupError when a hierarchy has several of that name.
    """
    found = []
    for hierarchy in hierarchies():
        here = [path for path in _below(hierarchy.mount) if os.path.basename(path) == unit]
        if len(here) > 1:
            raise LookupError(f"there are {len(here)} cgroups called {unit}: {', '.join(here[:3])}")
        found += here
    return tuple(found)


def is_cgroup(path: str) -> bool:
    """Whether a real path (no links) is a folder of a cgroup hierarchy."""
    return any(
        path == item.mount or path.startswith(item.mount.rstrip("/") + "/")
        for item in hierarchies()
    ) and os.path.isfile(os.path.join(path, "cgroup.procs"))


def members(folder: str) -> tuple[int, ...]:
    """The processes of a cgroup and everything below it. Raises OSError when it is gone."""
    pids = _procs(folder)
    for path in _below(folder):
        try:
            pids += _procs(path)
        except OSError:
            continue  # it ended while we looked
    return tuple(dict.fromkeys(pids))


def folders_of_process(cgroup_text: str) -> Iterator[tuple[Hierarchy, str]]:
    """The folders of /proc/PID/cgroup; a root folder is left out, it is everybody's."""
    rows = [line.split(":", 2) for line in cgroup_text.splitlines() if line.count(":") >= 2]
    for hierarchy in hierarchies():
        for _, controllers, path in rows:
            ours = (
                not controllers
                if hierarchy.unified
                else bool(controllers) and set(controllers.split(",")) <= hierarchy.controllers
            )
            inside = _inside(hierarchy.root, path)
            if ours and inside:
                yield hierarchy, os.path.join(hierarchy.mount, inside)


def _inside(root: str, path: str) -> str:
    """`path` relative to what is mounted; empty for the mount's own root or what lies outside."""
    if root != "/":
        if not path.startswith(f"{root}/"):
            return ""
        path = path[len(root) :]
    return path.strip("/")


def _procs(folder: str) -> list[int]:
    text = read_kernel_file(os.path.join(folder, "cgroup.procs"))
    return [int(line) for line in text.split()]


def _below(folder: str) -> Iterator[str]:
    seen = 0
    base = folder.rstrip("/").count("/")
    for path, names, _ in os.walk(folder):
        if path.count("/") - base >= _DEEPEST:
            names.clear()
        for name in names:
            seen += 1
            if seen > _MOST_FOLDERS:
                return
            yield os.path.join(path, name)


def _unescaped(text: str) -> str:
    for code, char in _ESCAPES:
        text = text.replace(code, char)
    return text

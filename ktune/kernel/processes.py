"""All processes and the CPU time that each has had. Standard library only; reads only.

Source: proc_pid_stat(5). Times are in clock ticks (sysconf(_SC_CLK_TCK)), rounded down by the
kernel from what the scheduler counted, so that they add up over a window.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass

TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")
_PF_KTHREAD = 0x00200000
"""include/linux/sched.h"""
_KTHREADD = 2
_READ_BYTES = 2048

ProcessKey = tuple[int, int]
"""Process id and start time in ticks after boot: ids are used again."""


@dataclass(frozen=True, slots=True)
class ProcessTime:
    """One process. `ticks`: its own CPU time and that of the children it has waited for."""

    pid: int
    start_ticks: int
    parent: int
    name: str
    """At most 15 bytes (comm)."""
    ticks: int
    kernel_thread: bool


Processes = Mapping[ProcessKey, ProcessTime]


def all_processes(proc: str = "/proc") -> dict[ProcessKey, ProcessTime]:
    """Everything that /proc shows the caller. Raises OSError when there is no /proc."""
    found = {}
    for entry in os.listdir(proc):
        if not entry.isdecimal():
            continue
        try:
            fd = os.open(f"{proc}/{entry}/stat", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue  # it has ended, or it is hidden from us (`hidden_processes` says so)
        try:
            item = process_time(os.read(fd, _READ_BYTES))
        except (OSError, ValueError, IndexError):
            continue  # it ended while it was read
        finally:
            os.close(fd)
        found[item.pid, item.start_ticks] = item
    return found


def process_time(stat: bytes) -> ProcessTime:
    """From the text of /proc/PID/stat. Raises ValueError, IndexError.

    >>> process_time(b"7 (a) b) S 1 7 7 0 -1 4194560 0 0 0 0 3 4 5 6 20 0 1 0 99 0").ticks
    18
    """
    opened, closed = stat.index(b"("), stat.rindex(b")")
    fields = stat[closed + 2 :].split()
    return ProcessTime(
        pid=int(stat[:opened]),
        start_ticks=int(fields[19]),
        parent=int(fields[1]),
        name=stat[opened + 1 : closed].decode("utf-8", "replace"),
        ticks=sum(map(int, fields[11:15])),
        kernel_thread=bool(int(fields[6]) & _PF_KTHREAD),
    )


def family(processes: Processes, roots: Collection[int]) -> set[int]:
    """The ids of `roots` and of all their descendants."""
    children: dict[int, list[int]] = {}
    for item in processes.values():
        children.setdefault(item.parent, []).append(item.pid)
    found: set[int] = set()
    waiting = list(roots)
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            found.add(pid)
            waiting += children.get(pid, ())
    return found


def spent_outside(
    before: Processes, after: Processes, inside: Collection[int]
) -> dict[ProcessKey, int]:
    """Ticks that each process outside of `inside` (ids) has spent between two looks.

    Kernel threads are left out: they work for whoever asked them to. What ended in between counts
    with whoever waited for it, less what it had spent before.
    """
    spent = {}
    for key, item in after.items():
        if not item.kernel_thread and item.pid not in inside:
            known = before.get(key)
            spent[key] = item.ticks - (known.ticks if known else 0)
    by_pid = {item.pid: item for item in before.values()}
    for key, item in before.items():
        if key in after or item.pid in inside:
            continue
        heir = _heir(item, by_pid, after)
        if heir in spent:
            spent[heir] -= item.ticks
    return {key: ticks for key, ticks in spent.items() if ticks > 0}


def _heir(
    dead: ProcessTime, by_pid: Mapping[int, ProcessTime], after: Processes
) -> ProcessKey | None:
    """The nearest ancestor that lives: it has waited for what ended below it."""
    parent = by_pid.get(dead.parent)
    for _ in range(len(by_pid)):
        if parent is None:
            return None
        if (key := (parent.pid, parent.start_ticks)) in after:
            return key
        parent = by_pid.get(parent.parent)
    return None


def hidden_processes(proc: str = "/proc") -> str:
    """Why /proc does not show every process of the machine; empty: it does."""
    try:
        with open(f"{proc}/1/stat", "rb") as file:
            process_time(file.read())
    except OSError:
        return "/proc hides the processes of other users (hidepid)"
    try:
        with open(f"{proc}/{_KTHREADD}/stat", "rb") as file:
            if process_time(file.read()).kernel_thread:
                return ""
    except (OSError, ValueError, IndexError):
        pass
    return "only the processes of this container can be seen"

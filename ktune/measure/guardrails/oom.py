"""OOM kills: of the machine, of the workload's cgroup, or any.

`oom_kill` in /proc/vmstat counts every task killed, at the limit of any memory cgroup included, so
a container that dies at its own limit would make a good candidate look bad. The kernel log tells
the two apart (`Memory cgroup out of memory: Killed process` for each task, mm/oom_kill.c). A
cgroup's own counter is `oom_kill` in memory.events (with its children) or in memory.oom_control
(version 1, its own tasks only).
"""

from __future__ import annotations

import os
import re
import select
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ktune.measure.guardrails.kernel_log import LogRecord, is_memcg_kill
from ktune.measure.guardrails.kmsg import KernelLog
from ktune.measure.guardrails.source import Guardrail, KeptFile, Unwatchable, reason_of
from ktune.profile.guards import KillsOf

_WOKEN_S, _SOON_S = 5.0, 0.2
"""Between looks where a line of the kernel log wakes us; for a second look."""
_COUNTER = re.compile(rb"^oom_kill ([0-9]{1,20})$", re.M)


def oom_kills(text: bytes) -> int:
    """The counter of /proc/vmstat, memory.events or memory.oom_control. Raises ValueError.

    >>> oom_kills(b"nr_free_pages 1\\noom_kill 3\\n")
    3
    """
    match = _COUNTER.search(text)
    if match is None:
        raise ValueError("no oom_kill counter (Linux < 4.13?)")
    return int(match[1])


@dataclass(frozen=True)
class WorkloadGroup:
    """The file that counts OOM kills of the workload's memory cgroup; None, and why, without."""

    counter: str | None
    reason: str = ""


def group_of_process(pid: int | str = "self", *, proc: str = "/proc") -> WorkloadGroup:
    """The memory cgroup that a process is in."""
    try:
        with open(f"{proc}/{pid}/cgroup", encoding="utf-8", errors="surrogateescape") as file:
            groups = file.read()
        with open(f"{proc}/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            mounts = file.read()
    except OSError as error:
        return WorkloadGroup(None, reason_of(error))
    for path in cgroup_files(groups, mounts):
        if os.path.exists(path):
            return WorkloadGroup(path)
    return WorkloadGroup(None, "the workload's cgroup has no memory accounting of its own")


def cgroup_files(groups: str, mounts: str) -> list[str]:
    """Where the counter may be, by /proc/PID/cgroup and mountinfo (proc(5)): version 1 first,
    because where it has the memory controller version 2 has not."""
    v1 = v2 = None
    for row in groups.splitlines():
        number, _, rest = row.partition(":")
        controllers, _, path = rest.partition(":")
        if "memory" in controllers.split(","):
            v1 = path
        elif number == "0" and not controllers:
            v2 = path
    found = []
    for row in mounts.splitlines():
        before, _, after = row.partition(" - ")
        left, right = before.split(), after.split()
        if len(left) < 5 or len(right) < 3:
            continue
        root, mount = left[3], left[4]
        if right[0] == "cgroup" and "memory" in right[2].split(",") and v1 is not None:
            found.append(_joined(mount, root, v1, "memory.oom_control"))
        elif right[0] == "cgroup2" and v2 is not None:
            found.append(_joined(mount, root, v2, "memory.events"))
    return sorted(found, key=lambda path: path.endswith("memory.events"))


def _joined(mount: str, root: str, path: str, name: str) -> str:
    """A mount may show a part of the hierarchy only (a container's)."""
    inside = path.removeprefix(root.rstrip("/")) if root != "/" else path
    return os.path.normpath(f"{mount}/{inside}/{name}")


class _MachineCounter:
    """Growth of /proc/vmstat since `start`."""

    def __init__(self, read: Callable[[], bytes]) -> None:
        self._read = read
        self._at_start = 0

    def start(self) -> None:
        self._at_start = oom_kills(self._read())

    def grown(self) -> int:
        return oom_kills(self._read()) - self._at_start


class _GroupCounter:
    """Growth of a cgroup's counter since `start`. A service that restarts gets a new cgroup of the
    same name, which counts from 0; while it has none, nothing grows."""

    def __init__(self, path: str) -> None:
        """Raises OSError."""
        self._path = path
        self._file: KeptFile | None = KeptFile(path)
        self._at_start = 0
        self._grown = 0

    def start(self) -> None:
        self._grown = 0
        self._at_start = self._count() or 0

    def grown(self) -> int:
        count = self._count()
        if count is not None:
            self._grown = count - self._at_start
        return self._grown

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _count(self) -> int | None:
        if self._file is not None:
            try:
                return oom_kills(self._file.read())
            except OSError:  # ENODEV: the cgroup is gone
                self.close()
        try:
            self._file = KeptFile(self._path)
            count = oom_kills(self._file.read())
        except OSError:
            return None
        self._at_start = -self._grown
        return count


class OomKills(Guardrail):
    """More OOM kills in a window than allowed."""

    name = "oom_kills"
    every_s = 0.5

    def __init__(
        self,
        of: KillsOf,
        above: int,
        *,
        log: KernelLog | None = None,
        cgroup: WorkloadGroup | None = None,
        read_machine: Callable[[], bytes] | None = None,
    ) -> None:
        self._of = of
        self._above = above
        self._log = log
        self._group = cgroup or WorkloadGroup(None, "nobody said which cgroup is the workload's")
        self._read_machine = read_machine
        self._vmstat: KeptFile | None = None
        self._machine: _MachineCounter | None = None
        self._cgroup: _GroupCounter | None = None
        self._at_limits = 0
        self._unexplained = 0

    def open(self) -> str:
        """See Guardrail."""
        if self._of is KillsOf.WORKLOAD and self._group.counter is None:
            raise Unwatchable(self._group.reason)
        note = self._hear_the_log() if self._of is KillsOf.MACHINE else ""
        try:
            if self._of is not KillsOf.ANY and self._group.counter is not None:
                self._cgroup = _GroupCounter(self._group.counter)
            if self._of is not KillsOf.WORKLOAD:
                self._machine = _MachineCounter(self._read_machine or self._open_vmstat())
            self.start()
        except OSError as error:
            raise Unwatchable(reason_of(error)) from None
        except ValueError as error:
            raise Unwatchable(str(error)) from None
        return note

    def start(self) -> None:
        """See Guardrail: OOM kills from before do not count."""
        if self._log is not None:
            self._log.pump()
        for counter in (self._machine, self._cgroup):
            if counter is not None:
                counter.start()
        self._at_limits = self._unexplained = 0

    forget = start

    def crossed(self, now_s: float) -> str | None:
        """See Guardrail."""
        killed = self._killed()
        if killed <= self._above:
            return None
        where = {KillsOf.WORKLOAD: " in the workload's cgroup"}.get(self._of, "")
        return f"{killed} OOM kills{where} in the window (limit {self._above})"

    def fds(self) -> Mapping[int, int]:
        """See Guardrail."""
        fd = self._log.fd() if self._log is not None else None
        return {} if fd is None else {fd: select.POLLIN}

    def close(self) -> None:
        """See Guardrail."""
        if self._vmstat is not None:
            self._vmstat.close()
            self._vmstat = None
        if self._cgroup is not None:
            self._cgroup.close()
        if self._log is not None:
            self._log.leave(self._hear)
        self._machine = self._cgroup = None

    def _killed(self) -> int:
        own = self._cgroup.grown() if self._cgroup else 0
        if self._machine is None:
            return own
        everywhere = self._machine.grown()
        if self._of is KillsOf.ANY or self._log is None:
            return everywhere
        self._log.pump()
        # The counter moves a moment before the line is written: what no line explains counts from
        # the second look on.
        for_want_of_memory = max(0, everywhere - self._at_limits)
        seen_twice = min(for_want_of_memory, self._unexplained)
        self._unexplained = for_want_of_memory
        self.every_s = _SOON_S if seen_twice < for_want_of_memory else _WOKEN_S
        return seen_twice + min(own, self._at_limits)

    def _hear(self, record: LogRecord) -> None:
        self._at_limits += is_memcg_kill(record)

    def _hear_the_log(self) -> str:
        if self._log is not None:
            try:
                self._log.listen(self._hear)
            except OSError as error:
                self._log = None
                why = reason_of(error)
                return f"{why}: kills at the limit of any cgroup count too, not only machine-wide"
            self.every_s = _WOKEN_S
        return ""

    def _open_vmstat(self) -> Callable[[], bytes]:
        self._vmstat = KeptFile("/proc/vmstat")
        return self._vmstat.read

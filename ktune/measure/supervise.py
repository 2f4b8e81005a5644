"""Run one job to its end and leave no process behind. Standard library only, single-threaded.

The command's own exit ends the window. Whatever it left running is killed then: its cgroup where
there is one, and in any case every process that fell to us as subreaper (prctl(2)), so that
a daemon in its own session does not escape. Both pipes are drained all the time, so a command
that prints without end never blocks and never fills our memory.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import signal
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ktune.measure.cgroup import WindowCgroup
from ktune.measure.clone import CLONE_NEWIPC, CLONE_NEWPID, fork_into
from ktune.measure.job import Job, Leftover, Outcome
from ktune.measure.prepare import Groups, Streams, become
from ktune.measure.scratch import Scratch
from ktune.measure.swap.memory_group import MemoryGroup

_CHUNK = 1 << 16
_KILL_PATIENCE_S = 5.0


class _Tail:
    """The last `limit` bytes of a pipe: programs print their result at the end."""

    def __init__(self, fd: int, limit: int) -> None:
        self.fd, self._limit = fd, limit
        self._data = bytearray()
        self.truncated = False
        self.open = True
        os.set_blocking(fd, False)

    def drain(self) -> None:
        """Take what is there."""
        for _ in range(64):
            try:
                chunk = os.read(self.fd, _CHUNK)
            except BlockingIOError:
                return
            if not chunk:
                self.close()
                return
            self._data += chunk
            if len(self._data) > 2 * self._limit:
                self._trim()

    def text(self) -> str:
        """What was kept."""
        if len(self._data) > self._limit:
            self._trim()
        return self._data.decode("utf-8", "replace")

    def close(self) -> None:
        """Stop listening."""
        if self.open:
            self.open = False
            os.close(self.fd)

    def _trim(self) -> None:
        self.truncated = True
        del self._data[: len(self._data) - self._limit]


@dataclass
class Begun:
    """A child that has become all but the command: it waits for one byte in `go` to execute it.

    Without that byte it never does: end of file there, or our death, ends it.
    """

    job: Job
    pid: int
    group: WindowCgroup | None
    go: int
    fail: int
    out: _Tail
    err: _Tail
    scratch: Scratch | None = None
    memory: MemoryGroup | None = None

    @property
    def sound(self) -> bool:
        """Nothing has gone wrong with it so far."""
        return not select.select([self.fail], [], [], 0)[0]

    def discard(self) -> None:
        """End it; its command never runs."""
        for fd in (self.go, self.fail):
            os.close(fd)
        self.out.close()
        self.err.close()
        _kill([self.pid])
        os.waitpid(self.pid, 0)
        self.leave()

    def leave(self) -> None:
        """Its cgroups go, with whoever is still in them."""
        if self.group is not None:
            self.group.kill()
            self.group.remove()
        if self.memory is not None:
            with contextlib.suppress(
                OSError
            ):  # stuck in the kernel: whoever made the one above it sees
                self.memory.remove()


def begin(job: Job, group_name: str, scratch: Scratch | None = None) -> Begun:
    """Start a child for `job` up to the last step, in `scratch` (its caller's to remove).

    Raises OSError when there is none to be had.
    """
    memory = None
    if job.memory_below:
        memory = MemoryGroup.create(Path(job.memory_below), group_name, job.memory_bytes)
    group = WindowCgroup.create(group_name)
    pipes = [os.pipe() for _ in range(4)]
    (out_read, out_write), (err_read, err_write), (fail_read, fail_write), (go_read, go) = pipes
    sys.stdout.flush()
    parent = os.getpid()
    try:
        pid, to_join = _fork(group, own_pids=job.own_pids)
    except OSError:
        for fd in itertools.chain(*pipes):
            os.close(fd)
        if group is not None:
            group.remove()
        if memory is not None:
            memory.remove()
        raise
    if pid == 0:
        streams = Streams(stdout=out_write, stderr=err_write, fail=fail_write, go=go_read)
        home = "/" if scratch is None else scratch.path
        groups = Groups(to_join, memory)
        become(job, groups, streams, parent=parent, home=home)
    for fd in (out_write, err_write, fail_write, go_read):
        os.close(fd)
    limit = job.output_limit
    out, err = _Tail(out_read, limit), _Tail(err_read, limit // 8 or 1)
    return Begun(job, pid, group, go, fail_read, out, err, scratch, memory)


def run(begun: Begun, control: int) -> Outcome:
    """Run the command to its end; a readable `control` (a request to stop, or the tuner's death)
    ends it early."""
    try:
        started_s = time.monotonic()  # later, a busy machine would make the command seem faster
        with contextlib.suppress(BrokenPipeError):  # it has failed and says why
            os.write(begun.go, b"g")
        os.close(begun.go)
        return _run(begun, control, started_s)
    finally:
        begun.leave()


def _run(begun: Begun, control: int, started_s: float) -> Outcome:
    job, pid, group, out, err = begun.job, begun.pid, begun.group, begun.out, begun.err
    failure = failure_of(begun.fail, job.timeout_s)
    ended = _wait(pid, job.timeout_s, control, (out, err))
    duration = time.monotonic() - started_s
    exit_code, timed_out, stopped = ended
    leftovers, unkillable = clear(group, pid if exit_code is None else None)
    if exit_code is None:
        exit_code = -signal.SIGKILL
    for pipe in (out, err):
        if pipe.open:
            pipe.drain()
        pipe.close()
    if failure:
        step, code, text = failure
        return Outcome(failed_step=step, errno=code, message=text)
    return Outcome(
        exit_code=exit_code,
        timed_out=timed_out,
        stopped=stopped,
        duration_s=duration,
        stdout=out.text(),
        stderr=err.text(),
        truncated=out.truncated,
        folder="" if begun.scratch is None or begun.scratch.empty else begun.scratch.path,
        leftovers=() if timed_out or stopped else leftovers,
        unkillable=unkillable,
    )


def _fork(group: WindowCgroup | None, *, own_pids: bool) -> tuple[int, WindowCgroup | None]:
    """Process id as os.fork() gives it, and the cgroup that the child has yet to join."""
    for namespaces in (CLONE_NEWPID | CLONE_NEWIPC, 0) if own_pids else (0,):
        if group is not None:
            with contextlib.suppress(OSError):  # EPERM: no right to make namespaces
                return fork_into(group.path, namespaces), None
    return os.fork(), group


def failure_of(fd: int, timeout_s: float) -> tuple[str, int, str] | None:
    """What the child says went wrong before the command ran. Waits until it runs (the
    descriptor closes at exec) or until the time is up (a file system that hangs)."""
    try:
        if not select.select([fd], [], [], timeout_s)[0]:
            return None
        text = os.read(fd, 4096)
    finally:
        os.close(fd)
    if not text:
        return None
    step, code, message = text.decode("utf-8", "replace").split("\t", 2)
    return step, int(code), message


def _wait(
    pid: int, timeout_s: float, control: int, pipes: tuple[_Tail, _Tail]
) -> tuple[int | None, bool, bool]:
    """(exit code or None while it still runs, timed out, stopped)."""
    pidfd = os.pidfd_open(pid)
    poller = select.poll()
    by_fd = {pipe.fd: pipe for pipe in pipes}
    for fd in (pidfd, control, *by_fd):
        poller.register(fd, select.POLLIN)
    deadline = time.monotonic() + timeout_s
    try:
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                return None, True, False
            for fd, _ in poller.poll(left * 1000):
                if fd == control:
                    return None, False, True
                if fd == pidfd:
                    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), False, False
                by_fd[fd].drain()
                if not by_fd[fd].open:
                    poller.unregister(fd)
    finally:
        os.close(pidfd)


def clear(
    group: WindowCgroup | None, still_running: int | None
) -> tuple[tuple[Leftover, ...], tuple[Leftover, ...]]:
    """Kill every remaining process of the job; returns (found running, survived SIGKILL)."""
    if _reap() and not (group and group.members()):
        return (), ()
    found = {pid: name_of(pid) for pid in (*(group.members() if group else ()), *_children())}
    found.pop(still_running or 0, None)
    deadline = time.monotonic() + _KILL_PATIENCE_S
    while True:
        if group is not None:
            group.kill()
        _kill(_children())
        # By waitpid's word, not by the list of children, which may miss one while others exit.
        childless = _reap()
        remaining = {*_children(), *(group.members() if group else ())}
        if (childless and not remaining) or time.monotonic() > deadline:
            break
        time.sleep(0.002)
    return (
        tuple(Leftover(pid, name) for pid, name in sorted(found.items())),
        tuple(Leftover(pid, name_of(pid)) for pid in sorted(remaining)),
    )


def _children() -> list[int]:
    """Our living children: the job's, and orphans that fell to us."""
    me = str(os.getpid())
    try:
        with open(f"/proc/{me}/task/{me}/children", encoding="ascii") as file:
            pids = file.read().split()
    except OSError:  # CONFIG_PROC_CHILDREN is off
        pids = [entry for entry in os.listdir("/proc") if entry.isdigit()]
    found = []
    for pid in pids:
        fields = _stat_of(pid)
        if len(fields) > 1 and fields[1] == me and fields[0] not in ("Z", "X"):
            found.append(int(pid))
    return found


def _stat_of(pid: str) -> list[str]:
    """Fields of /proc/PID/stat from the state on (proc_pid_stat(5))."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()
    except OSError:
        return []


def _kill(pids: Iterable[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def _reap() -> bool:
    """Collect what has ended; True when no child is left at all."""
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return True
        if pid == 0:
            return False


def name_of(pid: int) -> str:
    """The process's short name, or `?` when it is gone."""
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return "?"

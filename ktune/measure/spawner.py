"""Child program that runs the workloads of one run, one at a time. Standard library only.

It exists so that the tuner, which has threads and heavy libraries, never forks: here a fork
costs about a millisecond and may do what it likes before exec. It is the subreaper of all that
it starts. One JSON line in, one out, over the socket on standard input; end of file there means
that the tuner is gone: the running job and all its children are killed, then it ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from ktune.kernel.namespaces import NamespaceRef, enter
from ktune.measure import rights
from ktune.measure.cgroup import PREFIX, WindowCgroup, sweep
from ktune.measure.job import Job, Outcome, dump, job_from
from ktune.measure.page_cache import drop_page_cache
from ktune.measure.prepare import preload
from ktune.measure.scratch import Folders
from ktune.measure.scratch import sweep as sweep_folders
from ktune.measure.supervise import Begun, begin, run
from ktune.measure.tcp_metrics import flush_tcp_metrics


def main(argv: Sequence[str]) -> int:
    """Serve requests until the socket closes. `argv`: the run's group, if it has one."""
    rights.become_subreaper()
    sweep()
    sweep_folders()
    for group in argv:
        with contextlib.suppress(OSError):  # then it, and what it starts, stays where it is
            WindowCgroup(group).join()
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    control = socket.socket(fileno=os.dup(sys.stdin.fileno()))
    control.set_inheritable(False)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    jobs = _Jobs(control.fileno())
    with control, contextlib.suppress(BrokenPipeError, ConnectionResetError):
        try:
            for line in _lines(control):
                request = json.loads(line)
                operation = request.pop("op")
                if operation == "stop":
                    # It crossed the end of the job: that answer is already on its way.
                    continue
                outcome = _serve(operation, request, jobs)
                control.sendall(dump("done", **asdict(outcome)))
                jobs.begin_next()
        finally:
            jobs.close()
            jobs.folders.close()
    return 0


class _Jobs:
    """Runs jobs; the child of the next window is begun while the tuner thinks about this one.

    Only in a network namespace: there a lease holds nothing but `net.*` (the guardian refuses the
    rest), and no process takes any of that over at its birth, as it does `kernel.task_delayacct`.
    And only for a job that comes again and again.
    """

    def __init__(self, control: int) -> None:
        self._control = control
        self._serial = 0
        self._last: Job | None = None
        self._ahead: Begun | None = None
        self._again = False
        self.folders = Folders()

    def run(self, job: Job) -> Outcome:
        """Run one to its end."""
        self.folders.tidy()
        begun, self._ahead = self._ahead, None
        if begun is not None and not (begun.job == job and begun.sound):
            self._discard(begun)
            begun = None
        self._again = self._last in (None, job)
        self._last = job
        try:
            begun = begun or self._begin(job)
        except OSError as error:
            return Outcome(failed_step="fork", errno=error.errno or 0, message=str(error))
        try:
            return run(begun, self._control)
        finally:
            self.folders.give_back(begun.scratch)

    def begin(self, job: Job) -> Outcome:
        """Begin a job that is run next, and name its cgroup in the message."""
        self.folders.tidy()
        self.close()
        try:
            self._ahead = self._begin(job)
        except OSError as error:
            return Outcome(failed_step="fork", errno=error.errno or 0, message=str(error))
        if self._ahead.group is None:
            self.close()
            return Outcome(failed_step="make a cgroup (version 2) for", message="not possible here")
        return Outcome(message=self._ahead.group.path)

    def begin_next(self) -> None:
        """Begin the next window's child, if it will most likely be the same."""
        job = self._last
        if job is not None and job.netns and self._again and self._ahead is None:
            with contextlib.suppress(OSError):  # tried again, and reported, when it is asked for
                self._ahead = self._begin(job)

    def close(self) -> None:
        """End what was begun."""
        if self._ahead is not None:
            self._discard(self._ahead)
            self._ahead = None

    def _discard(self, begun: Begun) -> None:
        begun.discard()
        self.folders.give_back(begun.scratch)

    def _begin(self, job: Job) -> Begun:
        self._serial += 1
        scratch = self.folders.take(job.uid, job.gid) if job.folder else None
        try:
            return begin(job, f"{PREFIX}{os.getpid()}-{self._serial}", scratch)
        except BaseException:
            self.folders.give_back(scratch)
            raise


def _serve(operation: str, request: dict[str, Any], jobs: _Jobs) -> Outcome:
    match operation:
        case "run" | "begin":
            job = job_from(request)
            try:
                preload(job)
            except (ImportError, ValueError) as error:
                return Outcome(failed_step="load the bundled workload", message=str(error))
            return jobs.run(job) if operation == "run" else jobs.begin(job)
        case "tidy":
            jobs.folders.tidy()
            return Outcome()
        case "flush_tcp_metrics":
            scope = NamespaceRef(request["netns"], request["userns"] or None)
            return _in_a_fork(lambda: _flush(scope))
        case "drop_page_cache":
            return _in_a_fork(lambda: drop_page_cache(request["paths"]))
    return Outcome(failed_step="understand", message=f"no such operation: {operation}")


def _flush(scope: NamespaceRef) -> None:
    if scope.netns:
        enter(scope)
    flush_tcp_metrics()


def _in_a_fork(action: Callable[[], object]) -> Outcome:
    """Do something that must not change this process (entering a namespace can't be undone)."""
    read, write = os.pipe()
    try:
        pid = os.fork()
    except OSError as error:
        return Outcome(failed_step="fork", errno=error.errno or 0, message=str(error))
    if pid == 0:
        try:
            action()
        except OSError as error:
            os.write(write, f"{error.errno or 0}\t{error}".encode())
        except BaseException as error:  # noqa: BLE001 - a fork must never return into the spawner
            os.write(write, f"0\t{error!r}".encode())
        finally:
            os._exit(0)
    os.close(write)
    text = b""
    while chunk := os.read(read, 4096):
        text += chunk
    os.close(read)
    os.waitpid(pid, 0)
    if not text:
        return Outcome()
    code, _, message = text.decode("utf-8", "replace").partition("\t")
    return Outcome(failed_step="reset", errno=int(code), message=message)


def _lines(control: socket.socket) -> Iterator[bytes]:
    """The requests, until the other side closes. No byte is taken beyond the line: a request to
    stop must stay in the socket, where the running job sees it."""
    text = b""
    while ahead := control.recv(1 << 16, socket.MSG_PEEK):
        end = ahead.find(b"\n") + 1
        text += control.recv(end or len(ahead))
        if end:
            yield text
            text = b""

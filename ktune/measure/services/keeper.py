"""Child program that holds one server. Standard library only, single-threaded.

It starts the server, keeps its words in a log of bounded size, tells when it ends, and ends it: on
request, or when the socket on standard input closes, which means that the tuner is gone. The
server dies with it (a signal on the keeper's death, prctl(2)); where the host allows, it has a
namespace of process ids of its own, so that its children go with it in the same moment.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Sequence
from typing import Any

from ktune.measure import rights
from ktune.measure.cgroup import PREFIX, WindowCgroup
from ktune.measure.job import job_from
from ktune.measure.services.log import ServerLog
from ktune.measure.supervise import Begun, begin, clear, failure_of

QUICK_S = 3.0
"""How long an orphaned server may take to end by itself."""
_CHUNK = 1 << 16


def main(argv: Sequence[str]) -> int:
    """Serve requests until the socket closes. `argv`: the cgroup2 group to join, if any."""
    rights.become_subreaper()
    for group in argv:
        with contextlib.suppress(OSError):  # then the process tree is all there is to go by
            WindowCgroup(group).join()
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    control = socket.socket(fileno=os.dup(sys.stdin.fileno()))
    control.set_inheritable(False)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    with control, contextlib.suppress(BrokenPipeError, ConnectionResetError):
        keeper = _Keeper(control)
        try:
            keeper.serve()
        finally:
            keeper.end()
    return 0


class _Keeper:
    """One server at a time."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._requests = bytearray()
        self._server: _Running | None = None
        self._serial = 0

    def serve(self) -> None:
        """Until the tuner is gone."""
        while True:
            server = self._server
            readable = _wait([self._control.fileno(), *(server.fds() if server else ())], None)
            if server is not None and not self._look_after(server, readable):
                continue
            if self._control.fileno() in readable and not self._read():
                return

    def end(self) -> None:
        """The server's end, whatever it says."""
        if self._server is not None:
            self._server.stop(self._server.quick, QUICK_S)
            self._server = None

    def _look_after(self, server: _Running, readable: set[int]) -> bool:
        """Keep its words; False when it has just ended."""
        server.drain()
        if server.pidfd not in readable:
            return True
        code = server.reap()
        self._server = None
        self._say("died", exit_code=code, tail=server.log.tail)
        return False

    def _read(self) -> bool:
        """Take what is there and carry it out; False at the end of file."""
        chunk = self._control.recv(_CHUNK)
        if not chunk:
            return False
        self._requests += chunk
        while (end := self._requests.find(b"\n") + 1) > 0:
            request = json.loads(self._requests[:end])
            del self._requests[:end]
            self._carry_out(request.pop("op"), request)
        return True

    def _carry_out(self, operation: str, request: dict[str, Any]) -> None:
        if operation == "start":
            self._start(**request)
            return
        if operation == "mark":
            if self._server is not None:
                # its end may be a moment old and not have been seen yet
                self._look_after(self._server, _wait([self._server.pidfd], 0.0))
            self._say("done")
            return
        server, self._server = self._server, None
        if server is None:
            self._say("done", exit_code=None, killed=False, tail="")
            return
        killed, code = server.stop(request["signal"], request["patience_s"], self._control)
        self._say("done", exit_code=code, killed=killed, tail=server.log.tail)

    def _start(self, job: dict[str, Any], log: str, quick: int) -> None:
        self._serial += 1
        try:
            begun = begin(job_from(job), f"{PREFIX}{os.getpid()}-{self._serial}")
        except OSError as error:
            self._say("failed", step="fork", errno=error.errno or 0, message=str(error))
            return
        with contextlib.suppress(BrokenPipeError):  # it has failed and says why
            os.write(begun.go, b"g")
        os.close(begun.go)
        failed = failure_of(begun.fail, begun.job.timeout_s)
        if failed is not None:
            clear(begun.group, begun.pid)
            if begun.group is not None:
                begun.group.remove()
            begun.out.close()
            begun.err.close()
            step, code, message = failed
            self._say("failed", step=step, errno=code, message=message)
            return
        self._server = _Running(begun, ServerLog(log), quick)
        self._say("done", pid=begun.pid)

    def _say(self, operation: str, **fields: Any) -> None:
        self._control.sendall(json.dumps({"op": operation, **fields}).encode() + b"\n")


class _Running:
    """A server that has been started."""

    def __init__(self, begun: Begun, log: ServerLog, quick: int) -> None:
        self.log, self.quick = log, quick
        self._begun = begun
        self.pidfd = os.pidfd_open(begun.pid)

    def fds(self) -> list[int]:
        """What is worth waiting for."""
        pipes = (self._begun.out, self._begun.err)
        return [self.pidfd, *(pipe.fd for pipe in pipes if pipe.open)]

    def drain(self) -> None:
        """Move what it has said to the log."""
        for pipe in (self._begun.out, self._begun.err):
            while pipe.open:
                try:
                    chunk = os.read(pipe.fd, _CHUNK)
                except BlockingIOError:
                    break
                if not chunk:
                    pipe.close()
                self.log.write(chunk)

    def stop(
        self, number: int, patience_s: float, control: socket.socket | None = None
    ) -> tuple[bool, int | None]:
        """(it had to be killed, its exit code). A tuner that goes meanwhile makes it quick."""
        deadline = time.monotonic() + patience_s
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, number)
        while (left := deadline - time.monotonic()) > 0:
            fds = [*self.fds(), *([control.fileno()] if control else [])]
            readable = _wait(fds, left)
            self.drain()
            if self.pidfd in readable:
                return False, self.reap()
            if control is not None and control.fileno() in readable:
                if not control.recv(1, socket.MSG_PEEK):
                    deadline = min(deadline, time.monotonic() + QUICK_S)
                    with contextlib.suppress(ProcessLookupError):
                        signal.pidfd_send_signal(self.pidfd, self.quick)
                control = None
        return True, self.reap()

    def reap(self) -> int | None:
        """Nothing of it is left. Its exit code; None when it had to be killed."""
        begun = self._begun
        done, status = os.waitpid(begun.pid, os.WNOHANG)
        clear(begun.group, None if done else begun.pid)
        self.drain()
        for pipe in (begun.out, begun.err):
            pipe.close()
        os.close(self.pidfd)
        if begun.group is not None:
            begun.group.remove()
        self.log.close()
        return os.waitstatus_to_exitcode(status) if done else None


def _wait(fds: Sequence[int], timeout_s: float | None) -> set[int]:
    poller = select.poll()
    for fd in fds:
        poller.register(fd, select.POLLIN)
    return {fd for fd, _ in poller.poll(None if timeout_s is None else timeout_s * 1000)}

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
from ktune.measure.cgroup import PREFIX, sweep
from ktune.measure.job import Outcome, dump, job_from
from ktune.measure.page_cache import drop_page_cache
from ktune.measure.prepare import preload
from ktune.measure.supervise import run
from ktune.measure.tcp_metrics import flush_tcp_metrics


def main(argv: Sequence[str]) -> int:
    """Serve requests until the socket closes."""
    del argv
    rights.become_subreaper()
    sweep()
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    control = socket.socket(fileno=os.dup(sys.stdin.fileno()))
    control.set_inheritable(False)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    serial = 0
    with control, contextlib.suppress(BrokenPipeError, ConnectionResetError):
        for line in _lines(control):
            request = json.loads(line)
            operation = request.pop("op")
            serial += 1
            if operation == "stop":
                # It crossed the end of the job: that answer is already on its way.
                continue
            outcome = _serve(operation, request, control.fileno(), serial)
            control.sendall(dump("done", **asdict(outcome)))
    return 0


def _serve(operation: str, request: dict[str, Any], control: int, serial: int) -> Outcome:
    match operation:
        case "run":
            job = job_from(request)
            try:
                preload(job)
            except (ImportError, ValueError) as error:
                return Outcome(failed_step="load the bundled workload", message=str(error))
            return run(job, control, f"{PREFIX}{os.getpid()}-{serial}")
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

"""The tuner's side: an f2fs that is there as long as a block of code."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ktune.errors import BusyError
from ktune.kernel.waiting import wait_for
from ktune.measure.child import connected
from ktune.measure.f2fs.keeper import END
from ktune.measure.services.errors import ServiceError
from ktune.records.clock import now
from ktune.records.services import RunningService

_READY_S = 90.0
_END_S = 30.0
_LAST_S = 5.0
KIND = "f2fs"


@dataclass(frozen=True)
class F2fsSpec:
    """`folder`: its own; `device`: its loop device, by name."""

    profile: str
    folder: Path
    size_bytes: int
    device: str
    mkfs: str
    mode: str


@contextmanager
def mounted(spec: F2fsSpec) -> Iterator[None]:
    """It is there within the block.

    Raises BusyError (another run has it), ServiceError (it can't be made, or does not go).
    """
    process, ours = connected("ktune.measure.f2fs.keeper", *_arguments(spec))
    with ours:
        ours.settimeout(_READY_S)
        with ours.makefile("rb") as lines:
            try:
                answer = _answer(lines.readline)
                if answer["op"] != "ready":
                    raise _refused(spec, answer)
                yield
            finally:
                left = _end(ours, lines.readline, process)
            if left:
                raise ServiceError(f"the run's f2fs on {spec.device} is still there: {left}")


def _end(ours: socket.socket, readline: Any, process: subprocess.Popen[bytes]) -> str:
    """Why it is still there; empty: it is gone."""
    left = ""
    try:
        ours.settimeout(_END_S)
        ours.sendall(END)
        ours.shutdown(socket.SHUT_WR)
        answer = _answer(readline)
        if answer["op"] == "left":
            left = str(answer["message"])
    except OSError:
        pass  # it was killed: the kernel has undone everything
    try:
        wait_for(process, _LAST_S)
    except subprocess.TimeoutExpired:
        process.returncode = 0  # still at it, and not ours to wait for any longer
        left = left or f"its keeper (pid {process.pid}) does not end"
    return left


def _answer(readline: Any) -> dict[str, Any]:
    line = readline()
    if not line:
        raise OSError(errno.EPIPE, "the process that keeps the f2fs died")
    answer: dict[str, Any] = json.loads(line)
    return answer


def _arguments(spec: F2fsSpec) -> tuple[str, ...]:
    told = RunningService(
        name=KIND,
        kind=KIND,
        profile=spec.profile,
        version=f"{spec.size_bytes >> 20} MiB",
        pid=os.getpid(),
        since=now(),
        socket=f"/dev/{spec.device}",
    )
    number = spec.device.removeprefix("loop")
    words = (str(spec.folder), str(spec.size_bytes), number, spec.mkfs, spec.mode)
    return (*words, json.dumps(asdict(told)))


def _refused(spec: F2fsSpec, answer: dict[str, Any]) -> Exception:
    if answer["op"] == "taken":
        return BusyError(
            f"another run of this profile{answer['message']} has the f2fs in {spec.folder}",
            hint="wait for it to end",
        )
    if answer["errno"] == errno.EBUSY:
        return BusyError(
            f"/dev/{spec.device} is in use, by another run with an f2fs or by somebody else",
            hint=f"`losetup /dev/{spec.device}` shows what it holds",
        )
    message = f"the f2fs can't be had: {answer['message']}"
    if answer["errno"] == errno.ENOSPC:
        return ServiceError(message, hint="free space where the state directory is")
    return ServiceError(message)

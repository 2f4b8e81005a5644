"""The tuner's side: little memory for a workload, beside a swap file, as long as a run needs it."""

from __future__ import annotations

import errno
import json
import os
import select
import socket
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ktune.errors import BusyError
from ktune.kernel.waiting import wait_for
from ktune.measure.child import connected
from ktune.measure.services.errors import ServiceError
from ktune.measure.swap import area, ground
from ktune.measure.window import Poll
from ktune.records.clock import now
from ktune.records.services import RunningService

_POLL_S = 0.05
_READY_S = 60.0
_END_S = 120.0
"""What is swapped out must be read back, from a disk that others use too."""
_LAST_S = 5.0


@dataclass(frozen=True)
class SwapSpec:
    """`size_bytes` of swap; each window has `memory_bytes`. `below`: the memory cgroup (version 1)
    to be made in. `folder`: of the file."""

    profile: str
    folder: Path
    size_bytes: int
    memory_bytes: int
    below: Path


class LimitedMemory:
    """Made at the first window (or `begin`), undone by `close`, and then ready to be made again."""

    def __init__(self, spec: SwapSpec) -> None:
        self.spec = spec
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._group = ""

    @property
    def group(self) -> str:
        """The memory cgroup in which each window has one of its own."""
        return self._group

    def begin(self, poll: Poll) -> None:
        """It is there. Raises ServiceError, BusyError, and what `poll` raises."""
        if self._process is not None and self._process.poll() is None:
            return
        self._forget()
        self._process, self._socket = connected("ktune.measure.swap.keeper", *self._arguments())
        try:
            answer = self._answer(poll, _READY_S)
        except BaseException:
            self.close()
            raise
        if answer["op"] == "taken":
            self._forget()
        if answer["op"] != "ready":
            self.close()
            raise self._refused(answer)
        self._group = str(answer["group"])

    def health(self) -> str | None:
        """Why the window does not count; None: all is well."""
        if self._process is None:
            return None
        if self._process.poll() is not None:
            return "the process that keeps the swap file is gone"
        if not area.is_on(self.spec.folder / area.FILE):
            return "somebody has switched the run's swap file off"
        return None

    def close(self) -> None:
        """Undone. Raises ServiceError when the kernel refuses to."""
        process, connection = self._process, self._socket
        if process is None or connection is None:
            return
        answer: dict[str, Any] = {}
        try:
            connection.shutdown(socket.SHUT_WR)
            answer = self._answer(lambda: None, _END_S, wanted=("done", "left"))
        except OSError:
            pass  # it is gone: the next look says what it has left
        finally:
            self._forget()
        if answer.get("op") == "left" or area.is_on(self.spec.folder / area.FILE):
            why = answer.get("message") or "its keeper was killed"
            raise ServiceError(
                f"the run's swap file {self.spec.folder / area.FILE} is still on: {why}",
                hint="`ktune recover` switches it off",
            )

    def _forget(self) -> None:
        process, self._process = self._process, None
        connection, self._socket = self._socket, None
        self._group = ""
        if connection is not None:
            connection.close()
        if process is None:
            return
        try:
            wait_for(process, _LAST_S)
        except subprocess.TimeoutExpired:
            process.returncode = 0  # still at it, and not ours to wait for any longer

    def _arguments(self) -> tuple[str, ...]:
        spec = self.spec
        told = RunningService(
            name=ground.KIND,
            kind=ground.KIND,
            profile=spec.profile,
            version=f"{spec.size_bytes >> 20} MiB",
            pid=os.getpid(),
            since=now(),
            socket=str(spec.folder / area.FILE),
        )
        words = (str(spec.folder), str(spec.size_bytes), str(spec.below))
        return (*words, json.dumps(asdict(told)))

    def _answer(self, poll: Poll, limit_s: float, wanted: tuple[str, ...] = ()) -> dict[str, Any]:
        """The next message (of those `wanted`). Raises OSError, and what `poll` raises."""
        assert self._socket is not None
        text = bytearray()
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            poll()
            if not select.select([self._socket], [], [], _POLL_S)[0]:
                continue
            chunk = self._socket.recv(1 << 16)
            if not chunk:
                break
            text += chunk
            while (end := text.find(b"\n") + 1) > 0:
                answer: dict[str, Any] = json.loads(text[:end])
                del text[:end]
                if not wanted or answer["op"] in wanted:
                    return answer
        raise OSError(errno.EPIPE, "the process that keeps the swap file died or does not answer")

    def _refused(self, answer: dict[str, Any]) -> Exception:
        if answer["op"] == "taken":
            return BusyError(
                f"another run of this profile{answer['message']} has the swap file in "
                f"{self.spec.folder}",
                hint="wait for it to end, or give this run a --state-dir of its own",
            )
        message = f"the swap file can't be had: {answer['message']}"
        if answer["errno"] == errno.ENOSPC:
            return ServiceError(message, hint="free space where the state directory is")
        if answer["errno"] == errno.EINVAL:
            return ServiceError(
                message, hint="its file system can't hold swap: try another --state-dir"
            )
        return ServiceError(message)

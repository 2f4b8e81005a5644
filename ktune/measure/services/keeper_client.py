"""The tuner's side of a keeper: start it, ask it, hear of the server's death, end it."""

from __future__ import annotations

import json
import select
import signal
import subprocess
import time
from dataclasses import dataclass
from typing import Any

from ktune.errors import KtuneError
from ktune.kernel.waiting import wait_for
from ktune.measure.cgroup import WindowCgroup
from ktune.measure.child import connected
from ktune.measure.job import Job, job_fields
from ktune.measure.prepare import KILLED_BY
from ktune.measure.window import Poll

_POLL_S = 0.05
_ANSWER_S = 15.0
"""Beyond what the request itself may take."""
_END_S = 8.0


@dataclass(frozen=True)
class Death:
    """A server that has ended without being asked."""

    exit_code: int | None
    """-N, or 128 + N, when signal N ended it; None: its keeper died, too."""
    tail: str

    @property
    def how(self) -> str:
        """For people."""
        if self.exit_code is None:
            return "its keeper is gone"
        number = -self.exit_code if self.exit_code < 0 else self.exit_code - KILLED_BY
        if number in list(signal.Signals):
            return f"was killed by {signal.Signals(number).name}"
        return f"ended with exit code {self.exit_code}"


class StartFailed(KtuneError):
    """The server's process could not even be begun."""


class Keeper:
    """One keeper and, most of the time, one server."""

    def __init__(self, group: WindowCgroup | None) -> None:
        self._group = group
        self._text = bytearray()
        self._death: Death | None = None
        self._process, self._socket = connected(
            "ktune.measure.services.keeper", *([group.path] if group else [])
        )

    def start(self, job: Job, log: str, quick: int, poll: Poll) -> int:
        """Start a server; its process id. Raises StartFailed, and what `poll` raises."""
        self._death = None
        answer = self._ask("start", poll, _ANSWER_S, job=job_fields(job), log=log, quick=quick)
        if answer["op"] == "failed":
            raise StartFailed(f"{answer['step']}: {answer['message']}")
        return int(answer["pid"])

    def stop(self, number: int, patience_s: float, poll: Poll) -> bool:
        """Have the server end by a signal; True when it did so by itself."""
        limit_s = patience_s + _ANSWER_S
        answer = self._ask("stop", poll, limit_s, signal=number, patience_s=patience_s)
        return not answer["killed"]

    def mark(self) -> None:
        """What the server has said before is in its log when this returns. Raises StartFailed."""
        self._ask("mark", lambda: None, _ANSWER_S)

    def death(self) -> Death | None:
        """How the server ended, if it did without being asked."""
        while self._death is None and select.select([self._socket], [], [], 0)[0]:
            if not self._receive():
                self._death = Death(None, "")
        return self._death

    def close(self) -> None:
        """End the server and the keeper, whatever state they are in."""
        self._socket.close()
        try:
            wait_for(self._process, _END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._group is not None:
            self._group.end_inner()
            self._group.kill()
            self._group.remove()

    def _ask(self, operation: str, poll: Poll, limit_s: float, **fields: Any) -> dict[str, Any]:
        deadline = time.monotonic() + limit_s
        try:
            self._socket.sendall(json.dumps({"op": operation, **fields}).encode() + b"\n")
            while time.monotonic() < deadline:
                poll()
                if not select.select([self._socket], [], [], _POLL_S)[0]:
                    continue
                answer = self._receive()
                if answer is not None and answer["op"] in ("done", "failed"):
                    return answer
                if answer is None:
                    break
        except OSError:
            pass
        self._death = Death(None, "")
        raise StartFailed("the process that keeps the service died or does not answer")

    def _receive(self) -> dict[str, Any] | None:
        """The next message; a server's death is noted. None: the keeper is gone."""
        while b"\n" not in self._text:
            try:
                chunk = self._socket.recv(1 << 16)
            except OSError:
                chunk = b""
            if not chunk:
                return None
            self._text += chunk
        line, _, rest = self._text.partition(b"\n")
        self._text = bytearray(rest)
        answer: dict[str, Any] = json.loads(line)
        if answer["op"] == "died":
            self._death = Death(answer["exit_code"], answer["tail"])
        return answer

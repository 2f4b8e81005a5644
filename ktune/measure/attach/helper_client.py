"""The tuner's side of the helper: ask, wait with an eye on the guardrails, kill by the deadline."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import time
from typing import Any

from ktune.errors import RefusedError
from ktune.kernel.namespaces import NamespaceRef
from ktune.measure.attach.specs import MissingData
from ktune.measure.child import connected
from ktune.measure.user import Account
from ktune.measure.window import Poll

_HELPER = "ktune.measure.attach.helper"
_POLL_S = 0.05
_START_S = 20.0
_MAX_ANSWER = 64 << 20


class Helper:
    """One child for a whole run, started at the first request and again after it was killed."""

    def __init__(self, account: Account, scope: NamespaceRef | None) -> None:
        self._account = account
        self._scope = scope
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    def start(self, poll: Poll) -> None:
        """Have it ready before a window's clock runs. Raises RefusedError, what `poll` raises."""
        try:
            self._connect(poll)
        except BaseException:
            self.close()
            raise

    def ask(self, request: dict[str, Any], *, within_s: float, poll: Poll) -> dict[str, Any]:
        """The answer to one request. Raises MissingData, and whatever `poll` raises.

        After anything but a proper answer the child is gone: an answer still under way must never
        be taken for that to the next request.
        """
        try:
            connection = self._connect(poll)
            answer = self._exchange(
                connection, json.dumps(request).encode() + b"\n", within_s, poll
            )
        except OSError as error:
            said = self._said()
            self.close()
            raise MissingData(f"the helper process died ({said})") from error
        except BaseException:
            self.close()
            raise
        if "problem" in answer:
            raise MissingData(str(answer["problem"]))
        return answer

    def close(self) -> None:
        """End the child."""
        connection, self._socket = self._socket, None
        process, self._process = self._process, None
        if connection is not None:
            connection.close()
        if process is not None:
            process.kill()
            process.wait()

    def _connect(self, poll: Poll) -> socket.socket:
        if self._socket is None:
            self._process, ours = connected(
                _HELPER, *self._options(), site=True, stderr=subprocess.PIPE
            )
            ours.setblocking(False)
            self._socket = ours
            try:
                self._exchange(ours, b"", _START_S, poll)
            except OSError as error:
                raise RefusedError(f"the helper process can't start: {self._said()}") from error
        return self._socket

    def _options(self) -> list[str]:
        options = [f"--parent={os.getpid()}"]
        if self._account.change:
            options += [f"--uid={self._account.uid}", f"--gid={self._account.gid}"]
        return [*options, *(self._scope.argv() if self._scope else [])]

    def _said(self) -> str:
        if self._process is None or self._process.stderr is None:
            return "unknown"
        self._process.kill()
        lines = self._process.stderr.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else "without a word"

    @staticmethod
    def _exchange(
        connection: socket.socket, request: bytes, within_s: float, poll: Poll
    ) -> dict[str, Any]:
        until_s = time.monotonic() + within_s
        text = bytearray()
        left = memoryview(request)
        while not text.endswith(b"\n"):
            poll()
            if time.monotonic() > until_s:
                raise MissingData(f"no answer within {within_s:g} s")
            wants = [connection] if left else []
            readable, writable, _ = select.select([connection], wants, [], _POLL_S)
            if writable:
                left = left[connection.send(left[: 1 << 16]) :]
            if readable:
                chunk = connection.recv(1 << 16)
                if not chunk:
                    raise ConnectionResetError("it closed its socket")
                text += chunk
                if len(text) > _MAX_ANSWER:
                    raise MissingData("the helper's answer is too long")
        answer: dict[str, Any] = json.loads(text)
        return answer

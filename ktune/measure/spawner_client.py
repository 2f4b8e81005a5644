"""The tuner's side of the spawner: start it, ask it, stop it, notice its death."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from typing import Any

from ktune.errors import KtuneError
from ktune.kernel.waiting import wait_for
from ktune.measure.cgroup import PREFIX, WindowCgroup
from ktune.measure.child import connected
from ktune.measure.job import Outcome, dump, outcome_from
from ktune.measure.window import Poll

_POLL_S = 0.05
_STOP_PATIENCE_S = 10.0
_RUNS = itertools.count()


class SpawnerGone(KtuneError):
    """The spawner died (killed, out of memory); the next request starts another one."""


class Spawner:
    """One spawner process, started at the first request and kept for the whole run."""

    def __init__(self, below: Callable[[], str | None] = lambda: None) -> None:
        """`below`: the cgroup2 group that its own is made in, asked for when it is made."""
        self._below = below
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._group: WindowCgroup | None = None

    def group(self) -> str | None:
        """The cgroup2 group that will hold it and everything it starts, until `close`; None where
        there can be none."""
        if self._group is None:
            name = f"{PREFIX}{os.getpid()}-run{next(_RUNS)}"
            self._group = WindowCgroup.create(name, self._below())
        return None if self._group is None else self._group.path

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Have it start already; where that is not possible the first request says why."""
        with contextlib.suppress(OSError):
            self._connect()

    def ask(self, operation: str, poll: Poll, **fields: Any) -> Outcome:
        """One request; `poll` is called at least every 100 ms until the answer is there.

        Raises SpawnerGone, and whatever `poll` raises after the job was killed.
        """
        connection = self._connect()
        try:
            connection.sendall(dump(operation, **fields))
            return self._answer(connection, poll)
        except OSError as error:
            self._bury()
            raise SpawnerGone(f"the process that runs the workload died ({error})") from error

    def close(self) -> None:
        """End it; it kills what it was running."""
        self._end()
        group, self._group = self._group, None
        if group is not None:
            group.kill()
            group.remove()

    def _end(self) -> None:
        connection, self._socket = self._socket, None
        if connection is not None:
            connection.close()
        process, self._process = self._process, None
        if process is None:
            return
        try:
            wait_for(process, _STOP_PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _connect(self) -> socket.socket:
        if self._socket is None:
            group = self.group()
            self._process, self._socket = connected(
                "ktune.measure.spawner", *([group] if group else [])
            )
        return self._socket

    def _answer(self, connection: socket.socket, poll: Poll) -> Outcome:
        text = bytearray()
        while True:
            try:
                poll()
            except BaseException:
                self._stop(connection, text)
                raise
            if not select.select([connection], [], [], _POLL_S)[0]:
                continue
            outcome = _receive(connection, text)
            if outcome is not None:
                return outcome

    def _stop(self, connection: socket.socket, text: bytearray) -> None:
        """Have the job killed and wait until it is; a spawner that does not answer is killed."""
        deadline = time.monotonic() + _STOP_PATIENCE_S
        try:
            connection.sendall(dump("stop"))
            while time.monotonic() < deadline:
                if select.select([connection], [], [], _POLL_S)[0] and _receive(connection, text):
                    return
        except OSError:
            pass
        self._bury()

    def _bury(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGKILL)
        self._end()
        if self._group is not None:  # what a spawner that was killed left running
            # Only inside: a group that was killed itself takes no clone3(CLONE_INTO_CGROUP) from
            # it any more (kernel/cgroup/cgroup.c, cgroup_post_fork, kill_seq; seen on 6.18).
            self._group.end_inner()


def _receive(connection: socket.socket, text: bytearray) -> Outcome | None:
    """More of the answer; None while it is not whole. Raises OSError at end of file."""
    chunk = connection.recv(1 << 16)
    if not chunk:
        raise ConnectionResetError("it closed its socket")
    text += chunk
    if not text.endswith(b"\n"):
        return None
    fields = json.loads(text)
    del fields["op"]
    return outcome_from(fields)

"""Requests at a fixed rate over several connections: the core of the bundled generators.

An open loop: requests are due at times fixed beforehand, whatever the server does, and a latency
counts from that time. A server that stands still for 200 ms so shows in each request that was due
meanwhile; a generator that waits for an answer before it asks again would see one slow request
("coordinated omission"). A connection has one request under way; one that is due while all
connections are busy waits for the first that is free, and the waiting counts.

Delays of our own are told apart from the server's: the time in which this loop did not wait for the
server, but worked or was kept from the processor, between a request's due time and its answer.
Standard library only.
"""

from __future__ import annotations

import errno
import gc
import os
import select
import socket
import time
from array import array
from collections import Counter, deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from ktune.measure.workloads.target import LoadFailed, Target

_TICK_NS = 100_000_000
"""How often connections are looked at for a server that stands still."""
_RETRY_NS = 1_000_000
"""A full backlog of a Unix socket is asked again after this."""
_HEAD_START_NS = 2_000_000
_RECEIVE_BYTES = 256 * 1024
_KINDS_OF_ERRORS = 20
_IN, _OUT = select.EPOLLIN, select.EPOLLOUT


@dataclass(frozen=True, slots=True)
class Answer:
    """One whole answer. `error`: what the server said instead of what was asked for."""

    error: str = ""
    miss: bool = False
    closes: bool = False
    """The server closes the connection after it."""


class Dialect(Protocol):
    """A protocol's requests and answers."""

    def request(self, number: int) -> bytes:
        """The bytes of a request; called once for each, in their order."""
        ...

    def answer(self, data: bytes, *, ended: bool) -> Answer | None:
        """What these bytes mean; None while the answer is not whole. `ended`: no more come."""
        ...


@dataclass(frozen=True)
class Manner:
    """How to ask. `per_connection` 0 keeps connections open."""

    connections: int
    per_connection: int = 0
    timeout_s: float = 5.0


@dataclass
class Record:
    """What was seen, by number of the request, in ns.

    `latency` is from the due time to the whole answer, -1 for a request that failed; `own` what
    of it was this loop's; `finished` when the answer came, from the start.
    """

    latency: array[int]
    own: array[int]
    finished: array[int]
    errors: Counter[str] = field(default_factory=Counter)
    misses: list[int] = field(default_factory=list)
    """Numbers of the reads that found nothing."""
    reconnects: int = 0


class _Connection:
    __slots__ = ("buffer", "connecting", "number", "request", "sent_at", "sock", "unsent", "used")

    def __init__(self) -> None:
        self.sock: socket.socket | None = None
        self.buffer = b""
        self.number = -1
        """The request under way, -1 while there is none."""
        self.request = b""
        self.unsent = b""
        self.sent_at = 0
        self.used = 0
        self.connecting = False


class OpenLoop:
    """Sends the requests that `due` names; one use."""

    def __init__(
        self, target: Target, dialect: Dialect, manner: Manner, due_ns: array[int]
    ) -> None:
        self._target, self._dialect, self._manner, self._due = target, dialect, manner, due_ns
        count = len(due_ns)
        nothing = array("q", [-1]) * count
        self._record = Record(nothing[:], nothing[:], nothing[:])
        self._waited_at = array("q", [0]) * count
        self._waited = 0
        self._start = 0
        self._done = 0
        self._all = [_Connection() for _ in range(manner.connections)]
        self._idle = deque(self._all)
        self._by_fd: dict[int, _Connection] = {}
        self._backlog_full: list[_Connection] = []
        self._epoll = select.epoll()

    def run(self) -> Record:
        """Until each request is answered or has failed. Raises LoadFailed, OSError."""
        collects = gc.isenabled()
        gc.disable()
        try:
            for connection in self._all:
                connection.sock = self._target.connect(self._manner.timeout_s)
                connection.sock.setblocking(False)
                self._watch(connection, _IN)
            self._drive()
        finally:
            for connection in self._all:
                self._close(connection)
            self._epoll.close()
            if collects:
                gc.enable()
        return self._record

    def _drive(self) -> None:
        clock, due, idle, waited_at = time.monotonic_ns, self._due, self._idle, self._waited_at
        total = len(due)
        start = self._start = clock() + _HEAD_START_NS
        sent = seen = 0
        asleep, woke, starved, look = start, start, False, start
        while self._done < total:
            now = clock()
            while seen < total and (at := start + due[seen]) <= now:
                # Asleep for want of a free connection is the server's time, else it is ours.
                slept = woke - max(at, asleep) if starved and at < woke else 0
                waited_at[seen] = self._waited - slept
                seen += 1
            while sent < seen and idle:
                self._send(idle.popleft(), sent, clock())
                sent += 1
            if now >= look:
                self._look_for_a_stall(now)
                look = now + _TICK_NS
            if self._backlog_full:
                self._ask_again()
            events = self._epoll.poll(0)
            if not events:
                starved = not idle
                wait = _TICK_NS if starved or sent == total else start + due[sent] - clock()
                wait = min(wait, _RETRY_NS) if self._backlog_full else wait
                if wait > 0:
                    asleep = clock()
                    # epoll_wait(2) counts in milliseconds; select(2) on its descriptor does not.
                    select.select((self._epoll,), (), (), min(wait, _TICK_NS) / 1e9)
                    woke = clock()
                    self._waited += woke - asleep
                    if not starved and sent < total:
                        # Woken too late: not the server's time.
                        self._waited -= max(0, woke - max(asleep, start + due[sent]))
                    events = self._epoll.poll(0)
            for fd, mask in events:
                connection = self._by_fd.get(fd)
                if connection is None:
                    continue
                if mask & _OUT:
                    self._writable(connection)
                else:
                    self._readable(connection)

    def _send(self, connection: _Connection, number: int, now: int) -> None:
        connection.number, connection.sent_at = number, now
        connection.request = connection.unsent = self._dialect.request(number)
        connection.buffer = b""
        if connection.sock is None:
            self._open(connection)
        else:
            self._push(connection)

    def _push(self, connection: _Connection) -> None:
        """Send what is left of the request; wait for room where it does not fit."""
        assert connection.sock is not None
        try:
            # A bundled load runs with SIGPIPE as the kernel has it: it would end at a broken pipe.
            count = connection.sock.send(connection.unsent, socket.MSG_NOSIGNAL)
        except BlockingIOError:
            count = 0
        except (BrokenPipeError, ConnectionResetError):
            if connection.used and len(connection.unsent) == len(connection.request):
                # Closed by the server while nothing was under way: as any client, ask anew.
                self._reopen(connection)
            else:
                self._lost(connection, "the server closed the connection")
            return
        waited_for_room = len(connection.unsent) != len(connection.request)
        connection.unsent = connection.unsent[count:]
        if connection.unsent:
            self._epoll.modify(connection.sock.fileno(), _IN | _OUT)
        elif waited_for_room:
            self._epoll.modify(connection.sock.fileno(), _IN)

    def _readable(self, connection: _Connection) -> None:
        assert connection.sock is not None
        try:
            data = connection.sock.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._lost(connection, f"the connection broke: {error.strerror}")
            return
        now = time.monotonic_ns()
        if connection.number < 0:
            if data:
                self._count("the server sent what nobody had asked for")
            self._close(connection)
            return
        whole = connection.buffer + data if connection.buffer else data
        answer = self._dialect.answer(whole, ended=not data) if whole else None
        if answer is not None:
            self._answered(connection, answer, now)
        elif data:
            connection.buffer = whole
        else:
            part = f" in the middle of an answer ({len(whole)} bytes)" if whole else ""
            self._lost(connection, f"the server closed the connection{part}")

    def _writable(self, connection: _Connection) -> None:
        assert connection.sock is not None
        if connection.connecting:
            number = connection.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if number:
                raise self._gone(connection, number)
            connection.connecting = False
            self._epoll.modify(connection.sock.fileno(), _IN)
        self._push(connection)

    def _answered(self, connection: _Connection, answer: Answer, now: int) -> None:
        number, record = connection.number, self._record
        taken = now - self._start - self._due[number]
        record.own[number] = max(0, taken - (self._waited - self._waited_at[number]))
        record.finished[number] = now - self._start
        if answer.error:
            self._count(answer.error)
        else:
            record.latency[number] = taken
        if answer.miss:
            record.misses.append(number)
        connection.used += 1
        worn_out = connection.used == self._manner.per_connection
        # What is left of a request that was answered early would be taken for the next one.
        if answer.closes or worn_out or connection.unsent:
            self._close(connection)
        self._free(connection)

    def _lost(self, connection: _Connection, why: str) -> None:
        """The request under way has failed, the connection is gone."""
        if connection.number >= 0:
            self._count(why)
            now = time.monotonic_ns()
            self._record.own[connection.number] = 0
            self._record.finished[connection.number] = now - self._start
        self._close(connection)
        if connection.number >= 0:
            self._free(connection)

    def _free(self, connection: _Connection) -> None:
        connection.number = -1
        connection.buffer = connection.request = connection.unsent = b""
        self._done += 1
        self._idle.append(connection)

    def _count(self, error: str) -> None:
        errors = self._record.errors
        known = error in errors or len(errors) < _KINDS_OF_ERRORS
        errors[error if known else "other errors"] += 1

    def _reopen(self, connection: _Connection) -> None:
        self._close(connection)
        self._open(connection)

    def _open(self, connection: _Connection) -> None:
        """Begin to connect; the request goes out when the connection stands."""
        self._record.reconnects += 1
        sock = connection.sock = self._target.new_socket()
        sock.setblocking(False)
        number = sock.connect_ex(self._target.address)
        if number == errno.EAGAIN and self._target.unix:
            self._close(connection)
            self._backlog_full.append(connection)
        elif number in (0, errno.EINPROGRESS):
            connection.connecting = True
            self._watch(connection, _OUT)
        else:
            raise self._gone(connection, number)

    def _ask_again(self) -> None:
        waiting, self._backlog_full = self._backlog_full, []
        for connection in waiting:
            self._record.reconnects -= 1
            self._open(connection)

    def _gone(self, connection: _Connection, number: int) -> LoadFailed:
        why = self._target.unreachable(OSError(number, os.strerror(number)))
        return LoadFailed(f"{why} (request {connection.number + 1} of {len(self._due)})")

    def _look_for_a_stall(self, now: int) -> None:
        limit = self._manner.timeout_s
        for connection in self._all:
            if connection.number >= 0 and now - connection.sent_at > limit * 1e9:
                raise LoadFailed(
                    f"{self._target} stands still: no answer to request {connection.number + 1} "
                    f"of {len(self._due)} within {limit:g} s"
                )

    def _watch(self, connection: _Connection, mask: int) -> None:
        assert connection.sock is not None
        fd = connection.sock.fileno()
        self._by_fd[fd] = connection
        self._epoll.register(fd, mask)

    def _close(self, connection: _Connection) -> None:
        if connection.sock is None:
            return
        self._by_fd.pop(connection.sock.fileno(), None)
        with suppress(OSError):
            connection.sock.close()
        connection.sock, connection.connecting, connection.used = None, False, 0

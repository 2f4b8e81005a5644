"""Waits until a Redis or memcached answers, and fills it. Standard library only.

usage: fill --kind redis|memcached --at ADDRESS [--keys N] [--value BYTES] [--save 1]

An address is the path of a Unix socket, or HOST:PORT. Keys are named as redis-benchmark names its
own: `key:000000000000` and on. `--save`: Redis writes its dump in the end.
"""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from ktune.measure.workloads.options import OptionError, parse

DEFAULTS = {"kind": "redis", "at": "", "keys": 0, "value": 100, "save": 0}
_WAIT_S = 20.0
_PAUSE_S = 0.02
_BATCH = 500
_SILENCE_S = 60.0
_PING = {"redis": (b"PING\r\n", b"+PONG"), "memcached": (b"version\r\n", b"VERSION ")}


def main(argv: Sequence[str]) -> int:
    """Exit 0 when it answers and holds everything."""
    try:
        options = parse(argv, DEFAULTS)
        if options["kind"] not in _PING:
            raise OptionError(f"--kind is one of {', '.join(_PING)}")
        connection = _answering(options["kind"], options["at"])
        with connection, connection.makefile("rb") as replies:
            for batch in _batches(options["kind"], options["keys"], options["value"]):
                _tell(connection, replies, batch)
            if options["save"]:
                _tell(connection, replies, [b"SAVE\r\n"])
    except (OSError, OptionError) as error:
        print(f"{error}", file=sys.stderr)
        return 1
    print(f"keys={options['keys']}")
    return 0


def _answering(kind: str, address: str) -> socket.socket:
    """A connection on which the server has answered; it may load its data for a while first."""
    ping, wanted = _PING[kind]
    deadline = time.monotonic() + _WAIT_S
    while True:
        try:
            connection = _connect(address)
        except OSError as error:
            if time.monotonic() > deadline:
                raise OSError(f"no answer within {_WAIT_S:g} s: {error}") from error
            time.sleep(_PAUSE_S)
            continue
        connection.sendall(ping)
        answer = connection.recv(4096)
        if answer.startswith(wanted):
            return connection
        connection.close()
        if not answer.startswith(b"-LOADING"):
            raise OSError(f"{address} is no {kind}: it answers {answer[:60]!r}")
        deadline = time.monotonic() + _WAIT_S  # it is at work
        time.sleep(_PAUSE_S)


def _connect(address: str) -> socket.socket:
    family = socket.AF_UNIX if address.startswith("/") else socket.AF_INET
    host, _, port = address.rpartition(":")
    connection = socket.socket(family)
    connection.settimeout(_SILENCE_S)
    try:
        connection.connect(address if family == socket.AF_UNIX else (host, int(port)))
    except OSError:
        connection.close()
        raise
    return connection


def _batches(kind: str, keys: int, value_bytes: int) -> Iterator[list[bytes]]:
    value = b"x" * value_bytes
    for first in range(0, keys, _BATCH):
        names = [b"key:%012d" % number for number in range(first, min(first + _BATCH, keys))]
        if kind == "redis":
            head = b"*3\r\n$3\r\nSET\r\n$16\r\n%s\r\n$%d\r\n%s\r\n"
            yield [head % (name, value_bytes, value) for name in names]
        else:
            yield [b"set %s 0 0 %d\r\n%s\r\n" % (name, value_bytes, value) for name in names]


def _tell(connection: socket.socket, replies: BinaryIO, commands: Sequence[bytes]) -> None:
    """Send them all, read as many answers. Raises OSError for one that is no success."""
    connection.sendall(b"".join(commands))
    for _ in commands:
        answer = replies.readline()
        if not answer.startswith((b"+OK", b"STORED")):
            said = answer.decode("utf-8", "replace").strip() or "nothing"
            raise OSError(f"it refused to store a value: {said}")

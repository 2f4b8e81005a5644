"""Whole transfers of a fixed size to a peer and back; fresh sockets. Standard library only.

usage: transfer [--peer ADDRESS] [--port N] [--up BYTES] [--down BYTES] [--deadline SECONDS]

Without --peer each connection goes to an address of the link's peer that is new to TCP. An
upload's rate depends on what this side may have under way (tcp_wmem, congestion control), a
download's on what it may buffer (tcp_rmem): the total asks for both. Time runs from before the
connection is opened until the last byte is confirmed, so a slice of a transfer can't be
mistaken for the rate of a whole one. Sizes in bytes, times in seconds, rates in 10^6 bit/s.
"""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Sequence

from ktune.measure.link.protocol import (
    CHUNK,
    COUNT,
    DOWNLOAD,
    HEADER,
    MAGIC,
    UPLOAD,
    ShortTransfer,
    fresh_peer,
    receive_bytes,
    receive_exactly,
    send_bytes,
)
from ktune.measure.workloads.options import OptionError, parse

DEFAULTS = {"peer": "", "port": 5001, "up": 0, "down": 0, "deadline": 30.0}


def main(argv: Sequence[str]) -> int:
    """Run the transfers, print `key=value` lines; 1 when a byte is missing."""
    seconds = 0.0
    try:
        options = parse(argv, DEFAULTS)
        port = options["port"]
        up, down = options["up"], options["down"]
        for name, size, transfer in (("up", up, upload), ("down", down, download)):
            if size:
                peer = options["peer"] or fresh_peer()
                took = transfer((peer, port), size, options["deadline"])
                seconds += took
                print(f"{name}_seconds={took:.6f}")
                print(f"{name}_mbit_per_s={size * 8 / took / 1e6:.3f}")
    except (OSError, OptionError, ShortTransfer) as error:
        print(f"transfer: {error}", file=sys.stderr)
        return 1
    total = up + down
    print(f"bytes={total}")
    print(f"seconds={seconds:.6f}")
    print(f"mbit_per_s={total * 8 / seconds / 1e6 if seconds else 0.0:.3f}")
    return 0


def upload(peer: tuple[str, int], size: int, deadline_s: float) -> float:
    """Seconds until the peer has confirmed `size` bytes. Raises OSError, ShortTransfer."""
    started = time.perf_counter()
    with _connect(peer, deadline_s) as connection:
        connection.sendall(HEADER.pack(MAGIC, UPLOAD, size))
        send_bytes(connection, size)
        connection.shutdown(socket.SHUT_WR)
        (count,) = COUNT.unpack(receive_exactly(connection, COUNT.size))
    took = time.perf_counter() - started
    _whole(count, size, "the peer received")
    return took


def download(peer: tuple[str, int], size: int, deadline_s: float) -> float:
    """Seconds until `size` bytes have come. Raises OSError, ShortTransfer."""
    buffer = memoryview(bytearray(CHUNK))
    started = time.perf_counter()
    with _connect(peer, deadline_s) as connection:
        connection.sendall(HEADER.pack(MAGIC, DOWNLOAD, size))
        count = receive_bytes(connection, buffer)
        took = time.perf_counter() - started
    _whole(count, size, "received")
    return took


def _whole(count: int, size: int, who: str) -> None:
    if count != size:
        raise ShortTransfer(f"{who} {count} of {size} bytes")


def _connect(peer: tuple[str, int], deadline_s: float) -> socket.socket:
    """By address: no resolver, which would add its own time and modules."""
    connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        connection.settimeout(deadline_s)
        connection.connect(peer)
    except OSError:
        connection.close()
        raise
    return connection


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

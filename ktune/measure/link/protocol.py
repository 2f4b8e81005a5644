"""What the transfer client and the peer's server say to each other. Standard library only.

The client opens a connection per transfer and sends one header. Upload: the client sends
`size` bytes and closes its half, the server answers with the count that it received. Download:
the server sends `size` bytes and closes. Both sides check the count: half a transfer is no result.
"""

from __future__ import annotations

import os
import socket
import struct

HEADER = struct.Struct("!4sBQ")
COUNT = struct.Struct("!Q")
MAGIC = b"ktn1"
UPLOAD, DOWNLOAD = 1, 2
CHUNK = 1 << 18

PEER_NETWORK, PEER_PREFIX = "10.10.0.0", 16
"""All these addresses are the peer's. A client takes another one for each connection, so that
TCP has nothing to remember of it (tcp_metrics(8) are kept by address, and only real root may
flush them: `ip tcp_metrics flush` in a user namespace is refused)."""
_PAYLOAD = memoryview(bytes(range(256)) * (CHUNK // 256))


class ShortTransfer(Exception):
    """The connection ended before all bytes had come."""


def fresh_peer() -> str:
    """An address of the peer that was most likely not used before."""
    high, low = os.urandom(2)
    return f"10.10.{high}.{low}"


def send_bytes(connection: socket.socket, size: int) -> None:
    """Send exactly `size` bytes of a fixed pattern."""
    left = size
    while left:
        left -= connection.send(_PAYLOAD[: min(left, CHUNK)])


def receive_bytes(connection: socket.socket, buffer: memoryview) -> int:
    """Receive until the other side closes its half; returns how many bytes came."""
    count = 0
    while got := connection.recv_into(buffer):
        count += got
    return count


def receive_exactly(connection: socket.socket, size: int) -> bytes:
    """A small answer. Raises ShortTransfer."""
    text = b""
    while len(text) < size:
        chunk = connection.recv(size - len(text))
        if not chunk:
            raise ShortTransfer(f"the connection ended after {len(text)} of {size} bytes")
        text += chunk
    return text

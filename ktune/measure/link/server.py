"""The peer's transfer server: one connection after the other. Standard library only."""

from __future__ import annotations

import socket

from ktune.measure.link.protocol import (
    CHUNK,
    COUNT,
    DOWNLOAD,
    HEADER,
    MAGIC,
    UPLOAD,
    ShortTransfer,
    receive_bytes,
    receive_exactly,
    send_bytes,
)

_IDLE_S = 30.0


def listen(port: int) -> socket.socket:
    """Listen on all addresses of the peer; done before the link says that it is ready."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("", port))
    listener.listen(16)
    return listener


def serve(listener: socket.socket) -> None:
    """Serve for ever. A client that dies or talks nonsense costs its own connection only."""
    buffer = memoryview(bytearray(CHUNK))
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(_IDLE_S)
            try:
                _serve_one(connection, buffer)
            except (OSError, ShortTransfer):
                continue


def _serve_one(connection: socket.socket, buffer: memoryview) -> None:
    magic, direction, size = HEADER.unpack(receive_exactly(connection, HEADER.size))
    if magic != MAGIC:
        return
    if direction == UPLOAD:
        connection.sendall(COUNT.pack(receive_bytes(connection, buffer)))
    elif direction == DOWNLOAD:
        send_bytes(connection, size)
        connection.shutdown(socket.SHUT_WR)
        # Wait for the client's close, so that the last bytes are not lost with ours.
        connection.recv(1)

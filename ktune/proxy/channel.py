"""Messages between client and guardian: one JSON object a line on a stream socket.

Standard library only. A message is at most 4 MiB; a longer or malformed one ends the connection.
"""

from __future__ import annotations

import fcntl
import json
import socket
import struct
import termios

from ktune.proxy.model import Json, ProxyError

MAX_BYTES = 4 * 1024 * 1024


class ChannelClosed(Exception):
    """The other end is gone."""


class Channel:
    """One end of the connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._buffer = b""

    def send(self, message: Json) -> None:
        """Raises ChannelClosed when nobody listens any more."""
        data = json.dumps(message, separators=(",", ":")).encode() + b"\n"
        try:
            self.sock.sendall(data)
        except OSError as error:
            raise ChannelClosed(str(error)) from error

    def receive(self) -> Json:
        """The next message; blocks as the socket does (timeout: TimeoutError).

        Raises:
            ChannelClosed: end of file.
            ProxyError: not a message.
        """
        while b"\n" not in self._buffer:
            try:
                piece = self.sock.recv(65536)
            except ConnectionError as error:
                raise ChannelClosed(str(error)) from error
            if not piece:
                raise ChannelClosed("the other end closed the connection")
            self._buffer += piece
            if len(self._buffer) > MAX_BYTES:
                raise ProxyError("protocol", "message too long")
        line, _, self._buffer = self._buffer.partition(b"\n")
        try:
            message = json.loads(line)
        except ValueError as error:
            raise ProxyError("protocol", f"not JSON: {error}") from error
        if not isinstance(message, dict):
            raise ProxyError("protocol", "not a JSON object")
        return message

    @property
    def has_buffered(self) -> bool:
        """A whole message waits in the buffer: poll would not tell."""
        return b"\n" in self._buffer

    @property
    def unread(self) -> bool:
        """The other end has not read all that was sent (SIOCOUTQ, unix(7))."""
        return bool(struct.unpack("i", fcntl.ioctl(self.sock, termios.TIOCOUTQ, bytes(4)))[0])

    def close(self) -> None:
        """Close this end."""
        self.sock.close()

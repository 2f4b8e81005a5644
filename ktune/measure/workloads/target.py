"""Where a server listens, and what to say when it does not. Standard library only."""

from __future__ import annotations

import errno
import os
import socket
import time
from dataclasses import dataclass

_RETRY_S = 0.001


class LoadFailed(Exception):
    """The load can't go on: refused, gone or standing still. For people."""


@dataclass(frozen=True)
class Target:
    """Where the server listens: a Unix socket, or else an address and a port."""

    unix: str = ""
    host: str = "127.0.0.1"
    port: int = 0

    def __str__(self) -> str:
        return self.unix or f"{self.host}:{self.port}"

    @property
    def address(self) -> str | tuple[str, int]:
        """For connect(2)."""
        return self.unix or (self.host, self.port)

    def new_socket(self) -> socket.socket:
        """A socket of its family, by address: a resolver would add its own time."""
        inet = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        made = socket.socket(socket.AF_UNIX if self.unix else inet, socket.SOCK_STREAM)
        if not self.unix:
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made

    def connect(self, timeout_s: float) -> socket.socket:
        """A connected, blocking socket. Raises LoadFailed."""
        made = self.new_socket()
        until_s = time.monotonic() + timeout_s
        try:
            made.settimeout(timeout_s)
            while (number := made.connect_ex(self.address)) != 0:
                # A Unix socket with a full backlog says so at once where there is a timeout.
                if number != errno.EAGAIN:
                    raise OSError(number, os.strerror(number))
                if time.monotonic() >= until_s:
                    raise OSError(errno.ETIMEDOUT, f"not accepted within {timeout_s:g} s")
                time.sleep(_RETRY_S)
        except OSError as error:
            made.close()
            raise self.unreachable(error) from None
        return made

    def unreachable(self, error: OSError) -> LoadFailed:
        """Why there is no connection, and what to look at."""
        hint = {
            errno.ECONNREFUSED: "is the server running, and does it listen there?",
            errno.ENOENT: "is the server running, and does it listen there?",
            errno.EACCES: "the workload's user may not use that socket",
            errno.EADDRNOTAVAIL: "no local port is free: fewer connections, or a wider "
            "net.ipv4.ip_local_port_range",
        }.get(error.errno or 0, "")
        words = f"no connection to {self}: {error.strerror or error}"
        return LoadFailed(f"{words}; {hint}" if hint else words)

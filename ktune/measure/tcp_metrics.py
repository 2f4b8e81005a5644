"""Forget what TCP remembers of its peers in this network namespace. Standard library only.

One generic netlink request, TCP_METRICS_CMD_DEL without an address (include/uapi/linux/
tcp_metrics.h; net/ipv4/tcp_metrics.c flushes the caller's namespace then): the same as
`ip tcp_metrics flush`, without needing iproute2. Without it a window starts with the ssthresh
that the window before has learned.
"""

from __future__ import annotations

import os
import socket
import struct

_NETLINK_GENERIC = 16
_CTRL_ID, _CTRL_GETFAMILY, _CTRL_FAMILY_ID, _CTRL_FAMILY_NAME = 0x10, 3, 1, 2
_TCP_METRICS_CMD_DEL = 2
_REQUEST, _ACK, _ERROR = 0x01, 0x04, 0x02
_HEADER = struct.Struct("=IHHII")
_GENERIC = struct.Struct("=BBH")
_ATTRIBUTE = struct.Struct("=HH")


def flush_tcp_metrics() -> None:
    """Flush them. Needs CAP_NET_ADMIN in the namespace. Raises OSError."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_GENERIC) as netlink:
        netlink.settimeout(5.0)
        netlink.bind((0, 0))
        name = b"tcp_metrics\0"
        attribute = _ATTRIBUTE.pack(4 + len(name), _CTRL_FAMILY_NAME) + name
        family = _family(_ask(netlink, _CTRL_ID, _CTRL_GETFAMILY, attribute, _REQUEST))
        _ask(netlink, family, _TCP_METRICS_CMD_DEL, b"", _REQUEST | _ACK)


def _ask(netlink: socket.socket, kind: int, command: int, body: bytes, flags: int) -> bytes:
    payload = _GENERIC.pack(command, 1, 0) + body
    netlink.send(_HEADER.pack(_HEADER.size + len(payload), kind, flags, 1, 0) + payload)
    answer = netlink.recv(65536)
    if _HEADER.unpack_from(answer)[1] == _ERROR:
        code = -struct.unpack_from("=i", answer, _HEADER.size)[0]
        if code:
            raise OSError(code, f"tcp_metrics: {os.strerror(code)}")
    return answer


def _family(answer: bytes) -> int:
    offset = _HEADER.size + _GENERIC.size
    while offset + _ATTRIBUTE.size <= len(answer):
        length, kind = _ATTRIBUTE.unpack_from(answer, offset)
        if kind == _CTRL_FAMILY_ID:
            return int(struct.unpack_from("=H", answer, offset + _ATTRIBUTE.size)[0])
        offset += max(_ATTRIBUTE.size, (length + 3) & ~3)
    raise OSError(0, "this kernel keeps no TCP metrics")

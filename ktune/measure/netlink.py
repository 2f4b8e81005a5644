"""As much netlink as the scope and the link need. Standard library only.

Sources: netlink(7), rtnetlink(7), include/uapi/linux/if_link.h. Netlink asks for rights over the
*namespace*; some of the older ioctls (SIOCSIFTXQLEN) ask for rights over the whole host.
"""

from __future__ import annotations

import os
import socket
import struct

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_REQUEST, _ACK, _ERROR, _CREATE = 0x01, 0x04, 0x02, 0x400
_ROUTE = 0
_RTM_NEWLINK, _RTM_NEWROUTE = 16, 24
_IFLA_MTU, _IFLA_TXQLEN = 4, 13
_IFF_UP = 1
_RTA_DST, _RTA_OIF = 1, 4
_TABLE_MAIN, _TABLE_LOCAL = 254, 255
_SCOPE_LINK, _SCOPE_HOST = 253, 254
_UNICAST, _LOCAL, _BOOT = 1, 2, 3
_PATIENCE_S = 5.0


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded."""
    length = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(length, kind) + value + bytes(-length % 4)


def ask(
    protocol: int, kind: int, body: bytes, *, acknowledge: bool = True, create: bool = False
) -> bytes:
    """One request and the payload of its answer (empty for an acknowledgement).

    Raises OSError with the kernel's error.
    """
    flags = _REQUEST | (_ACK if acknowledge else 0) | (_CREATE if create else 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol) as netlink:
        netlink.settimeout(_PATIENCE_S)
        netlink.bind((0, 0))
        netlink.send(_HEADER.pack(_HEADER.size + len(body), kind, flags, 1, 0) + body)
        answer = netlink.recv(1 << 16)
    if _HEADER.unpack_from(answer)[1] != _ERROR:
        return answer[_HEADER.size :]
    code = -struct.unpack_from("=i", answer, _HEADER.size)[0]
    if code:
        raise OSError(code, os.strerror(code))
    return b""


def attributes(data: bytes) -> dict[int, bytes]:
    """The attributes of an answer, by kind."""
    found = {}
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        if length < _ATTRIBUTE.size:
            break
        found[kind] = data[_ATTRIBUTE.size : length]
        data = data[length + -length % 4 :]
    return found


def bring_up(device: str, *, mtu: int | None = None, tx_queue: int | None = None) -> None:
    """Set a device of this namespace up. Raises OSError.

    `mtu` in bytes; `tx_queue` in packets.
    """
    index = socket.if_nametoindex(device)
    body = struct.pack("=BxHiII", socket.AF_UNSPEC, 0, index, _IFF_UP, _IFF_UP)
    for kind, value in ((_IFLA_MTU, mtu), (_IFLA_TXQLEN, tx_queue)):
        if value is not None:
            body += attribute(kind, struct.pack("=I", value))
    ask(_ROUTE, _RTM_NEWLINK, body)


def add_route(network: str, prefix: int, device: str, *, local: bool = False) -> None:
    """Route a network to a device of this namespace; `local`: all its addresses are our own.

    Raises OSError.
    """
    table, scope, kind = (
        (_TABLE_LOCAL, _SCOPE_HOST, _LOCAL) if local else (_TABLE_MAIN, _SCOPE_LINK, _UNICAST)
    )
    body = struct.pack("=BBBBBBBBI", socket.AF_INET, prefix, 0, 0, table, _BOOT, scope, kind, 0)
    body += attribute(_RTA_DST, socket.inet_aton(network))
    body += attribute(_RTA_OIF, struct.pack("=I", socket.if_nametoindex(device)))
    ask(_ROUTE, _RTM_NEWROUTE, body, create=True)

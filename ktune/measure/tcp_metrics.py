"""Forget what TCP remembers of its peers in this network namespace. Standard library only.

One generic netlink request, TCP_METRICS_CMD_DEL without an address (include/uapi/linux/
tcp_metrics.h; net/ipv4/tcp_metrics.c flushes the caller's namespace then): the same as
`ip tcp_metrics flush`, without needing iproute2. Without it a window starts with the ssthresh
that the window before has learned.
"""

from __future__ import annotations

import errno
import struct

from ktune.measure.netlink import ask, attribute, attributes

_GENERIC = 16
_CONTROL, _GETFAMILY, _FAMILY_ID, _FAMILY_NAME = 0x10, 3, 1, 2
_TCP_METRICS_CMD_DEL = 2
_GENERIC_HEADER = struct.Struct("=BBH")


def flush_tcp_metrics() -> None:
    """Flush them. Needs CAP_NET_ADMIN over the host, not only the namespace. Raises OSError."""
    name = attribute(_FAMILY_NAME, b"tcp_metrics\0")
    request = _GENERIC_HEADER.pack(_GETFAMILY, 1, 0) + name
    answer = ask(_GENERIC, _CONTROL, request, acknowledge=False)
    found = attributes(answer[_GENERIC_HEADER.size :])
    if _FAMILY_ID not in found:
        raise OSError(errno.EOPNOTSUPP, "this kernel keeps no TCP metrics")
    family = struct.unpack("=H", found[_FAMILY_ID])[0]
    try:
        ask(_GENERIC, family, _GENERIC_HEADER.pack(_TCP_METRICS_CMD_DEL, 1, 0))
    except PermissionError as error:
        # GENL_ADMIN_PERM: rights over the namespace alone do not do.
        raise OSError(errno.EPERM, "only root of the host may flush TCP metrics") from error

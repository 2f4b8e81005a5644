"""Namespaces by system call: make, enter and identify them. Standard library only.

Python 3.11 has no os.setns/os.unshare (3.12 has), so both go through libc. A network namespace
is identified by its cookie (SO_NETNS_COOKIE, unique until reboot), never by an inode number,
which the kernel reuses.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from dataclasses import dataclass

CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
_SO_NETNS_COOKIE = 71
_OPEN_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
"""A path out of a forged journal may be a pipe: opening it must not block."""
_LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class NamespaceRef:
    """Where a process must go to see a scope: paths such as `/proc/123/ns/net`.

    `userns` is None when the caller already holds the rights over `netns` (real root).
    """

    netns: str
    userns: str | None = None

    def argv(self) -> list[str]:
        """Options that our child programs take to enter this scope."""
        return [f"--netns={self.netns}", *([f"--userns={self.userns}"] if self.userns else [])]


def unshare(flags: int) -> None:
    """unshare(2). Raises OSError (EPERM where user namespaces are restricted)."""
    if _LIBC.unshare(flags):
        _raise("unshare")


def setns(path: str, kind: int) -> None:
    """setns(2) on a namespace file. Raises OSError."""
    fd = os.open(path, _OPEN_FLAGS)
    try:
        if _LIBC.setns(fd, kind):
            _raise(f"setns {path}")
    finally:
        os.close(fd)


def enter(ref: NamespaceRef) -> None:
    """Move this (single-threaded) process into a scope: user namespace first, then network."""
    netns = os.open(ref.netns, _OPEN_FLAGS)
    try:
        if ref.userns:
            setns(ref.userns, CLONE_NEWUSER)
        if _LIBC.setns(netns, CLONE_NEWNET):
            _raise(f"setns {ref.netns}")
    finally:
        os.close(netns)


def new_network(*, with_user_namespace: bool) -> None:
    """Give this process its own network namespace, and a user namespace in which it is uid 0.

    The uid and gid maps hold the caller alone, which needs no privilege
    (user_namespaces(7)). Raises OSError.
    """
    uid, gid = os.getuid(), os.getgid()
    unshare(CLONE_NEWNET | (CLONE_NEWUSER if with_user_namespace else 0))
    if with_user_namespace:
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"0 {uid} 1")
        _write("/proc/self/gid_map", f"0 {gid} 1")


def netns_cookie() -> int:
    """The cookie of this process's network namespace (Linux >= 5.14). Raises OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        raw = probe.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8)
    return int(struct.unpack("Q", raw)[0])


def boot_id() -> str:
    """The identity of this boot (random(4))."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _raise(what: str) -> None:
    code = ctypes.get_errno()
    raise OSError(code, f"{what}: {os.strerror(code)}")

"""Giving up rights, in the child between fork and exec. Standard library only.

Sources: prctl(2), capabilities(7), and Documentation/userspace-api/no_new_privs.rst.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal

from ktune.kernel.namespaces import CLONE_NEWUSER, unshare

_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG, _PR_CAPBSET_DROP, _PR_SET_CHILD_SUBREAPER = 1, 24, 36
_PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 38, 47, 4
_CAPABILITY_VERSION_3 = 0x20080522
_LAST_CAPABILITY = 63
_PR_SET_KEEPCAPS, _PR_CAP_AMBIENT_RAISE = 8, 2
_CAP_SYS_NICE = 23


class _CapHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


def become_subreaper() -> None:
    """Orphans among our descendants become our children, however they daemonised."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(parent: int) -> None:
    """SIGKILL when the parent ends; a change of uid clears it, so it comes after that.

    `parent` is its process id, taken before the fork: one that has ended already sends nothing
    any more, so this process then ends at once.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def no_new_privileges() -> None:
    """No set-uid program below us gains anything."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def no_core_dumps() -> None:
    """A crash of the workload must not fill the disk in the middle of a window."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def change_user(uid: int, gid: int, groups: list[int]) -> None:
    """Become another user for good. Raises OSError."""
    os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


def keep_through_change() -> None:
    """A change of user takes no capability away; `keep_realtime` is to follow."""
    _prctl(_PR_SET_KEEPCAPS, 1)


def keep_realtime() -> None:
    """Of all capabilities only CAP_SYS_NICE, for the programs we exec too (ambient set,
    capabilities(7)). Raises OSError.

    RLIMIT_RTPRIO would be narrower, but only CAP_SYS_RESOURCE may raise it, which containers lack.
    """
    _set_capabilities(1 << _CAP_SYS_NICE)
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _CAP_SYS_NICE)


def be_named_again(uid: int, gid: int) -> None:
    """From uid 0 of a user namespace back to the caller's own ids, in one more of them: some
    servers refuse to be uid 0, whatever that is worth. Raises OSError."""
    inside, group = os.geteuid(), os.getegid()
    unshare(CLONE_NEWUSER)
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{uid} {inside} 1"),
        ("gid_map", f"{gid} {group} 1"),
    ):
        fd = os.open(f"/proc/self/{name}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)


def drop_capabilities() -> None:
    """Give up all capabilities, for the programs we exec too.

    uid 0 of a user namespace could otherwise change the very settings that are measured.
    """
    with contextlib.suppress(OSError):
        # EPERM at the first one: no right to drop any. EINVAL: above the last one of this kernel.
        for capability in range(_LAST_CAPABILITY + 1):
            _prctl(_PR_CAPBSET_DROP, capability)
    with contextlib.suppress(OSError):
        _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    _set_capabilities(0)


def _set_capabilities(low: int) -> None:
    """The effective, permitted and inheritable set, of the first 32 capabilities."""
    header = _CapHeader(_CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)(low, low, low, 0, 0, 0)
    if _LIBC.capset(ctypes.byref(header), ctypes.byref(sets)):
        code = ctypes.get_errno()
        raise OSError(code, f"capset: {os.strerror(code)}")


def _prctl(option: int, value: int, more: int = 0) -> None:
    if _LIBC.prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(more), 0, 0):
        code = ctypes.get_errno()
        raise OSError(code, f"prctl {option}: {os.strerror(code)}")

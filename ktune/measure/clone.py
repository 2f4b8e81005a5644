"""Fork straight into a cgroup: clone3(2) with CLONE_INTO_CGROUP (Linux 5.7). Standard library only.

To move a process by `cgroup.procs` the kernel waits for a grace period of RCU, about 10 ms each
time (kernel/cgroup/cgroup.c, cgroup_threadgroup_rwsem); a process born inside waits for nothing.
Only for a process with a single thread: the spawner.
"""

from __future__ import annotations

import ctypes
import os
import signal

CLONE_NEWIPC, CLONE_NEWPID = 0x08000000, 0x20000000
_SYS_CLONE3 = 435  # the same number on every architecture
_CLONE_INTO_CGROUP = 0x200000000
_PYTHON = ctypes.pythonapi
_LIBC = ctypes.PyDLL(None, use_errno=True)  # keeps the interpreter's lock, as os.fork does


class _CloneArgs(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_uint64)
        for name in (
            *("flags", "pidfd", "child_tid", "parent_tid", "exit_signal", "stack", "stack_size"),
            *("tls", "set_tid", "set_tid_size", "cgroup"),
        )
    )


def fork_into(cgroup: str, namespaces: int = 0) -> int:
    """As os.fork(), but the child is in the cgroup whose folder this is from its first moment, and
    in new namespaces of these kinds (CLONE_NEW...).

    Raises:
        OSError: no such call here (an older kernel, a container's filter), no right, no free ids.
    """
    folder = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        flags = _CLONE_INTO_CGROUP | namespaces
        arguments = _CloneArgs(flags=flags, exit_signal=signal.SIGCHLD, cgroup=folder)
        where, size = ctypes.byref(arguments), ctypes.c_size_t(ctypes.sizeof(arguments))
        number = ctypes.c_long(_SYS_CLONE3)
        _PYTHON.PyOS_BeforeFork()
        pid = int(_LIBC.syscall(number, where, size))
        code = ctypes.get_errno()
        if pid == 0:
            _PYTHON.PyOS_AfterFork_Child()
        else:
            _PYTHON.PyOS_AfterFork_Parent()
    finally:
        os.close(folder)
    if pid < 0:
        raise OSError(code, f"clone3: {os.strerror(code)}")
    return pid

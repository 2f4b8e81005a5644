"""Hold a process at one exact system call, or list the files that it opens for writing.

ptrace(2) by hand: a fault must hit between two system calls of the unchanged program, and tests
must not need a tracer that the host may lack. Standard library only.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import signal
import subprocess
import sys
import threading
from dataclasses import asdict, dataclass
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.ptrace.argtypes = [ctypes.c_ulong, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_void_p]
_LIBC.ptrace.restype = ctypes.c_long
_SEIZE, _INTERRUPT, _SYSCALL, _DETACH, _INFO = 0x4206, 0x4207, 24, 17, 0x420E
_OPTION_SYSGOOD, _OPTION_FAMILY = 1, 2 | 4 | 8 | 16
_WALL = 0x40000000
_ENTRY, _EXIT = 1, 2
_NUMBERS = {
    "x86_64": {"write": 1, "open": 2, "sendto": 44, "clone": 56, "rename": 82, "openat": 257},
    "aarch64": {"write": 64, "openat": 56, "sendto": 206, "clone": 220, "rename": 38},
}[platform.machine()]
_CLONE_VM = 0x100
"""Not a fork: a thread, or the moment before an exec (posix_spawn, subprocess)."""


class _Info(ctypes.Structure):
    """struct ptrace_syscall_info, entry form."""

    _fields_ = (
        ("op", ctypes.c_uint8),
        ("pad", ctypes.c_uint8 * 3),
        ("arch", ctypes.c_uint32),
        ("ip", ctypes.c_uint64),
        ("sp", ctypes.c_uint64),
        ("number", ctypes.c_uint64),
        ("arguments", ctypes.c_uint64 * 6),
    )


@dataclass(frozen=True)
class Opened:
    """One attempt to open a file."""

    path: str
    flags: int

    @property
    def for_writing(self) -> bool:
        return bool(self.flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC))


class HeldAtWrite:
    """Holds the main thread of `pid` when it has entered (or left) its `count`-th write(2), or
    other `call`, to a file whose path ends in `suffix`.

    `wait()` returns when it is held; it stays so until the context is left.
    """

    def __init__(
        self, pid: int, suffix: str, *, after: bool = False, count: int = 1, call: str = "write"
    ) -> None:
        self._pid, self._suffix, self._after, self._count = pid, suffix, after, count
        self._call = call
        self._seized, self._held, self._done = (threading.Event() for _ in range(3))
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._trace, daemon=True)

    def __enter__(self) -> HeldAtWrite:
        self._thread.start()
        self._until(self._seized)
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Let it go on, untraced."""
        self._done.set()
        self._thread.join(timeout=30)
        assert not self._thread.is_alive(), "the tracer does not end"

    def wait(self) -> None:
        """Until the process is held."""
        self._until(self._held)

    def _until(self, event: threading.Event) -> None:
        assert event.wait(timeout=30), f"{self._pid} never came to write {self._suffix}"
        if self._error is not None:
            raise self._error

    def _trace(self) -> None:
        try:
            _ptrace(_SEIZE, self._pid, 0, _OPTION_SYSGOOD)
            _ptrace(_INTERRUPT, self._pid)
            os.waitpid(self._pid, _WALL)
            self._seized.set()
            self._run_to_the_write()
            self._held.set()
            self._done.wait()
            _LIBC.ptrace(_DETACH, self._pid, None, None)
        except (OSError, AssertionError) as error:
            self._error = error
            self._seized.set()
            self._held.set()

    def _run_to_the_write(self) -> None:
        left = self._count
        while True:
            info = self._next_stop()
            if info.op == _ENTRY and info.number == _NUMBERS[self._call]:
                left -= self._is_meant(info)
                if not left:
                    break
        if self._after:
            while self._next_stop().op != _EXIT:
                pass

    def _is_meant(self, info: _Info) -> bool:
        target = os.readlink(f"/proc/{self._pid}/fd/{info.arguments[0]}")
        return target.endswith(self._suffix)

    def _next_stop(self) -> _Info:
        deliver = 0
        while True:
            _ptrace(_SYSCALL, self._pid, 0, deliver)
            _, status = os.waitpid(self._pid, _WALL)
            assert os.WIFSTOPPED(status), f"{self._pid} ended before it wrote {self._suffix}"
            if os.WSTOPSIG(status) == signal.SIGTRAP | 0x80:
                return _info(self._pid)
            deliver = 0 if status >> 16 else os.WSTOPSIG(status)


class HeldAtFork(HeldAtWrite):
    """Holds the main thread of `pid` when its next os.fork() is about to return to it."""

    def __init__(self, pid: int) -> None:
        super().__init__(pid, "a fork", after=True, call="clone")

    def _is_meant(self, info: _Info) -> bool:
        return not info.arguments[0] & _CLONE_VM


class HeldAtRename(HeldAtWrite):
    """Holds the main thread of `pid` when it has renamed a file to a path that contains `part`, or
    is about to."""

    def __init__(self, pid: int, part: str, *, after: bool = True) -> None:
        super().__init__(pid, part, after=after, call="rename")

    def _is_meant(self, info: _Info) -> bool:
        target = 1 if platform.machine() == "x86_64" else 3  # rename(2), renameat(2)
        return self._suffix in _text(self._pid, info.arguments[target])


def opened_files(*argv: str) -> list[Opened]:
    """Run a program with all its children and list every file that it tried to open.

    The tracing is done by a process of its own: it waits for any child.
    """
    done = subprocess.run(
        [sys.executable, "-m", __name__, *argv],
        stdout=subprocess.PIPE,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    return [Opened(**raw) for raw in json.loads(done.stdout)]


def main(argv: list[str]) -> None:
    """Trace one program and print what it opened as JSON."""
    ready, go = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(go)
        os.read(ready, 1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        try:
            os.execv(argv[0], argv)
        finally:
            os._exit(127)
    _ptrace(_SEIZE, child, 0, _OPTION_SYSGOOD | _OPTION_FAMILY)
    _ptrace(_INTERRUPT, child)
    os.close(go)
    json.dump([asdict(item) for item in _opens_of_family(child)], sys.stdout)


def _opens_of_family(leader: int) -> list[Opened]:
    found: list[Opened] = []
    alive = {leader}
    while alive:
        pid, status = os.waitpid(-1, _WALL)
        if os.WIFEXITED(status) or os.WIFSIGNALED(status):
            alive.discard(pid)
            continue
        alive.add(pid)
        deliver = 0
        if os.WSTOPSIG(status) == signal.SIGTRAP | 0x80:
            info = _info(pid)
            if info.op == _ENTRY:
                found += _open_of(pid, info)
        elif not status >> 16:
            deliver = os.WSTOPSIG(status)
        _LIBC.ptrace(_SYSCALL, pid, None, deliver)
    return found


def _open_of(pid: int, info: _Info) -> list[Opened]:
    if info.number == _NUMBERS["openat"]:
        return [Opened(_text(pid, info.arguments[1]), int(info.arguments[2]))]
    if info.number == _NUMBERS.get("open", -1):
        return [Opened(_text(pid, info.arguments[0]), int(info.arguments[1]))]
    return []


def _text(pid: int, address: int) -> str:
    fd = os.open(f"/proc/{pid}/mem", os.O_RDONLY)
    try:
        return os.pread(fd, 4096, address).split(b"\0", 1)[0].decode(errors="replace")
    except OSError:
        return os.pread(fd, 4096 - address % 4096, address).split(b"\0", 1)[0].decode()
    finally:
        os.close(fd)


def _info(pid: int) -> _Info:
    info = _Info()
    _ptrace(_INFO, pid, ctypes.sizeof(info), ctypes.addressof(info))
    return info


def _ptrace(request: int, pid: int, address: int = 0, data: int = 0) -> None:
    if _LIBC.ptrace(request, pid, address, data) < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"ptrace: {os.strerror(code)}")


if __name__ == "__main__":
    main(sys.argv[1:])

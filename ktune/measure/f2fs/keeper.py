"""Child program in whose mount namespace an f2fs lives. Standard library only.

Nothing else holds the mount, the loop device or the image (which has no name any more): when this
process ends, whatever ends it, the kernel takes all three down. `FOLDER/data` leads others there by
/proc/PID/root (proc_pid_root(5)).
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import select
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from ktune.kernel.namespaces import unshare
from ktune.measure.f2fs import loop
from ktune.measure.held_folder import Hold
from ktune.measure.keeping import control_socket, held_or_told, say, say_error
from ktune.records.services import RunningService

CLONE_NEWNS = 0x00020000
END = b"end\n"
_MS_REC_PRIVATE = 0x4000 | 1 << 18
_MS_NOATIME = 1 << 10
_MKFS_S = 60.0
_BUSY_S = 10.0
_GRACE_S = 3.0
"""After a tuner that died: its guardian puts the knobs back while they are still there."""
_KEEP_FREE_BYTES = 64 << 20
_LIBC = ctypes.CDLL(None, use_errno=True)


def main(argv: Sequence[str]) -> int:
    """`argv`: the folder, bytes of the image, the loop device's number, mkfs.f2fs, the mount option
    `mode`, what `status` tells."""
    control = control_socket()
    folder, size_bytes, number = Path(argv[0]), int(argv[1]), int(argv[2])
    mkfs, mode, told = argv[3:6]
    with control:
        held = held_or_told(control, folder)
        if held is None:
            return 1
        try:
            device = _device(folder, size_bytes, number)
        except OSError as error:  # loopN may be somebody else's, which is left alone
            shutil.rmtree(folder, ignore_errors=True)
            held.release()
            say_error(control, "failed", error)
            return 1
        try:
            _make(folder, device, number, mkfs, mode)
            held.tell(RunningService(**json.loads(told)))
            say(control, "ready")
            if control.recv(1 << 10) != END:
                time.sleep(_GRACE_S)
        except OSError as error:
            say_error(control, "failed", error)
        return _undo(control, held, number)


def _device(folder: Path, size_bytes: int, number: int) -> int:
    """A descriptor of the loop device with a new image. Raises OSError: EBUSY, it is not ours."""
    if folder.is_dir():  # of a run whose keeper was killed
        shutil.rmtree(folder)
    folder.mkdir(mode=0o700)
    return loop.attach(number, _image(folder, size_bytes))


def _make(folder: Path, device: int, number: int, mkfs: str, mode: str) -> None:
    """Format and mount it; `device` is closed. Raises OSError."""
    inside = _inside(folder)
    try:
        inside.mkdir(mode=0o700)
        unshare(CLONE_NEWNS)
        _mount("none", Path("/"), "", _MS_REC_PRIVATE)
        _format(mkfs, f"/dev/loop{number}")
        _mount(f"/dev/loop{number}", inside, "f2fs", _MS_NOATIME, f"mode={mode}")
    finally:
        os.close(device)
    (folder / "data").symlink_to(f"/proc/{os.getpid()}/root{inside}")


def _inside(folder: Path) -> Path:
    return folder / "mounted"


def _image(folder: Path, size_bytes: int) -> int:
    """A file with all its blocks and without a name. Raises OSError."""
    space = os.statvfs(folder)
    if space.f_bavail * space.f_frsize < size_bytes + _KEEP_FREE_BYTES:
        need = (size_bytes + _KEEP_FREE_BYTES) >> 20
        raise OSError(errno.ENOSPC, f"{need} MiB are wanted ({_KEEP_FREE_BYTES >> 20} stay free)")
    path = folder / "image"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    path.unlink()
    os.posix_fallocate(fd, 0, size_bytes)
    return fd


def _format(mkfs: str, device: str) -> None:
    try:
        done = subprocess.run(
            [mkfs, "-q", "-f", device],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_MKFS_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise OSError(0, f"{mkfs} did not end within {_MKFS_S:.0f} s") from None
    if done.returncode:
        said = done.stdout.decode(errors="replace").strip()[-400:]
        raise OSError(0, f"{mkfs} ended with {done.returncode}: {said}")


def _undo(control: socket.socket, held: Hold, number: int) -> int:
    try:
        _unmount(_inside(held.folder))
        _let_go(number)
        if held.folder.is_dir():
            shutil.rmtree(held.folder)
    except OSError as error:
        say_error(control, "left", error)
        return 1
    held.release()
    say(control, "done")
    return 0


def _unmount(inside: Path) -> None:
    """A workload that was just killed may need a moment. Raises OSError."""
    until = time.monotonic() + _BUSY_S
    while os.path.ismount(inside):
        if _LIBC.umount2(os.fsencode(inside), 0) and time.monotonic() > until:
            code = ctypes.get_errno()
            raise OSError(code, f"umount {inside}: {os.strerror(code)}")
        select.select([], [], [], 0.02)


def _let_go(number: int) -> None:
    """The device empties itself a moment after the unmounting. Raises OSError."""
    until = time.monotonic() + _BUSY_S
    while os.path.exists("/dev/loop-control"):
        try:
            loop.remove(number)
        except OSError:
            if time.monotonic() > until:
                raise
            select.select([], [], [], 0.02)
        else:
            return


def _mount(what: str, where: Path, kind: str, flags: int, options: str = "") -> None:
    words = (what.encode(), os.fsencode(where), kind.encode())
    if _LIBC.mount(*words, flags, options.encode()):
        code = ctypes.get_errno()
        raise OSError(code, f"mount {kind or what} {where}: {os.strerror(code)}")

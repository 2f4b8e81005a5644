"""Things to break that a test makes for itself: file systems, cgroups, mount namespaces."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.knobs import write_knob
from tests.proxy.rig import wait_until

V1 = Path("/sys/fs/cgroup")
V2 = (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup"))
THAW_AFTER_S = 60

READ_ONLY_PROC_SYS = (
    *("unshare", "--mount", "sh", "-c"),
    'mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && exec "$@"',
    "sh",
)
"""argv that runs a program where /proc/sys is read-only, in a mount namespace of its own."""


@contextmanager
def ext4(folder: Path) -> Iterator[Path]:
    """A small ext4 on a loop device. Thawed and unmounted whatever happens."""
    image, mount = folder / "disk.img", folder / "disk"
    with image.open("wb") as file:
        file.truncate(16 << 20)
    run("mkfs.ext4", "-q", "-F", str(image))
    mount.mkdir()
    run("mount", "-o", "loop", str(image), str(mount))
    try:
        yield mount
    finally:
        with suppress(subprocess.CalledProcessError):
            run("fsfreeze", "--unfreeze", str(mount))
        run("umount", "--lazy", str(mount))


@contextmanager
def tmpfs(folder: Path, size: str) -> Iterator[Path]:
    """A small file system in memory."""
    mount = folder / "small"
    mount.mkdir()
    run("mount", "-t", "tmpfs", "-o", f"size={size}", "ktune-test", str(mount))
    try:
        yield mount
    finally:
        run("umount", "--lazy", str(mount))


@contextmanager
def frozen(mount: Path) -> Iterator[None]:
    """A frozen file system; a process of its own thaws it, should this one die."""
    watchdog = subprocess.Popen(
        ["sh", "-c", 'sleep "$0"; exec fsfreeze --unfreeze "$1"', str(THAW_AFTER_S), str(mount)],
        start_new_session=True,
        stderr=subprocess.DEVNULL,
    )
    run("fsfreeze", "--freeze", str(mount))
    try:
        yield
    finally:
        run("fsfreeze", "--unfreeze", str(mount))
        os.killpg(watchdog.pid, signal.SIGKILL)
        watchdog.wait()


def fill(mount: Path) -> None:
    """Leave no free block."""
    with suppress(OSError), open(mount / "ballast", "wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)


@contextmanager
def v1_cgroup(controller: str) -> Iterator[Path | None]:
    """A cgroup v1 folder of the test's own; None where the host has no such controller."""
    root = V1 / controller
    if not (root / "cgroup.procs").exists() or not (root / "tasks").exists():
        yield None
        return
    with _cgroup(root) as folder:
        yield folder


@contextmanager
def v2_cgroup() -> Iterator[Path | None]:
    """A cgroup v2 folder of the test's own; None where the host has none."""
    root = next((path for path in V2 if (path / "cgroup.controllers").exists()), None)
    if root is None:
        yield None
        return
    with _cgroup(root) as folder:
        yield folder


@contextmanager
def _cgroup(root: Path) -> Iterator[Path]:
    folder = root / f"ktune-test-{os.getpid()}"
    folder.mkdir()
    try:
        yield folder
    finally:
        for pid in (folder / "cgroup.procs").read_text().split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        wait_until(lambda: not (folder / "cgroup.procs").read_text())
        for inner in sorted(folder.rglob("*/"), reverse=True):
            if inner.is_dir():
                inner.rmdir()  # a window's, whose supervisor was killed
        folder.rmdir()


def limit(folder: Path, name: str, value: int | str) -> None:
    """Set one limit of a cgroup."""
    write_knob(str(folder / name), str(value))


def run(*argv: str) -> None:
    """Run a tool that must succeed."""
    subprocess.run(argv, check=True, capture_output=True)

"""What the machine that starts a guest must have, and how to get it."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Iterable
from pathlib import Path

PACKAGES = {
    "apt-get": "apt",
    "apt-cache": "apt",
    "dpkg": "dpkg",
    "qemu-system-x86_64": "qemu-system-x86",
    "busybox": "busybox-static",
    "depmod": "kmod",
    "modprobe": "kmod",
    "setpriv": "util-linux",
    "make": "make",
    "gcc": "gcc",
    "mke2fs": "e2fsprogs",
    "ip": "iproute2",
    "date": "coreutils",
    "mount": "mount",
    "umount": "mount",
    "unshare": "util-linux",
    "cp": "coreutils",
    "systemctl": "systemd",
    "systemd-analyze": "systemd",
}
"""Program -> Debian package that has it."""

BOOT = ("apt-get", "apt-cache", "dpkg", "qemu-system-x86_64", "busybox", "depmod", "setpriv")
BUILD = ("make", "gcc")
SYSTEMD = ("mke2fs", "systemctl", "systemd-analyze")
_SBIN = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
_PT_INTERP = 3


class GuestError(Exception):
    """Something a person has to do something about; the text says what."""


def program(name: str) -> str:
    """Path of a program, also where an ordinary user's PATH has no sbin.

    Raises GuestError with the line that installs it.
    """
    found = _find(name)
    if found is None:
        raise GuestError(_missing([name]))
    return found


def check(names: Iterable[str]) -> None:
    """Raise GuestError that names everything that is missing, at once."""
    missing = [name for name in names if _find(name) is None]
    if missing:
        raise GuestError(_missing(missing))


def static_busybox() -> Path:
    """A busybox that runs where there is no libc. Raises GuestError."""
    path = Path(program("busybox"))
    if _has_interpreter(path.read_bytes()):
        raise GuestError(
            f"{path} needs shared libraries, which the first seconds of a guest don't have; "
            "install a static one: apt-get install busybox-static"
        )
    return path


def _find(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path=_SBIN)


def _missing(names: list[str]) -> str:
    packages = sorted({PACKAGES[name] for name in names})
    return (
        f"not installed: {', '.join(names)}; to install: "
        f"apt-get install --no-install-recommends {' '.join(packages)}"
    )


def _has_interpreter(elf: bytes) -> bool:
    """Has a 64-bit ELF file a PT_INTERP segment (elf(5)), that is: is it linked dynamically?"""
    offset, size, count = (
        struct.unpack_from("<Q", elf, 32)[0],
        *struct.unpack_from("<HH", elf, 54),
    )
    kinds = (struct.unpack_from("<I", elf, offset + size * index)[0] for index in range(count))
    return _PT_INTERP in kinds

"""A root for a guest that goes to sleep: everything in its initramfs, nothing over 9p.

virtio's 9p driver knows no suspend: after the first one its queues are gone, and with them every
file (drivers/virtio/virtio.c, virtio_device_restore). So what the tests need is in memory.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path

from .archive import Archive
from .needs import program

_PROGRAMS = ("ip", "date", "mount", "umount", "unshare")
"""Beside busybox's: ktune and its tests know them by their full options."""
_NOT_NEEDED = re.compile(
    r"test|tests|idlelib|tkinter|turtledemo|lib2to3|ensurepip|site-packages|config-.*|.*\.opt-\d\.pyc"
)
"""Folders of the standard library."""
_NOT_PACKED = re.compile(
    r"(scipy|mypyc?|librt|pip|setuptools|sqlalchemy|alembic|torch|nvidia|triton|ruff|hatchling)\b.*"
    r"|.*__mypyc.*",
    re.IGNORECASE,
)
"""Packages of the environment that no test of a sleeping guest imports."""
_NOTHING = re.compile(r"(?!)")
_OF_THE_CHECKOUT = ("ktune", "tests", "profiles", "schemas", "pyproject.toml")
_OF_THE_MACHINE = ("/etc/passwd", "/etc/group")


def pack(archive: Archive, checkout: Path) -> None:
    """Add Python with its standard library, the environment, the checkout, and their libraries.

    Paths are those of this machine. Raises CalledProcessError: ldd can't read a library.
    """
    interpreter = Path(os.path.realpath(sys.executable))
    environment = Path(sys.prefix)
    wanted: dict[Path, Path] = {}
    for source in (
        _tree(Path(sysconfig.get_path("stdlib")), _NOT_NEEDED),
        _tree(Path(sysconfig.get_path("purelib")), _NOT_PACKED),
        *(_tree(checkout / name) for name in _OF_THE_CHECKOUT),
        [environment / "pyvenv.cfg", interpreter],
        [Path(program(name)) for name in _PROGRAMS],
        [Path(name) for name in _OF_THE_MACHINE],
    ):
        wanted.update((path, Path(os.path.realpath(path))) for path in source)
    binaries = [real for real in set(wanted.values()) if _is_linked(real)]
    wanted.update((path, path) for path in _libraries(binaries))
    for path, real in sorted(wanted.items()):
        about = real.stat()  # the time tells Python that its compiled files are not stale
        archive.file(str(path), real.read_bytes(), about.st_mode & 0o777, int(about.st_mtime))
    for name in sorted((environment / "bin").glob("python*")):
        archive.link(str(name), str(interpreter))


def _tree(top: Path, without: re.Pattern[str] = _NOTHING) -> Iterator[Path]:
    """Files below `top`, or `top` itself; folders and files whose names match are left out."""
    if top.is_file():
        yield top
    for folder, folders, files in os.walk(top):
        folders[:] = [name for name in folders if not without.fullmatch(name)]
        yield from (Path(folder, name) for name in files if not without.fullmatch(name))


def _is_linked(path: Path) -> bool:
    """A program or a shared library, and not an object for the kernel (ET_EXEC, ET_DYN; elf(5))."""
    with open(path, "rb") as file:
        head = file.read(18)
    return head[:4] == b"\x7fELF" and head[16] in (2, 3)


def _libraries(binaries: Iterable[Path]) -> set[Path]:
    """Shared libraries, and the loader, of all these files (ldd(1))."""
    shown = subprocess.run(
        ["ldd", *map(str, binaries)], capture_output=True, text=True, check=True
    ).stdout
    found = re.findall(r"(?:=> |^\s+)(/\S+) \(0x", shown, re.MULTILINE)
    return {Path(text) for text in found}

"""A kernel of a newer Debian, made usable here: its build tools need a newer libc than this
machine's, its headers another compiler, its packages have other parts.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from .needs import program

LIBRARIES = ("libc6", "libelf1t64", "libssl3t64", "libzstd1", "zlib1g")
"""What the programs of linux-kbuild are linked to."""
_LOADER = "ld-linux-x86-64.so.2"
_ALIGNED = "CC_HAS_MIN_FUNCTION_ALIGNMENT"


def adapt(root: Path, release: str, place: Path) -> None:
    """Change what was unpacked to `root`, and will be at `place`, so that modules build here."""
    headers = root / "usr" / "src" / f"linux-headers-{release}"
    if not (root / "lib").exists():
        (root / "lib").symlink_to("usr/lib")
        (root / "boot").mkdir()
        image = f"../usr/lib/modules/{release}/vmlinuz"
        (root / "boot" / f"vmlinuz-{release}").symlink_to(image)
    # Only types for BTF, of which this machine's pahole can be too old to read.
    (headers / "vmlinux").unlink(missing_ok=True)
    _with_their_libraries(root, place)
    _for_our_compiler(headers)


def _with_their_libraries(root: Path, place: Path) -> None:
    """Each program becomes a script that starts it with the libraries that came with it.

    objtool is two: the first finds the second by its own name.
    """
    libraries = "usr/lib/x86_64-linux-gnu"
    if not (root / libraries / _LOADER).exists():
        return
    words = f'{place / libraries / _LOADER} --argv0 "$0" --library-path {place / libraries}'
    for path in sorted(root.glob("usr/lib/linux-kbuild-*/**/*")):
        if path.is_symlink() or not path.is_file() or not path.stat().st_mode & 0o100:
            continue
        if path.read_bytes()[:4] != b"\x7fELF":
            continue
        real = path.with_name(f"{path.name}.elf")
        path.rename(real)
        path.write_text(f'#!/bin/sh\nexec {words} "$0.elf" "$@"\n')
        path.chmod(0o755)


def _for_our_compiler(headers: Path) -> None:
    """gcc in the place of the headers' gcc-N, without the option that only 14 and newer has."""
    named = headers / ".kernelvariables"
    text = named.read_text()
    wanted = re.search(r"\$\(CROSS_COMPILE\)(gcc-\d+)", text)
    if wanted is None or shutil.which(f"x86_64-linux-gnu-{wanted[1]}"):
        return
    named.write_text(text.replace(wanted[0], "gcc"))
    option = "-fmin-function-alignment=16"
    words = [program("gcc"), option, "-S", "-x", "c", "-o", "/dev/null", "/dev/null"]
    if subprocess.run(words, capture_output=True).returncode == 0:
        return
    for name in ("config/auto.conf", "generated/autoconf.h"):
        made = headers / "include" / name
        kept = [line for line in made.read_text().splitlines(True) if _ALIGNED not in line]
        made.write_text("".join(kept))

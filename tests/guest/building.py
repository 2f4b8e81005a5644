"""Builds a kernel module out of its tree, against the headers of an unpacked kernel."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from .kernels import Kernel
from .needs import BUILD, GuestError, check, program


def build(source: Path, kernel: Kernel, work: Path) -> Path:
    """Copy `source` to `work` and build it there; the folder with the .ko files.

    Raises GuestError with the compiler's words.
    """
    check(BUILD)
    target = work / source.name
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.o", "*.ko", "*.mod*", ".*"))
    done = subprocess.run(
        [program("make"), "-s", "-C", str(kernel.headers), f"M={target}", "modules"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode != 0:
        raise GuestError(f"{source} does not build for {kernel.release}:\n{done.stdout.strip()}")
    if not list(target.rglob("*.ko")):
        raise GuestError(f"{source} built for {kernel.release} made no .ko file")
    return target

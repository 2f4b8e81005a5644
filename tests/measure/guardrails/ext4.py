"""An ext4 of our own on a loop device, whose kernel code can be asked to report an error."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def ext4_on_loop(folder: Path) -> Iterator[str]:
    """A mounted ext4 of our own; gives its name, `loop3`. Tests have a mount namespace."""
    image, mount = folder / "image", folder / "mount"
    with image.open("wb") as file:
        file.truncate(8 << 20)
    mount.mkdir()
    subprocess.run(
        ["mkfs.ext4", "-q", "-F", "-e", "continue", str(image)], check=True, capture_output=True
    )
    made = subprocess.run(["losetup", "-f", "--show", str(image)], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"no loop device: {made.stderr.strip()}")
    device = made.stdout.strip()
    try:
        subprocess.run(["mount", "-o", "errors=continue", device, str(mount)], check=True)
        try:
            yield Path(device).name
        finally:
            subprocess.run(["umount", str(mount)], check=True)
    finally:
        subprocess.run(["losetup", "-d", device], check=True)

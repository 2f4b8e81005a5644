"""A disk that outlives the boots of a guest: a sparse file with ext4."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from .needs import program

_SIZE_MIB = 512


@dataclass(frozen=True)
class Disk:
    """One image file. A guest that has it writes there what it would write into memory."""

    image: Path

    @staticmethod
    def make(image: Path, *, size_mib: int = _SIZE_MIB) -> Disk:
        """An empty one. Raises GuestError: mke2fs is not there."""
        with open(image, "xb") as file:
            file.truncate(size_mib << 20)
        words = ("-q", "-F", "-t", "ext4", "-m", "0", "-E", "lazy_itable_init=0,root_owner=0:0")
        subprocess.run([program("mke2fs"), *words, str(image)], check=True)
        return Disk(image)

    def copied(self, image: Path) -> Disk:
        """Another disk with the same content: the machine as it was between two boots."""
        subprocess.run(
            [program("cp"), "--sparse=always", "--reflink=auto", str(self.image), str(image)],
            check=True,
        )
        return Disk(image)

    @property
    def words(self) -> tuple[str, ...]:
        """What QEMU has to be told: /dev/vda. What the guest has synced survives a cut of power."""
        return ("-drive", f"file={self.image},if=virtio,format=raw,cache=writeback")

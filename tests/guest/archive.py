"""An initramfs, written directly: cpio's "newc" format, which the kernel unpacks at boot.

Format: Documentation/driver-api/early-userspace/buffer-format.rst of the kernel.
"""

from __future__ import annotations

import stat


class Archive:
    """Collects files, gives the archive. Missing parent folders are made."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._folders: set[str] = set()
        self._entries = 0

    def folder(self, path: str) -> None:
        """Add a folder and those above it."""
        parts = path.strip("/").split("/")
        for depth in range(1, len(parts) + 1):
            name = "/".join(parts[:depth])
            if name and name not in self._folders:
                self._folders.add(name)
                self._add(name, stat.S_IFDIR | 0o755, b"", (0, 0))

    def file(self, path: str, content: bytes, mode: int = 0o644, changed_s: int = 0) -> None:
        """Add a regular file; `changed_s`: its time, in seconds since 1970."""
        self.folder(path.strip("/").rpartition("/")[0])
        self._add(path.strip("/"), stat.S_IFREG | mode, content, (0, 0), changed_s)

    def link(self, path: str, target: str) -> None:
        """Add a symbolic link."""
        self.folder(path.strip("/").rpartition("/")[0])
        self._add(path.strip("/"), stat.S_IFLNK | 0o777, target.encode(), (0, 0))

    def character_device(self, path: str, major: int, minor: int) -> None:
        """Add a device node; making one needs no right here."""
        self.folder(path.strip("/").rpartition("/")[0])
        self._add(path.strip("/"), stat.S_IFCHR | 0o600, b"", (major, minor))

    def written(self) -> bytes:
        """The whole archive, not compressed: emulation unpacks slowly."""
        end = Archive()
        end._add("TRAILER!!!", 0, b"", (0, 0))
        return bytes(self._data + end._data)

    def _add(
        self, name: str, mode: int, content: bytes, device: tuple[int, int], changed_s: int = 0
    ) -> None:
        self._entries += 1
        label = name.encode() + b"\0"
        numbers = (
            *(self._entries, mode, 0, 0, 1, changed_s, len(content), 0, 0),
            *(*device, len(label), 0),
        )
        self._data += b"070701" + b"".join(b"%08X" % number for number in numbers) + label
        self._pad()
        self._data += content
        self._pad()

    def _pad(self) -> None:
        self._data += b"\0" * (-len(self._data) % 4)

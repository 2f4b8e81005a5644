"""Folders that only their owner may enter. Standard library only."""

from __future__ import annotations

from pathlib import Path

_PRIVATE = 0o700


def private_folder(folder: Path) -> Path:
    """Make `folder` and the missing ones above it, ours alone. Raises OSError.

    `Path.mkdir(parents=True)` gives its mode to the last folder only, hence the recursion.
    """
    if not folder.is_dir():
        if folder.parent != folder:
            private_folder(folder.parent)
        folder.mkdir(mode=_PRIVATE, exist_ok=True)
    return folder

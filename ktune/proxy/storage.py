"""Where journals lie and where they are registered. Standard library only."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from ktune.proxy.folders import private_folder
from ktune.proxy.journal import SUFFIX

_KEPT_ARCHIVES = 200


class ProxyPaths(Protocol):
    """The two folders the proxy needs (`ktune.records.paths.StatePaths` has them)."""

    @property
    def journal(self) -> Path:
        """Journals, one file a lease."""

    @property
    def runtime(self) -> Path:
        """Locks and registered journals; the same for every `--state-dir` of one user."""


def register_dir(paths: ProxyPaths) -> Path:
    """Links to every journal that may be pending, whatever its state directory."""
    return paths.runtime / "journals"


def prepare(paths: ProxyPaths) -> None:
    """Make the folders (0700). Raises OSError."""
    for folder in (paths.journal, paths.runtime, register_dir(paths)):
        private_folder(folder)


def journals(paths: ProxyPaths) -> Iterator[Path]:
    """Every journal that is not archived: of this state directory and registered ones."""
    seen = set()
    for folder in (paths.journal, register_dir(paths)):
        if not folder.is_dir():
            continue
        for entry in sorted(folder.iterdir()):
            if entry.suffix != SUFFIX:
                continue
            real = Path(os.path.realpath(entry)) if entry.is_symlink() else entry
            if real in seen or not os.path.lexists(real):
                continue
            seen.add(real)
            yield real


def archive(journal: Path, paths: ProxyPaths) -> None:
    """Move an ended journal out of the way and forget its registration. Raises OSError."""
    folder = journal.parent / "archive"
    folder.mkdir(mode=0o700, exist_ok=True)
    os.replace(journal, folder / journal.name)
    unregister(journal, paths)
    old = sorted(folder.glob(f"*{SUFFIX}"), key=lambda path: path.stat().st_mtime)
    for path in old[:-_KEPT_ARCHIVES]:
        path.unlink(missing_ok=True)


def unregister(journal: Path, paths: ProxyPaths) -> None:
    """Remove the link that names `journal`, if there is one."""
    (register_dir(paths) / journal.name).unlink(missing_ok=True)

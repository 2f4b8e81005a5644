"""The folder of a swap file: one run at a time, and how it is undone. Standard library only.

`STATE/services/run/SWAP-xxxxxxxx` holds the file and the name of the memory cgroup; the lock beside
it is held by whoever answers for both. Without a holder they are a dead run's, to be undone. A link
in the runtime folder names the folder, whatever `--state-dir` was; a reboot ends both.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from ktune.measure.held_folder import Hold, Taken, hold
from ktune.measure.swap import area
from ktune.measure.swap.memory_group import MemoryGroup
from ktune.proxy.folders import private_folder
from ktune.records.paths import ROOT_RUNTIME

NAME = "SWAP"
"""No service can have it: their names are lower case."""
KIND = "swap"
_GROUP = "group"
_REGISTER = ROOT_RUNTIME / "swaps"


def register(folder: Path) -> None:
    """Before anything is made. Raises OSError."""
    link = _link(folder)
    private_folder(link.parent)
    link.unlink(missing_ok=True)
    link.symlink_to(folder)


def release(held: Hold) -> None:
    """Nothing is left in the folder's place."""
    _link(held.folder).unlink(missing_ok=True)
    held.release()


def note_group(folder: Path, group: Path) -> None:
    """Before it is made: what is on disk can be undone. Raises OSError."""
    fd = os.open(folder / _GROUP, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, os.fsencode(group))
        os.fsync(fd)
    finally:
        os.close(fd)


def undo(folder: Path) -> None:
    """Whoever is in the group ends, the swap file is switched off, everything is removed.

    Raises OSError where the kernel refuses; then the file is still there, to be tried again.
    """
    with contextlib.suppress(FileNotFoundError):
        MemoryGroup(Path(os.fsdecode((folder / _GROUP).read_bytes()))).end()
    file = folder / area.FILE
    if area.is_on(file):
        area.switch_off(file)
    if folder.is_dir():
        shutil.rmtree(folder)


def left(state: Path) -> Iterator[Path]:
    """Folders that nobody holds any more: of this state folder, and registered ones."""
    places = sorted((state / "services" / "run").glob(f"{NAME}-????????"))
    with contextlib.suppress(OSError):  # there is none, or it is root's
        places += sorted(_REGISTER.iterdir())
    for folder in dict.fromkeys(map(Path, map(os.path.realpath, places))):
        if _is_ours(folder) and not _held(folder):
            yield folder


def undo_left(state: Path) -> Iterator[tuple[Path, str]]:
    """Undo what dead runs have left: each folder, and why it could not be (empty: it was)."""
    for folder in list(left(state)):
        try:
            held = hold(folder)
        except (Taken, OSError):
            continue  # a run has just taken it over
        try:
            undo(folder)
        except OSError as error:
            os.close(held.fd)
            yield folder, error.strerror or str(error)
        else:
            release(held)
            yield folder, ""


def undone_text(folder: Path, problem: str) -> str:
    """What became of it, for people; `problem` as `undo_left` tells it."""
    if problem:
        return f"NOT undone: the swap file that a dead run has left in {folder}: {problem}"
    return f"swap file and memory cgroup that a dead run had left are gone: {folder}"


def _link(folder: Path) -> Path:
    digits = hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
    return _REGISTER / f"{folder.name}-{digits}"


def _is_ours(folder: Path) -> bool:
    """A folder of our own user: another one's is his to undo."""
    try:
        found = folder.stat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()


def _held(folder: Path) -> bool:
    try:
        held = hold(folder)
    except (Taken, OSError):
        return True
    os.close(held.fd)
    return False

"""Scopes that `tune --keep-scope` left: who holds them, so that `rollback --all` can end them.

Standard library only. A file that lies here proves nothing: whoever ends a scope checks that the
process still is its holder.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from ktune.proxy.folders import private_folder
from ktune.records import atomic
from ktune.records.codec import RecordError, decode, encode
from ktune.records.paths import StatePaths


@dataclass(frozen=True)
class KeptScopeRecord:
    """The holder's process id and its namespace's cookie."""

    pid: int
    cookie: int


def remember(paths: StatePaths, kept: KeptScopeRecord) -> None:
    """Write it down. Raises OSError."""
    folder = private_folder(paths.state / "kept")
    atomic.write_json(folder / f"{kept.cookie}.json", encode(kept))


def take_all(paths: StatePaths) -> Iterator[KeptScopeRecord]:
    """Every scope on record; each record is removed as it is given out. Raises OSError."""
    folder = paths.state / "kept"
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else ():
        try:
            yield decode(KeptScopeRecord, json.loads(path.read_bytes()), str(path))
        except (ValueError, RecordError):
            continue  # not ours to understand: the holder ends by itself
        finally:
            path.unlink(missing_ok=True)

"""Policies that are applied after every boot: `persisted/` of the state folder.

Per policy a record and a copy of its file; `boot.json` says which of them the last boot was begun
under, and whether it stayed healthy. Standard library only (`status` reads it).
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path

from ktune.kernel.namespaces import boot_id
from ktune.proxy.folders import private_folder
from ktune.records import atomic, clock
from ktune.records.codec import RecordError, encode
from ktune.records.paths import StatePaths
from ktune.records.stored import read_record

HEALTHY_AFTER_S = 900.0
"""A boot that was watched so long without an emergency counts as healthy."""
_FILE = re.compile(r"[0-9]{3,6}-[A-Za-z0-9._@-]+\.json\Z")
_BOOT = "boot.json"


@dataclass(frozen=True)
class PersistedPolicy:
    """One policy; `blocked` says why it is not applied any more, until a person persists it again.

    `source`: the file it was copied from. `healthy_after_s`: see `HEALTHY_AFTER_S`.
    """

    number: int
    name: str
    serial: int
    digest: str
    since: str
    who: str
    source: str
    healthy_after_s: float = HEALTHY_AFTER_S
    coexist: bool = False
    blocked: str = ""
    kernel: str = ""
    """On which it had passed its probation when it was persisted."""

    @property
    def stem(self) -> str:
        return f"{self.number:03d}-{self.name}"


@dataclass(frozen=True)
class BootRecord:
    """The last boot that began under persisted policies; `healthy`: since when, empty: not."""

    boot_id: str
    began: str
    digests: tuple[str, ...] = ()
    healthy: str = ""
    why: str = ""


def list_persisted(paths: StatePaths) -> tuple[list[PersistedPolicy], list[str]]:
    """All that can be read, in the order of their boot, and what is wrong with the others."""
    found: list[PersistedPolicy] = []
    problems: list[str] = []
    try:
        names = sorted(entry.name for entry in paths.persisted.iterdir())
    except FileNotFoundError:
        return found, problems
    for name in filter(_FILE.match, names):
        try:
            item = read_record(PersistedPolicy, paths.persisted / name)
        except RecordError as error:
            problems.append(error.message)
        else:
            found += [item] if item is not None else []
    return sorted(found, key=lambda item: item.number), problems


def find(paths: StatePaths, digest: str) -> PersistedPolicy | None:
    """The record of one policy."""
    return next((item for item in list_persisted(paths)[0] if item.digest == digest), None)


def policy_file(paths: StatePaths, item: PersistedPolicy) -> Path:
    """The copy of the policy."""
    return paths.persisted / f"{item.stem}.yaml"


def keep(paths: StatePaths, item: PersistedPolicy, data: bytes) -> None:
    """Write the copy, then the record, durably. Raises OSError."""
    private_folder(paths.persisted)
    atomic.write_bytes(policy_file(paths, item), data)
    write(paths, item)


def write(paths: StatePaths, item: PersistedPolicy) -> None:
    """Write or replace a record, durably. Raises OSError."""
    atomic.write_json(paths.persisted / f"{item.stem}.json", encode(item))


def forget(paths: StatePaths, digest: str) -> PersistedPolicy | None:
    """It is not applied after a boot any more; what was forgotten. Raises OSError."""
    item = find(paths, digest)
    if item is not None:
        atomic.remove(paths.persisted / f"{item.stem}.json")
        atomic.remove(policy_file(paths, item))
    return item


def next_number(paths: StatePaths) -> int:
    """Later policies are applied after earlier ones."""
    return max((item.number for item in list_persisted(paths)[0]), default=0) + 1


def read_boot(paths: StatePaths) -> BootRecord | None:
    """None: no boot was begun under a persisted policy yet.

    Raises:
        RecordError: it can't be understood: whether that boot was healthy is not known.
    """
    return read_record(BootRecord, paths.persisted / _BOOT)


def write_boot(paths: StatePaths, record: BootRecord) -> None:
    """Durably. Raises OSError."""
    atomic.write_json(private_folder(paths.persisted) / _BOOT, encode(record))


def mark_healthy(paths: StatePaths, digest: str, why: str) -> bool:
    """This boot stayed healthy under the policy; True when that is new.

    Raises:
        RecordError, OSError: it could not be recorded.
    """
    record = read_boot(paths)
    if record is None or record.boot_id != boot_id() or record.healthy:
        return False
    if digest not in record.digests:
        return False
    write_boot(paths, dataclasses.replace(record, healthy=clock.now(), why=why))
    return True

"""What is refused for a while: a policy after its rollback, a whole scope after an emergency.

`lockouts.json` in the state folder. Who is about to restore *announces* a lock-out first, in the
runtime folder: that is memory, so it can't wait for a disk that the workload saturates, and a death
between the restore and the record loses nothing. Readers see both; the next change of the record
takes announced ones in. Standard library only (`status` reads it).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ktune.errors import RefusedError
from ktune.records import atomic, clock
from ktune.records.codec import encode
from ktune.records.paths import StatePaths
from ktune.records.stored import read_record

_FILE = "lockouts.json"
_ANNOUNCED = "lockouts"


@dataclass(frozen=True)
class Lockout:
    """`digest` empty: nothing may be applied or tuned in the scope (emergency).

    `scope` is `host` or `netns:COOKIE`; `boot_id` belongs to namespaces, which end with the boot.
    `place` is the scope as people know it (`netns:PATH`).
    """

    scope: str
    boot_id: str
    digest: str
    subject: str
    why: str
    since: str
    until: str
    place: str = ""

    @property
    def where(self) -> str:
        """The scope, for people."""
        return self.place or self.scope

    @property
    def emergency(self) -> bool:
        return not self.digest

    def over(self, now: datetime) -> bool:
        return clock.moment(self.until) <= now


@dataclass(frozen=True)
class _Announced:
    """`state`: the folder that it will be kept in."""

    state: str
    lockout: Lockout


def scope_name(cookie: int | None) -> str:
    """The name of a scope in a lock-out."""
    return "host" if not cookie else f"netns:{cookie}"


def read_lockouts(paths: StatePaths, now: datetime | None = None) -> list[Lockout]:
    """Those that still hold.

    Raises:
        RecordError: a file can't be understood: refusing is safer than forgetting.
    """
    recorded = list(read_record(tuple[Lockout, ...], paths.state / _FILE) or ())
    announced = [item for file in _announcements(paths) for item in _read_announced(paths, file)]
    known = {(item.scope, item.digest) for item in announced}
    moment = now or datetime.now(UTC)
    found = [item for item in recorded if (item.scope, item.digest) not in known]
    return [item for item in (*found, *announced) if not item.over(moment)]


def made(
    *, scope: str, boot_id: str, digest: str, subject: str, why: str, for_s: float, place: str = ""
) -> Lockout:
    """One that begins now."""
    now = datetime.now(UTC)
    until = clock.stamp(now + timedelta(seconds=for_s))
    return Lockout(scope, boot_id, digest, subject, why, clock.stamp(now), until, place)


def announce(paths: StatePaths, lockout: Lockout) -> None:
    """It holds from now on, before the act that it is about; `keep` makes it last.

    Raises OSError.
    """
    folder = paths.runtime / _ANNOUNCED
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    name = zlib.crc32(f"{paths.state}\n{lockout.scope}\n{lockout.digest}".encode())
    announced = _Announced(str(paths.state), lockout)
    atomic.write_json(folder / f"{name:08x}.json", encode(announced), sync=False)


def keep(paths: StatePaths, lockout: Lockout) -> None:
    """Record it, durably. Raises OSError."""
    same = (lockout.scope, lockout.digest)
    _change(paths, lambda item: (item.scope, item.digest) != same, lockout)


def end_emergency(paths: StatePaths, scope: str | None = None) -> list[Lockout]:
    """Forget the emergency of one scope, or all; returns them. Raises OSError."""
    ended = [
        item
        for item in read_lockouts(paths)
        if item.emergency and (scope is None or item.scope == scope)
    ]
    if ended:
        _change(paths, lambda item: item not in ended)
    return ended


def refusing(paths: StatePaths, *, scope: str, boot_id: str, digest: str = "") -> Lockout | None:
    """The lock-out that forbids this policy (or, without a digest, anything) in the scope."""
    for item in read_lockouts(paths):
        if item.scope != scope or (scope != "host" and item.boot_id != boot_id):
            continue
        if item.emergency or item.digest == digest:
            return item
    return None


def refuse_in_emergency(paths: StatePaths, scope: str, boot_id: str) -> None:
    """Raises RefusedError: the scope is in emergency mode, nothing may be applied there."""
    held = refusing(paths, scope=scope, boot_id=boot_id)
    if held is not None:
        raise RefusedError(
            f"emergency in {held.where} since {held.since}, until {held.until}: {held.why}",
            hint=f"end it by hand: {paths.command('recover', '--end-emergency')}",
        )


def _change(paths: StatePaths, wanted: Callable[[Lockout], bool], *more: Lockout) -> None:
    """Announced ones are on record afterwards, or ended."""
    with atomic.exclusive(paths.state):  # watches of several scopes may roll back at once
        files = [file for file in _announcements(paths) if _read_announced(paths, file)]
        kept = [*filter(wanted, read_lockouts(paths)), *more]
        atomic.write_json(paths.state / _FILE, encode(tuple(kept)))
        for file in files:
            file.unlink(missing_ok=True)


def _announcements(paths: StatePaths) -> list[Path]:
    return sorted((paths.runtime / _ANNOUNCED).glob("*.json"))


def _read_announced(paths: StatePaths, file: Path) -> list[Lockout]:
    """The lock-out, if it belongs to this state folder: the runtime folder is everybody's."""
    found = read_record(_Announced, file)
    ours = found is not None and found.state == str(paths.state)
    return [found.lockout] if found is not None and ours else []

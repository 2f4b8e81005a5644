"""What is refused for a while: a policy after its rollback, a whole scope after an emergency.

`lockouts.json` in the state folder. Standard library only (`status` reads it).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ktune.errors import RefusedError
from ktune.records import atomic, clock
from ktune.records.codec import encode
from ktune.records.paths import StatePaths
from ktune.records.stored import read_record

_FILE = "lockouts.json"


@dataclass(frozen=True)
class Lockout:
    """`digest` empty: nothing may be applied or tuned in the scope (emergency).

    `scope` is `host` or `netns:COOKIE`; `boot_id` belongs to namespaces, which end with the boot.
    """

    scope: str
    boot_id: str
    digest: str
    subject: str
    why: str
    since: str
    until: str

    @property
    def emergency(self) -> bool:
        return not self.digest

    def over(self, now: datetime) -> bool:
        return clock.moment(self.until) <= now


def scope_name(cookie: int | None) -> str:
    """The name of a scope in a lock-out."""
    return "host" if not cookie else f"netns:{cookie}"


def read_lockouts(paths: StatePaths, now: datetime | None = None) -> list[Lockout]:
    """Those that still hold.

    Raises:
        RecordError: the file can't be understood: refusing is safer than forgetting.
    """
    found = read_record(tuple[Lockout, ...], paths.state / _FILE) or ()
    moment = now or datetime.now(UTC)
    return [item for item in found if not item.over(moment)]


def lock_out(
    paths: StatePaths,
    *,
    scope: str,
    boot_id: str,
    digest: str,
    subject: str,
    why: str,
    for_s: float,
) -> Lockout:
    """Add one, durably. Raises OSError."""
    now = datetime.now(UTC)
    until = clock.stamp(now + timedelta(seconds=for_s))
    made = Lockout(scope, boot_id, digest, subject, why, clock.stamp(now), until)
    _keep(paths, lambda item: (item.scope, item.digest) != (scope, digest), made)
    return made


def end_emergency(paths: StatePaths, scope: str | None = None) -> list[Lockout]:
    """Forget the emergency of one scope, or all; returns them. Raises OSError."""
    ended = [
        item
        for item in read_lockouts(paths)
        if item.emergency and (scope is None or item.scope == scope)
    ]
    if ended:
        _keep(paths, lambda item: item not in ended)
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
            f"emergency in {held.scope} since {held.since}, until {held.until}: {held.why}",
            hint=f"end it by hand: {paths.command('recover', '--end-emergency')}",
        )


def _keep(
    paths: StatePaths, wanted: Callable[[Lockout], bool], *more: Lockout
) -> Sequence[Lockout]:
    with atomic.exclusive(paths.state):  # watches of several scopes may roll back at once
        kept = [*filter(wanted, read_lockouts(paths)), *more]
        atomic.write_json(paths.state / _FILE, encode(tuple(kept)))
    return kept

"""Who approved what: `approvals.json` in the state folder, bound to digests.

Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ktune.proxy.folders import private_folder
from ktune.records import atomic, clock, history
from ktune.records.codec import encode
from ktune.records.paths import StatePaths
from ktune.records.stored import read_record

_FILE = "approvals.json"


@dataclass(frozen=True)
class Approval:
    """`digest`: of a policy, or of the proof of a study; anything else is not approved by it.

    `terms`: what will be in force and how it is watched (`ktune.policy.terms`); empty in records
    from before approvals were bound to it.
    """

    digest: str
    subject: str
    who: str
    at: str
    why: str = ""
    terms: Mapping[str, Any] = field(default_factory=dict)


def read_approvals(paths: StatePaths) -> tuple[Approval, ...]:
    """All of them, oldest first. Raises RecordError: what can't be understood approves nothing."""
    return read_record(tuple[Approval, ...], paths.state / _FILE) or ()


def approval_of(paths: StatePaths, digest: str) -> Approval | None:
    """The newest approval of this digest. Raises RecordError."""
    return next((item for item in reversed(read_approvals(paths)) if item.digest == digest), None)


def approve(
    paths: StatePaths,
    *,
    digest: str,
    subject: str,
    scope: str,
    why: str,
    terms: Mapping[str, Any],
) -> Approval:
    """Record that whoever runs this approves; in the history too. Raises OSError, RecordError."""
    private_folder(paths.state)
    made = Approval(digest, subject, str(history.actor()), clock.now(), why, terms)
    with atomic.exclusive(paths.state):
        atomic.write_json(paths.state / _FILE, encode((*read_approvals(paths), made)))
    history.record(
        paths,
        history.Action.APPROVE,
        why=why or "approved",
        subject=subject,
        scope=scope,
        undo=paths.command("approve", "--revoke", subject),
        notes={"digest": digest},
    )
    return made


def revoke(paths: StatePaths, *, digest: str, subject: str, scope: str, why: str) -> bool:
    """Take approvals of this digest back; False where there was none. Raises OSError."""
    if approval_of(paths, digest) is None:
        return False
    with atomic.exclusive(paths.state):
        kept = tuple(item for item in read_approvals(paths) if item.digest != digest)
        atomic.write_json(paths.state / _FILE, encode(kept))
    history.record(
        paths,
        history.Action.REVOKE,
        why=why or "approval revoked",
        subject=subject,
        scope=scope,
        notes={"digest": digest},
    )
    return True

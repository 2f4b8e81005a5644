"""Finding journals that nobody holds any more, and having the guardian restore from them."""

from __future__ import annotations

import json
import os
import subprocess
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from ktune.errors import KtuneError
from ktune.kernel.namespaces import NamespaceRef, boot_id
from ktune.kernel.wording import counted
from ktune.proxy.allowlist import load_allowlist
from ktune.proxy.guardian.recovery import Recovery, RecoveryOutcome
from ktune.proxy.journal import JournalError, JournalState, JournalStatus, is_held, load
from ktune.proxy.launch import run_recovery
from ktune.proxy.module import modes
from ktune.proxy.storage import ProxyPaths, archive, journals

_GUARDIAN_GRACE_S = 10.0
"""How long a guardian whose tuner died may take to finish its restore."""
_ARCHIVED = (
    RecoveryOutcome.RESTORED,
    RecoveryOutcome.OTHER_BOOT,
    RecoveryOutcome.SCOPE_GONE,
)


class JournalCondition(StrEnum):
    """What a journal that lies there means."""

    ACTIVE = "active"
    """A living guardian holds it."""
    PENDING = "pending"
    """Its guardian is gone and it was never closed: `ktune recover` restores."""
    OTHER_BOOT = "other_boot"
    COMMITTED = "committed"
    CLOSED = "closed"
    REFUSED = "refused"


@dataclass(frozen=True)
class PendingJournal:
    """One journal as `status` shows it."""

    path: Path
    condition: JournalCondition
    reason: str = ""
    state: JournalState | None = None


def inspect(path: Path) -> PendingJournal:
    """Say what a journal means; writes nothing."""
    try:
        state = load(str(path), load_allowlist(), owner_uid=os.geteuid())
        held = is_held(str(path))
    except (JournalError, OSError) as error:
        return PendingJournal(path, JournalCondition.REFUSED, str(error))
    if state.status is JournalStatus.COMMITTED:
        return PendingJournal(path, JournalCondition.COMMITTED, state=state)
    if state.status is JournalStatus.CLOSED:  # also while its guardian still ends
        return PendingJournal(path, JournalCondition.CLOSED, state=state)
    if held:
        return PendingJournal(path, JournalCondition.ACTIVE, "its guardian lives", state)
    if state.header.boot_id != boot_id():
        why = "from another boot: the restart has reset its knobs"
        return PendingJournal(path, JournalCondition.OTHER_BOOT, why, state)
    left_s = modes.alone_s() if state.adapts else None
    if left_s is not None:
        why = (
            f"run {state.header.run_id} is gone; the kernel goes on adapting for {left_s:.0f} s, "
            "then the baseline returns"
        )
        return PendingJournal(path, JournalCondition.PENDING, why, state)
    why = f"run {state.header.run_id} ended without restoring {counted(len(state.held), 'knob')}"
    return PendingJournal(path, JournalCondition.PENDING, why, state)


def pending(paths: ProxyPaths) -> list[PendingJournal]:
    """Journals that a person must hear about: pending, of another boot, refused, active."""
    quiet = (JournalCondition.COMMITTED, JournalCondition.CLOSED)
    return [item for item in map(inspect, journals(paths)) if item.condition not in quiet]


def recover(paths: ProxyPaths) -> list[Recovery]:
    """Restore from every pending journal; archive what has ended. Called by every command that is
    about to write, and by `ktune recover`."""
    done = []
    for path in list(journals(paths)):
        item = _settled(inspect(path))
        if item.condition is JournalCondition.COMMITTED:
            continue
        if item.condition is JournalCondition.CLOSED:
            archive(path, paths)
            continue
        if item.condition is JournalCondition.REFUSED:
            if not os.path.lexists(path):
                continue  # its owner has archived it meanwhile
            done.append(Recovery(str(path), RecoveryOutcome.REFUSED, item.reason))
            continue
        recovery = recover_one(str(path))
        if recovery.outcome is RecoveryOutcome.REFUSED and not os.path.lexists(path):
            continue  # archived by its owner after it was looked at
        if recovery.outcome in _ARCHIVED or recovery.outcome is RecoveryOutcome.ENDED:
            archive(path, paths)
        done.append(recovery)
    return done


def recover_one(journal: str) -> Recovery:
    """Restore from one journal in the scope that it names.

    Raises:
        KtuneError: the recovering program could not run.
    """
    return _run(journal, None, committed=False)


def restore_committed(
    journal: str, *, paths: ProxyPaths, namespace: NamespaceRef | None = None
) -> Recovery:
    """Undo a committed lease, three-way as always; archives its journal when that is done.

    Raises:
        KtuneError: the recovering program could not run.
    """
    path = Path(journal)
    if not os.path.lexists(path) and (path.parent / "archive" / path.name).exists():
        # Whoever undid it was cut short after that.
        return Recovery(journal, RecoveryOutcome.ENDED, "undone already")
    recovery = _run(journal, namespace, committed=True)
    if recovery.outcome in _ARCHIVED:
        archive(Path(journal), paths)
    return recovery


def _settled(item: PendingJournal) -> PendingJournal:
    """Wait for a guardian whose tuner has died to finish its own restore."""
    until_s = time.monotonic() + _GUARDIAN_GRACE_S
    while item.condition is JournalCondition.ACTIVE and time.monotonic() < until_s:
        if item.state is not None and _alive(item.state.header.client_pid):
            return item
        time.sleep(0.02)
        if not item.path.exists():
            return item
        item = inspect(item.path)
    return item


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def _run(journal: str, namespace: NamespaceRef | None, *, committed: bool) -> Recovery:
    hint = "the journal stays; `ktune recover` tries again"
    try:
        done = run_recovery(journal, namespace, committed=committed)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise KtuneError(f"recovery could not run: {error}", hint=hint) from error
    try:
        return Recovery.from_json(json.loads(done.stdout))
    except (ValueError, KeyError) as error:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise KtuneError(
            f"recovery of {journal} failed: {said[-1] if said else 'no answer'}", hint=hint
        ) from error

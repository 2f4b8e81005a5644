"""Restore from a journal whose guardian is gone. Standard library only.

The journal is hostile input: see ktune.proxy.journal. A journal of another boot or of a namespace
that is gone writes nothing: the kernel has forgotten those values by itself.
"""

from __future__ import annotations

import fcntl
import os
import sys
from dataclasses import dataclass
from enum import StrEnum

from ktune.kernel.namespaces import NamespaceRef, boot_id, enter, netns_cookie
from ktune.proxy.actuator import KnobFiles, restore
from ktune.proxy.allowlist import check_file, load_allowlist
from ktune.proxy.journal import JournalError, JournalState, JournalStatus, encode, load
from ktune.proxy.model import Json, ProxyError, RestoreReport
from ktune.proxy.module import modes


class RecoveryOutcome(StrEnum):
    """What became of one journal."""

    RESTORED = "restored"
    INCOMPLETE = "incomplete"
    """Some knob could not be brought back; the journal stays pending."""
    OTHER_BOOT = "other_boot"
    SCOPE_GONE = "scope_gone"
    ENDED = "ended"
    """Closed already, or committed and not asked to be undone."""
    IN_USE = "in_use"
    REFUSED = "refused"
    """The file can't be trusted; nothing was written."""


@dataclass(frozen=True)
class Recovery:
    """One journal, one outcome."""

    journal: str
    outcome: RecoveryOutcome
    reason: str = ""
    run_id: str = ""
    report: RestoreReport | None = None

    def to_json(self) -> Json:
        return {
            "journal": self.journal,
            "outcome": self.outcome.value,
            "reason": self.reason,
            "run_id": self.run_id,
            "report": None if self.report is None else self.report.to_json(),
        }

    @classmethod
    def from_json(cls, raw: Json) -> Recovery:
        report = raw["report"]
        return cls(
            journal=raw["journal"],
            outcome=RecoveryOutcome(raw["outcome"]),
            reason=raw["reason"],
            run_id=raw["run_id"],
            report=None if report is None else RestoreReport.from_json(report),
        )


def recover_journal(path: str, namespace: NamespaceRef | None, *, committed: bool) -> Recovery:
    """Restore what `path` says is still applied. `committed` also undoes a committed lease."""
    uid = os.geteuid()
    try:
        state = load(path, load_allowlist(), owner_uid=uid)
    except JournalError as error:
        return Recovery(path, RecoveryOutcome.REFUSED, str(error))
    run_id = state.header.run_id
    done = _nothing_to_do(state, committed=committed)
    if done is not None:
        return Recovery(path, *done, run_id=run_id)
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return Recovery(path, RecoveryOutcome.IN_USE, "its guardian lives", run_id)
    try:
        refused = _reach_scope(state, namespace)
        if refused is not None:
            return Recovery(path, *refused, run_id=run_id)
        if state.adapts:
            _end_tree()
        report = restore(state.held, KnobFiles(), written=state.written)
        _record(fd, report)
    finally:
        os.close(fd)
    outcome = RecoveryOutcome.RESTORED if report.verified else RecoveryOutcome.INCOMPLETE
    return Recovery(path, outcome, "", run_id, report)


def _nothing_to_do(state: JournalState, *, committed: bool) -> tuple[RecoveryOutcome, str] | None:
    if state.header.boot_id != boot_id():
        return RecoveryOutcome.OTHER_BOOT, "from another boot: the restart has reset its knobs"
    if state.status is JournalStatus.CLOSED:
        return RecoveryOutcome.ENDED, "closed"
    if state.status is JournalStatus.COMMITTED and not committed:
        return RecoveryOutcome.ENDED, "committed: undone by rollback, not by recover"
    if not state.held:
        return RecoveryOutcome.ENDED, "nothing was written yet"
    return None


def _reach_scope(
    state: JournalState, namespace: NamespaceRef | None
) -> tuple[RecoveryOutcome, str] | None:
    header = state.header
    if header.scope == "netns":
        try:
            enter(namespace or NamespaceRef(header.netns or "", header.userns))
        except OSError as error:
            return RecoveryOutcome.SCOPE_GONE, f"its namespace is gone ({error})"
    if netns_cookie() != header.netns_cookie:
        if header.scope == "netns":
            return RecoveryOutcome.SCOPE_GONE, "its namespace is gone (another stands there now)"
        return RecoveryOutcome.REFUSED, "made in another network namespace: recover from there"
    try:
        for item in state.held.values():
            check_file(item.tunable.path)
    except ProxyError as error:
        return RecoveryOutcome.REFUSED, str(error)
    return None


def _end_tree() -> None:
    """The kernel may still follow a tree for this journal: it restores first, and no longer
    switches."""
    try:
        modes.end_alone()
    except OSError as error:  # what it still does is then found in the knobs
        print(f"ktune: the kernel's tree could not be ended: {error}", file=sys.stderr)


def _record(fd: int, report: RestoreReport) -> None:
    """Records come after the knobs; a disk that takes none is told, the knobs are back anyway."""
    lines = encode({"type": "restored", "report": report.to_json(), "by": "recover"})
    if report.verified:
        lines += encode({"type": "closed"})
    try:
        os.write(fd, lines)
    except OSError as error:
        print(f"ktune: the journal takes no record: {error}", file=sys.stderr)

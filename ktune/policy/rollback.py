"""Takes policies out of force, newest first, three-way: what somebody else wrote meanwhile stays.

Standard library only.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from enum import StrEnum

from ktune.errors import BusyError, KtuneError
from ktune.kernel.values import Value, format_value
from ktune.policy import persisted, stack
from ktune.policy.guarded import unguard_policy
from ktune.policy.live import read_live
from ktune.policy.settle import settle
from ktune.policy.stack import StackEntry, UnreadableEntry
from ktune.proxy.guardian.recovery import Recovery, RecoveryOutcome
from ktune.proxy.locks import scope_lock
from ktune.proxy.model import ForeignWrite, RestoreReport
from ktune.proxy.planner import Held, Verdict, verdict
from ktune.proxy.recover import restore_committed
from ktune.records import history
from ktune.records.paths import StatePaths
from ktune.records.watches import policy_ended, watch_id


class Ending(StrEnum):
    """How an entry left the stack."""

    RESTORED = "restored"
    REBOOTED = "rebooted"
    """The restart has reset its knobs already."""
    SCOPE_GONE = "scope_gone"
    """Its namespace has ended, and its settings with it."""


class NotRecorded(KtuneError):
    """The knobs are as a rollback leaves them, but the disk took no record of it."""


@dataclass(frozen=True)
class KnobStep:
    """What a rollback would do to one knob."""

    key: str
    live: Value | None
    original: Value
    verdict: Verdict


@dataclass(frozen=True)
class RolledBack:
    """One policy that is no longer in force."""

    entry: StackEntry
    ending: Ending
    report: RestoreReport

    @property
    def foreign(self) -> tuple[ForeignWrite, ...]:
        """Knobs that somebody else wrote meanwhile: kept."""
        return self.report.foreign


def plan_rollback(entry: StackEntry) -> list[KnobStep]:
    """What a rollback of this entry would do now; reads only."""
    if not entry.scope.alive():
        return []
    live = read_live((knob.tunable for knob in entry.knobs), entry.scope.ref)
    return [
        KnobStep(knob.key, live[knob.key], knob.original, verdict(_held(knob), live[knob.key]))
        for knob in entry.knobs
    ]


def to_roll_back(paths: StatePaths, *, everything: bool) -> list[StackEntry]:
    """The newest entry, or all, newest first.

    Raises:
        KtuneError: a file of the stack can't be read: what lies under it can't be undone in order.
    """
    found = stack.read(paths)
    chosen = list(reversed(found)) if everything else list(reversed(found))[:1]
    entries = []
    for entry in chosen:
        if isinstance(entry, UnreadableEntry):
            raise KtuneError(
                f"{entry.path} can't be read: {entry.reason}",
                hint="its journal still holds the originals; move the file away to go on with "
                "the policies below it",
            )
        entries.append(entry)
    return entries


def roll_back(
    entry: StackEntry,
    *,
    paths: StatePaths,
    why: str = "",
    locked: bool = False,
    unpersist: bool = True,
) -> RolledBack:
    """Restore what one entry changed and take it off the stack; unless `unpersist` is False it is
    not applied after the next boot either.

    After a reboot nothing is written. What a policy that was applied after a boot goes back to is
    what that boot had set before it (sysctl.d, else the kernel).
    `locked`: the caller holds the scope already.

    Raises:
        BusyError: a run holds its scope.
        KtuneError: a knob could not be brought back (the entry stays), or its journal is lost.
        NotRecorded: everything is back, and the disk is full.
    """
    cookie = None if entry.scope.is_host else entry.scope.cookie
    lock = scope_lock(paths, netns_cookie=cookie, what=f"rollback of {entry.name}")
    with nullcontext() if locked else lock:
        unguard_policy(entry, paths)
        recovery = restore_committed(entry.journal, paths=paths, namespace=entry.scope.ref)
        done = _rolled_back(entry, recovery)
        try:
            _tell(done, paths, why, unpersist=unpersist)
        except OSError as error:
            raise NotRecorded(
                f"{entry.name} is rolled back, but that could not be recorded: "
                f"{error.filename or paths.state}: {error.strerror}",
                hint="free space, then `ktune rollback` again: it finds nothing to write",
            ) from error
    return done


def _tell(done: RolledBack, paths: StatePaths, why: str, *, unpersist: bool) -> None:
    """Off the stack, into the history. Raises OSError."""
    entry = done.entry
    if unpersist and entry.scope.is_host:
        persisted.forget(paths, entry.digest)
    if unpersist:
        policy_ended(
            paths, watch_id(entry.name, entry.digest, entry.scope.cookie), why or "rolled back"
        )
    stack.remove(paths, entry)
    history.record(
        paths,
        history.Action.ROLLBACK,
        why=why or "asked for",
        subject=entry.name,
        scope=entry.scope.text,
        changes=tuple(
            history.Change(item.key, item.before, item.observed) for item in done.report.restored
        ),
        undo=_undo(entry, paths),
        notes={
            "ending": done.ending.value,
            **{f"kept {item.key}": str(item.found) for item in done.foreign},
        },
    )


def _undo(entry: StackEntry, paths: StatePaths) -> str:
    """Puts it in force again, from any folder; nothing can once its scope is gone."""
    if not entry.source or not entry.scope.alive():
        return ""
    scope = [] if entry.scope.netns is None else ["--netns", entry.scope.netns]
    return paths.command("apply", entry.source, *scope)


def clear_up(paths: StatePaths) -> list[Recovery]:
    """Before any rollback: what dead runs left behind goes first, it lies on top."""
    return settle(paths)


def _rolled_back(entry: StackEntry, recovery: Recovery) -> RolledBack:
    report = recovery.report or RestoreReport()
    match recovery.outcome:
        case RecoveryOutcome.RESTORED | RecoveryOutcome.ENDED:
            return RolledBack(entry, Ending.RESTORED, report)
        case RecoveryOutcome.OTHER_BOOT:
            return RolledBack(entry, Ending.REBOOTED, report)
        case RecoveryOutcome.SCOPE_GONE:
            return RolledBack(entry, Ending.SCOPE_GONE, report)
        case RecoveryOutcome.IN_USE:
            raise BusyError(f"{entry.name}: {recovery.reason}")
        case RecoveryOutcome.INCOMPLETE:
            lines = "; ".join(item.message for item in report.failed)
            raise KtuneError(
                f"{entry.name} is only partly rolled back: {lines}",
                hint="it stays on the stack: remove the cause, then `ktune rollback` again",
            )
        case RecoveryOutcome.REFUSED:
            raise KtuneError(
                f"{entry.name} can't be rolled back from its journal: {recovery.reason}",
                hint=_by_hand(entry),
            )


def _by_hand(entry: StackEntry) -> str:
    lines = [f"{knob.path} <- {format_value(knob.type, knob.original)}" for knob in entry.knobs]
    return f"by hand, in {entry.scope.text}, last to first: " + "; ".join(reversed(lines))


def _held(knob: stack.StackKnob) -> Held:
    return Held(
        tunable=knob.tunable,
        original=knob.original,
        observed=knob.applied,
        kernel_moves=knob.kernel_moves,
    )

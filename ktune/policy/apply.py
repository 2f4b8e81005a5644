"""Puts a policy in force: check, lease, write, record, commit, in this order.

Whatever kills the apply before the commit, the guardian restores; whatever kills it after, the
entry on the stack says what is in force and how to undo it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from ktune.catalog.catalog import load_catalog
from ktune.errors import KtuneError, RefusedError, UsageError
from ktune.kernel.values import Value
from ktune.policy import stack
from ktune.policy.approval import refuse_unapproved
from ktune.policy.check import CheckedPolicy, check
from ktune.policy.guarded import guard_policy, refuse_enforced
from ktune.policy.live import read_live
from ktune.policy.load import LoadedPolicy
from ktune.policy.scope import ScopeIdentity, host_scope, namespace_scope
from ktune.policy.settle import settle
from ktune.policy.stack import EntryState, StackEntry, StackKnob
from ktune.policy.tuners import refuse_beside_others
from ktune.profile.host import host_facts
from ktune.proxy.backends import ProxyChoice
from ktune.proxy.client import Lease, LeaseRequest, open_lease
from ktune.proxy.locks import scope_lock
from ktune.proxy.model import ApplyReport, LeaseTunable
from ktune.records import clock, history, lockouts
from ktune.records.paths import StatePaths

_LEASE_S = 120.0
"""From the first write to the commit; a stuck disk gets no longer."""


@dataclass(frozen=True)
class KnobDiff:
    """What applying changes for one knob."""

    key: str
    before: Value | None
    after: Value
    baseline: Value
    """What the policy was proven against; the gain may differ where `before` is another."""
    takes_effect: str


@dataclass(frozen=True)
class ApplyPlan:
    """A policy that may be applied here, and what that would change. Nothing was touched."""

    checked: CheckedPolicy
    scope: ScopeIdentity
    diff: tuple[KnobDiff, ...]

    @property
    def name(self) -> str:
        return self.checked.policy.document.name


def plan_apply(policy: LoadedPolicy, *, netns: str | None, despite_age: bool = False) -> ApplyPlan:
    """Check everything and read the live values. `despite_age`: what is in force already does not
    end with its date.

    Raises:
        RefusedError: it must not be applied here (exit 4).
        UsageError: `--netns` and the policy's scope exclude each other.
    """
    scope = _scope_for(policy, netns)
    checked = check(
        policy,
        host=host_facts(),
        catalog=load_catalog(),
        now=None if despite_age else datetime.now(UTC),
        in_namespace=not scope.is_host,
    )
    live = read_live((knob.tunable for knob in checked.knobs), scope.ref)
    missing = [key for key, value in live.items() if value is None]
    if missing:
        raise RefusedError(
            f"{scope.text} does not have {', '.join(missing)} (or it can't be read)",
            hint="`ktune knobs check` shows what this kernel has",
        )
    diff = tuple(
        KnobDiff(
            knob.tunable.key,
            live[knob.tunable.key],
            knob.value,
            knob.baseline,
            knob.takes_effect,
        )
        for knob in checked.knobs
    )
    return ApplyPlan(checked, scope, diff)


def apply(
    plan: ApplyPlan,
    *,
    paths: StatePaths,
    why: str = "",
    coexist: bool = False,
    despite_lock_out: bool = False,
    proxy: ProxyChoice = ProxyChoice.AUTO,
) -> StackEntry:
    """Put it in force. Restores what dead runs left behind first.

    Raises:
        BusyError: another run or another tuner holds the scope (exit 6).
        RefusedError: the same policy is in force there already, it was rolled back a short while
            ago, or the guardian refuses.
        KtuneError: a knob did not take its value; all others were put back.
    """
    refuse_adaptive(plan.checked.policy)
    document = plan.checked.policy.document
    scope = plan.scope
    if scope.is_host:
        refuse_beside_others(coexist=coexist)
    refuse_locked_out(plan, paths, despite=despite_lock_out)
    refuse_unapproved(document, paths)
    paths.ensure()
    settle(paths)
    cookie = None if scope.is_host else scope.cookie
    with scope_lock(paths, netns_cookie=cookie, what=f"apply of {document.name}"):
        _refuse_twice(plan, paths)
        refuse_enforced(plan.checked.assignment, scope.cookie, paths)
        number = stack.next_number(paths)
        why = why or f"policy {document.name} serial {document.serial}"
        request = LeaseRequest(
            run_id=f"policy-{number:03d}-{datetime.now(UTC):%Y%m%d%H%M%S}",
            why=why,
            who=str(history.actor()),
        )
        tunables = [LeaseTunable(knob.tunable) for knob in plan.checked.knobs]
        with open_lease(tunables, request, paths=paths, namespace=scope.ref, proxy=proxy) as lease:
            report = lease.apply(plan.checked.assignment, deadline_s=_LEASE_S, why=why)
            if not report.ok:
                raise _not_applied(report, lease)
            entry = _commit(_entry(plan, number, lease, report), lease, paths, proxy)
    _tell_history(entry, document.origin.study, why, paths)
    return entry


def refuse_adaptive(policy: LoadedPolicy) -> None:
    """An adaptive policy is in force only while something switches it. Raises RefusedError."""
    if policy.document.contexts is not None:
        raise RefusedError(
            f"{policy.document.name} adapts: somebody must switch it",
            hint=f"`ktune watch {policy.path}` puts it in force and switches it",
        )


def refuse_locked_out(plan: ApplyPlan, paths: StatePaths, *, despite: bool) -> None:
    """After a rollback a policy is refused for a while, after an emergency every policy is.

    Raises:
        RefusedError: it is, and nobody said otherwise.
    """
    if despite:
        return
    scope, boot = lockouts.scope_name(plan.scope.cookie), plan.scope.boot_id
    lockouts.refuse_in_emergency(paths, scope, boot)
    digest = plan.checked.policy.document.digest
    held = lockouts.refusing(paths, scope=scope, boot_id=boot, digest=digest)
    if held is not None:
        raise RefusedError(
            f"{held.subject} was rolled back at {held.since}: {held.why}; "
            f"refused until {held.until}",
            hint="prove it again (`ktune tune`), or say --despite-lock-out",
        )


def _tell_history(entry: StackEntry, study: str, why: str, paths: StatePaths) -> None:
    """A history that can't be written must not hide that the policy is in force."""
    try:
        history.record(
            paths,
            history.Action.APPLY,
            why=why,
            subject=entry.name,
            scope=entry.scope.text,
            changes=tuple(history.Change(k.key, k.original, k.applied) for k in entry.knobs),
            undo=paths.command("rollback"),
            notes={"digest": entry.digest, "study": study},
        )
    except OSError as error:
        raise KtuneError(
            f"{entry.name} is in force, but the history could not be written: {error.strerror}",
            hint=f"undo: {paths.command('rollback')}",
        ) from error


def _commit(entry: StackEntry, lease: Lease, paths: StatePaths, proxy: ProxyChoice) -> StackEntry:
    """The record comes first: a commit without a record could not be undone by name."""
    stack.write(paths, entry)
    try:
        entry = replace(entry, guard_why=guard_policy(entry, paths, proxy))
        lease.commit({"policy": entry.name, "digest": entry.digest, "entry": entry.file_name})
    except BaseException:
        # Committed or not, the journal knows: `settle` reads it there once the guardian is gone.
        lease.__exit__(None, None, None)
        settle(paths)
        raise
    return stack.mark_in_force(paths, entry)


def _entry(plan: ApplyPlan, number: int, lease: Lease, report: ApplyReport) -> StackEntry:
    document = plan.checked.policy.document
    observed = {result.key: result.observed for result in report.results}
    return StackEntry(
        number=number,
        name=document.name,
        serial=document.serial,
        digest=document.digest,
        state=EntryState.PENDING,
        applied_at=clock.now(),
        who=str(history.actor()),
        scope=plan.scope,
        journal=lease.journal,
        knobs=tuple(
            StackKnob(
                key=knob.tunable.key,
                path=knob.tunable.path,
                type=knob.tunable.type,
                original=lease.originals[knob.tunable.key],
                applied=_first(observed.get(knob.tunable.key), knob.value),
                kernel_moves=knob.kernel_moves,
            )
            for knob in plan.checked.knobs
        ),
        guard=document.guard,
        source=os.path.abspath(plan.checked.policy.path),
    )


def _not_applied(report: ApplyReport, lease: Lease) -> KtuneError:
    restored = lease.release()
    if restored.failed:
        state = "NOT put back: " + ", ".join(item.key for item in restored.failed)
    else:
        state = "everything was put back"
    return KtuneError(
        "the policy was not applied: " + "; ".join(report.problems),
        hint=f"{state}; writing the host's settings needs root",
    )


def entry_in_force(plan: ApplyPlan, paths: StatePaths) -> StackEntry | None:
    """The entry of this very policy in this very scope."""
    digest = plan.checked.policy.document.digest
    for entry in stack.readable(paths):
        same = (entry.scope.boot_id, entry.scope.cookie) == (plan.scope.boot_id, plan.scope.cookie)
        if same and entry.digest == digest:
            return entry
    return None


def _refuse_twice(plan: ApplyPlan, paths: StatePaths) -> None:
    entry = entry_in_force(plan, paths)
    if entry is not None:
        raise RefusedError(
            f"{entry.name} serial {entry.serial} is in force there already",
            hint="`ktune verify` compares it with the kernel; "
            "to write it again: `ktune rollback`, then apply",
        )


def _scope_for(policy: LoadedPolicy, netns: str | None) -> ScopeIdentity:
    scope = policy.document.scope
    if scope == "host":
        if netns:
            raise UsageError(
                f"{policy.document.name} is a policy for the host: --netns does not apply to it"
            )
        return host_scope()
    if scope == "ephemeral":
        if not netns:
            raise RefusedError(
                f"{policy.document.name} was proven in a namespace of its own: "
                "applied to the host it would promise what nobody measured",
                hint="--netns PATH says in which network namespace to apply it, "
                "such as /proc/PID/ns/net",
            )
        return namespace_scope(netns)
    return namespace_scope(netns or scope.netns)


def _first(value: Value | None, otherwise: Value) -> Value:
    return otherwise if value is None else value

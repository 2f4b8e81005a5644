"""The guard of a policy in force: pinned in the kernel, so that it needs no process. Standard
library only."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ktune.errors import KtuneError, RefusedError
from ktune.kernel.bpf.library import BpfError
from ktune.kernel.namespaces import netns_cookie
from ktune.kernel.wording import counted
from ktune.policy import stack
from ktune.policy.scope import ScopeIdentity, cookie_of
from ktune.policy.stack import StackEntry
from ktune.proxy.allowlist import load_allowlist
from ktune.proxy.backends import ProxyChoice
from ktune.proxy.guard import pinned
from ktune.proxy.guard.rules import guarded_name, kept_rule
from ktune.proxy.guard.wire import Action, GuardRule
from ktune.records.paths import StatePaths

ENFORCE = "enforce"


@dataclass(frozen=True)
class GuardState:
    """How a policy's knobs are guarded now. `folder` empty: not at all."""

    asked: str
    why: str
    """Why there is none, or not for all knobs; empty: none is missing."""
    folder: str = ""
    enforcing: bool = False
    lines: tuple[str, ...] = ()
    """One for each knob that somebody else wrote, and what can't be seen."""

    @property
    def unlock(self) -> str:
        """The command that ends it without ending the policy."""
        return pinned.unlock_command(self.folder) if self.folder else ""

    @property
    def text(self) -> str:
        """One line for people."""
        if not self.folder:
            why = self.why or "it was removed"
            return f"not at work (the policy says {self.asked}): {why}; others' writes by polling"
        if self.enforcing:
            return (
                "enforce: others may write nothing but the policy's value or the original; "
                f"unlock: {self.unlock}"
            )
        return f"audit: others' writes are recorded; remove it: {self.unlock}"


def guard_policy(entry: StackEntry, paths: StatePaths, proxy: ProxyChoice) -> str:
    """Pin the guard of an entry. Returns why there is none, or not for all, empty when all is well.

    Raises:
        RefusedError: the policy says `guard: enforce`, or `--proxy bpf` was asked for, and it
            can't be had.
    """
    if proxy is ProxyChoice.FILE:
        return "no guard: --proxy file"
    enforce = entry.guard == ENFORCE
    try:
        rules, without = _rules(entry, enforce=enforce)
        if not rules:
            raise BpfError(95, "none of its knobs is a sysctl that the guard can judge")
        _, blind = pinned.pin_guard(_name(entry, paths), rules, enforce=enforce)
        if blind and enforce and any(rule.netns for rule in rules):
            pinned.remove(_name(entry, paths))
            raise BpfError(95, f"net.* can't be held in one namespace only: {blind}")
    except OSError as error:
        why = error.strerror or str(error)
        if enforce or proxy is ProxyChoice.BPF:
            asked = "guard: enforce" if enforce else "--proxy bpf"
            raise RefusedError(
                f"{entry.name}: {asked} can't be had here: {why}",
                hint="`ktune doctor` says what is missing; --proxy file applies it without a guard",
            ) from error
        return f"no guard: {why}"
    if without:
        return f"not guarded, because not below /proc/sys: {', '.join(without)}"
    return ""


def unguard_policy(entry: StackEntry, paths: StatePaths) -> None:
    """Before it is rolled back.

    Raises:
        KtuneError: it can't be removed.
    """
    _remove(_name(entry, paths))


def remove_leftovers(paths: StatePaths) -> list[str]:
    """Guards of this state directory whose policy, or the namespace that it held in, is gone.

    Raises:
        KtuneError: one can't be removed.
    """
    mine = [name for name in pinned.names() if name.startswith(_mark(paths))]
    if not mine:
        return []
    living = {_name(entry, paths) for entry in stack.readable(paths) if not _ended(entry.scope)}
    gone = [name for name in mine if name not in living]
    for name in gone:
        _remove(name)
    return gone


def guard_state(entry: StackEntry, paths: StatePaths) -> GuardState:
    """What is pinned for an entry now, and what it has seen."""
    folder = pinned.folder_of(_name(entry, paths))
    if folder is None:
        closed = "" if os.geteuid() == 0 else "only root can look at it"
        return GuardState(entry.guard, entry.guard_why or closed)
    names = {knob.key: guarded_name(knob.path) for knob in entry.knobs}
    lines = [entry.guard_why] if entry.guard_why else []
    known = {key: name for key, name in names.items() if name is not None}
    try:
        seen = pinned.look(folder, list(known.values()))
    except BpfError as error:
        lines.append(f"what it has seen can't be read: {error.why}")
    else:
        for key, name in known.items():
            counts, last = seen[name].counters, seen[name].last
            if last is not None:
                times = counted(counts.seen + counts.denied, "time")
                where = "" if last.netns is None else f", network namespace {last.netns}"
                refused = f", {counts.denied} refused" if counts.denied else ""
                lines.append(
                    f"{key}: written {times} by others{refused}; last {last.old} -> "
                    f"{last.new} ({last.verdict.name.lower()}) by {last.comm} (pid {last.pid}, "
                    f"uid {last.uid}{where})"
                )
    return GuardState(entry.guard, entry.guard_why, folder, pinned.enforces(folder), tuple(lines))


def listener(entry: StackEntry, paths: StatePaths) -> pinned.Listener | None:
    """Hears others' writes to an entry's knobs; None without a guard."""
    folder = pinned.folder_of(_name(entry, paths))
    try:
        return None if folder is None else pinned.Listener(folder)
    except BpfError:
        return None  # taken away right now: the watch goes on by polling, as without one


def refuse_enforced(keys: Iterable[str], cookie: int, paths: StatePaths) -> None:
    """Knobs that a policy in force does not let others write. `cookie`: of the scope, 0: host.

    Raises:
        RefusedError: one of `keys` is such a knob.
    """
    wanted = set(keys)
    for entry in stack.readable(paths):
        held = wanted & {knob.key for knob in entry.knobs}
        if not held or entry.guard != ENFORCE or entry.scope.cookie != cookie:
            continue
        state = guard_state(entry, paths)
        if state.enforcing:
            raise RefusedError(
                f"{entry.name} holds {', '.join(sorted(held))} with guard: enforce",
                hint=f"`ktune rollback`, or unlock: {state.unlock}",
            )


def _rules(entry: StackEntry, *, enforce: bool) -> tuple[list[GuardRule], list[str]]:
    allowlist = load_allowlist()
    here = entry.scope.cookie or netns_cookie()
    action = Action.DENY if enforce else Action.AUDIT
    rules, without = [], []
    for knob in entry.knobs:
        netns = here if allowlist.rule(knob.key).namespaced else 0
        values = dict.fromkeys((knob.applied, knob.original))
        made = kept_rule(knob.path, knob.type, values, action=action, netns=netns)
        if made is None:
            without.append(knob.key)
        else:
            rules.append(made)
    return rules, without


def _ended(scope: ScopeIdentity) -> bool:
    """A namespace that can't be looked into now (no free process) has not ended."""
    if scope.ref is None:
        return not scope.same_boot
    if not os.path.exists(scope.ref.netns):
        return True
    cookie = cookie_of(scope.ref)
    return cookie is not None and cookie != scope.cookie


def _remove(name: str) -> None:
    try:
        pinned.remove(name)
    except OSError as error:
        folder = pinned.folder_of(name) or name
        raise KtuneError(
            f"the guard {folder} can't be removed: {error.strerror}",
            hint=f"as root: {pinned.unlock_command(folder)}",
        ) from error


def _name(entry: StackEntry, paths: StatePaths) -> str:
    """No dots: bpffs has none (kernel/bpf/inode.c, bpf_lookup)."""
    return f"{_mark(paths)}{Path(entry.journal).stem}".replace(".", "_")


def _mark(paths: StatePaths) -> str:
    """Tells the guards of several state directories apart."""
    return hashlib.sha256(str(paths.state.resolve()).encode()).hexdigest()[:8] + "-"

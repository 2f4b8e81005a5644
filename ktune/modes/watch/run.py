"""A whole `ktune watch`: which policy, which profile measures it, everything around the loop."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from ktune.errors import ExitCode, KtuneError
from ktune.measure.guardrails.levels import with_levels
from ktune.measure.guardrails.watch import Guardrails
from ktune.modes.settings import guardrails_of
from ktune.modes.source import window_source
from ktune.modes.watch.adaptive import Adaptive, Restful, adapting, kernel_tree_of
from ktune.modes.watch.diary import open_diary
from ktune.modes.watch.holder import LEASE_S, CommittedHolder, Holder, LeasedHolder
from ktune.modes.watch.kernel_holder import KernelHolder
from ktune.modes.watch.spec import WatchSpec
from ktune.modes.watch.subject import (
    Subject,
    WatchOptions,
    applied_knobs,
    as_persisted,
    find_subject,
    planned_knobs,
    spec_of,
)
from ktune.modes.watch.vouch import vouch_for
from ktune.modes.watch.watcher import Watcher
from ktune.policy.apply import (
    apply,
    entry_in_force,
)
from ktune.policy.deciding import decider_of
from ktune.policy.rollback import roll_back
from ktune.policy.settle import settle
from ktune.policy.stack import StackEntry
from ktune.policy.tuners import refuse_beside_others
from ktune.proxy.client import Lease, LeaseRequest, open_lease
from ktune.proxy.locks import scope_lock
from ktune.proxy.model import LeaseTunable
from ktune.proxy.pause import PauseDoor
from ktune.records import history
from ktune.records.lockouts import Lockout
from ktune.records.paths import StatePaths
from ktune.records.watches import watch_folder
from ktune.report.progress import Note, Observer

_MISSED_LOOKS = 3
"""A watcher that misses so many looks in a row loses the lease by which it holds the policy."""


@dataclass(frozen=True)
class _Held:
    """What stands before the watch begins."""

    holder: Holder
    in_force: bool
    guardrails: Guardrails
    adaptive: Adaptive | None
    source: Restful


def watch_policy(
    argument: str | None, options: WatchOptions, paths: StatePaths, observe: Observer
) -> ExitCode:
    """Watch a policy (a file, or the newest one in force) until it is over. As `watch_subject`."""
    return watch_subject(find_subject(argument, options, paths), options, paths, observe)


def watch_subject(
    subject: Subject, options: WatchOptions, paths: StatePaths, observe: Observer
) -> ExitCode:
    """Watch what `find_subject` found.

    Raises:
        KtuneError: it can't be watched, or the watch had to give up.
        KeyboardInterrupt: ended from outside.
    """
    options = as_persisted(subject, options, paths)
    if subject.plan.scope.is_host:
        refuse_beside_others(coexist=options.coexist)
    paths.ensure()
    settle(paths)
    scope = subject.plan.scope
    cookie = None if scope.is_host else scope.cookie
    with scope_lock(paths, netns_cookie=cookie, what="ktune watch", ask_watch=False):
        # Another watch is no guest that comes and goes: refused before anything is applied.
        if subject.condemned is not None and subject.entry is not None:
            return _take_back(subject.entry, subject.condemned, paths, observe)
    try:
        return _watch(subject, options, paths, observe)
    except BaseException:
        _say_in_force(subject, paths, observe)
        raise


def _watch(
    subject: Subject, options: WatchOptions, paths: StatePaths, observe: Observer
) -> ExitCode:
    with guardrails_of(subject.profile, subject.plan.scope.ref) as guardrails:
        for note in guardrails.notes():
            observe(Note(note))
        # What measures stands before anything is applied, and ends after it is taken back.
        with _measuring(subject) as (adaptive, source):
            with_levels(guardrails, subject.profile, source, always=True)
            with holding(subject, options, paths) as (holder, in_force):
                if adaptive is not None and isinstance(holder, KernelHolder):
                    adaptive.kernel = holder.says
                held = _Held(holder, in_force, guardrails, adaptive, source)
                return _run(subject, options, paths, observe, held)


def _take_back(
    entry: StackEntry, condemned: Lockout, paths: StatePaths, observe: Observer
) -> ExitCode:
    """What a watch had decided that was killed before it was done."""
    why = f"a watch decided so and died: {condemned.why}"
    roll_back(entry, paths=paths, why=why, locked=True)
    observe(Note(f"rolled back: {why}"))
    return ExitCode.ROLLED_BACK


def _say_in_force(subject: Subject, paths: StatePaths, observe: Observer) -> None:
    """Whatever went wrong: a policy that is in force now must not be taken for one that is not."""
    with suppress(KtuneError, OSError):  # the error under way is told in any case
        entry = entry_in_force(subject.plan, paths)
        if entry is not None:
            undo = paths.command("rollback")
            observe(Note(f"{entry.name} is in force, and nothing watches it; undo: {undo}"))


def _run(
    subject: Subject,
    options: WatchOptions,
    paths: StatePaths,
    observe: Observer,
    held: _Held,
) -> ExitCode:
    holder, guardrails, source = held.holder, held.guardrails, held.source
    spec = holder.spec
    scope = spec.identity.scope
    cookie = None if scope.is_host else scope.cookie
    on_death = "baseline" if subject.leased else "stay"
    diary, guarding = open_diary(spec, paths, on_death=on_death)
    what = f"ktune watch {spec.identity.policy}"
    if spec.unpaired:
        observe(
            Note(
                f"no pairs: {', '.join(spec.unpaired)} takes effect only on what this workload "
                "never makes anew; guardrails act, everything else is only said"
            )
        )
    with _door(paths, cookie) as door:
        guardrails.start_window()
        return Watcher(
            holder=holder,
            source=source,
            guardrails=guardrails,
            diary=diary,
            guarding=guarding,
            door=door,
            lock=lambda: scope_lock(paths, netns_cookie=cookie, what=what, ask_watch=False),
            paths=paths,
            observe=observe,
            relearn=_relearning(subject, spec, paths, observe),
            rest=source.close,
            vouch=vouch_for(spec, paths, observe),
            adaptive=held.adaptive,
            in_force=held.in_force,
            until_settled=options.until_settled,
        ).run()


@contextmanager
def holding(
    subject: Subject, options: WatchOptions, paths: StatePaths
) -> Iterator[tuple[Holder, bool]]:
    """The policy in force, or about to be: (its holder, whether it is in force already)."""
    plan = subject.plan
    if subject.leased:
        spec = spec_of(subject, planned_knobs(plan), stays=False)
        request = LeaseRequest(f"watch-{os.getpid()}", f"watch {plan.name}", str(history.actor()))
        deadline_s = max(LEASE_S, _MISSED_LOOKS * spec.timing.interval_s)
        with open_lease(
            [LeaseTunable(knob.tunable) for knob in spec.knobs],
            request,
            paths=paths,
            namespace=plan.scope.ref,
            proxy=options.proxy,
        ) as lease:
            knobs = tuple(
                replace(knob, baseline=lease.originals[knob.tunable.key]) for knob in spec.knobs
            )
            yield _leased(subject, options, lease, replace(spec, knobs=knobs), deadline_s), False
        return
    entry = subject.entry or apply(
        plan,
        paths=paths,
        why="watch",
        coexist=options.coexist,
        despite_lock_out=True,
        proxy=options.proxy,
    )
    spec = spec_of(subject, applied_knobs(entry), stays=True)
    yield CommittedHolder(spec, entry, paths, options.proxy), True


def _leased(
    subject: Subject, options: WatchOptions, lease: Lease, spec: WatchSpec, deadline_s: float
) -> Holder:
    """By a lease; the kernel follows the tree of a policy that adapts, where it can."""
    if not subject.adapts:
        return LeasedHolder(lease, spec, deadline_s=deadline_s)
    checked = subject.plan.checked
    tree = kernel_tree_of(checked, baseline_on_death=options.baseline_on_death)
    decider = decider_of(tree.tree, lease.standing)
    if decider.is_kernel:
        return KernelHolder(lease, spec, tree, deadline_s=deadline_s)
    return LeasedHolder(lease, spec, deadline_s=deadline_s, decider=decider)


@contextmanager
def _door(paths: StatePaths, cookie: int | None) -> Iterator[PauseDoor]:
    """Only the holder of the scope's lock may replace a dead watch's socket."""
    with scope_lock(paths, netns_cookie=cookie, what="ktune watch", ask_watch=False):
        door = PauseDoor(paths.runtime, cookie)
    with door:
        yield door


@contextmanager
def _measuring(subject: Subject) -> Iterator[tuple[Adaptive | None, Restful]]:
    """What switches the policy, if anything does, and what measures its pairs."""
    scope = subject.plan.scope.ref
    if subject.adapts:
        with adapting(subject.plan.checked, subject.profile, scope) as found:
            yield found
        return
    with window_source(subject.profile, scope) as source:
        yield None, source


def _relearning(
    subject: Subject, spec: WatchSpec, paths: StatePaths, observe: Observer
) -> Callable[[], None]:
    """A new search in a process of its own; what it proves waits for a person."""

    def relearn() -> None:
        file = Path(watch_folder(paths, spec.identity.watch_id)) / "profile.yaml"
        file.write_text(subject.profile.text, encoding="utf-8")
        command = [
            *(sys.executable, "-m", "ktune", f"--state-dir={paths.state}"),
            *("tune", str(file), "--quiet", *(["--contexts"] if subject.adapts else [])),
        ]
        observe(Note("relearning: a new search begins"))
        try:
            code = subprocess.run(command, check=False).returncode
        except OSError as error:
            raise KtuneError(f"the new search can't be started: {error.strerror}") from error
        observe(Note(f"relearning ended with exit {code}: `ktune studies list` shows the study"))

    return relearn

"""A whole `ktune watch`: which policy, which profile measures it, everything around the loop."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from ktune.catalog.catalog import load_catalog
from ktune.errors import ExitCode, KtuneError, RefusedError, UsageError
from ktune.measure.guardrails.levels import with_levels
from ktune.measure.guardrails.watch import Guardrails
from ktune.modes.settings import guardrails_of
from ktune.modes.source import window_source
from ktune.modes.watch.adaptive import Adaptive, Restful, adapting
from ktune.modes.watch.diary import open_diary
from ktune.modes.watch.holder import LEASE_S, CommittedHolder, Holder, LeasedHolder
from ktune.modes.watch.spec import Identity, WatchedKnob, WatchSpec, watch_spec
from ktune.modes.watch.vouch import vouch_for
from ktune.modes.watch.watcher import Watcher
from ktune.policy import persisted, stack
from ktune.policy.apply import (
    ApplyPlan,
    apply,
    entry_in_force,
    plan_apply,
    refuse_locked_out,
)
from ktune.policy.approval import refuse_unapproved
from ktune.policy.load import LoadedPolicy, load_policy
from ktune.policy.settle import settle
from ktune.policy.stack import StackEntry
from ktune.policy.terms import as_plain_data
from ktune.policy.tuners import refuse_beside_others
from ktune.profile.load import load_profile, parse_profile
from ktune.profile.locate import profile_argument
from ktune.profile.model import Profile
from ktune.profile.phases import in_phase
from ktune.profile.watching import WatchSettings
from ktune.proxy.client import LeaseRequest, open_lease
from ktune.proxy.locks import scope_lock
from ktune.proxy.model import LeaseTunable
from ktune.proxy.pause import PauseDoor
from ktune.records import history
from ktune.records.paths import StatePaths
from ktune.records.study import Study
from ktune.records.watches import watch_folder
from ktune.report.progress import Note, Observer

_MISSED_LOOKS = 3
"""A watcher that misses so many looks in a row loses the lease by which it holds the policy."""


@dataclass(frozen=True)
class WatchOptions:
    """What the command line says; None: as the policy says."""

    netns: str | None = None
    persisted: bool = False
    """Of the policies that are applied after every boot, the newest in force."""
    profile: str | None = None
    baseline_on_death: bool = False
    interval_s: float | None = None
    probation_every_s: float | None = None
    holdback_every_s: float | None = None
    on_missing: str | None = None
    relearn: bool | None = None
    until_settled: bool = False
    coexist: bool = False
    despite_lock_out: bool = False


@dataclass(frozen=True)
class Subject:
    """What is to be watched, checked, nothing touched yet."""

    plan: ApplyPlan
    profile: Profile
    settings: WatchSettings
    entry: StackEntry | None
    leased: bool = False
    """Held by the watcher's own lease: as asked for, and always where the policy adapts."""

    @property
    def adapts(self) -> bool:
        return self.plan.checked.policy.document.contexts is not None


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
    """Watch a policy (a file, or the newest one in force) until it is over.

    Raises:
        KtuneError: it can't be watched, or the watch had to give up.
        KeyboardInterrupt: ended from outside.
    """
    subject = find_subject(argument, options, paths)
    if subject.plan.scope.is_host:
        refuse_beside_others(coexist=options.coexist)
    paths.ensure()
    settle(paths)
    scope = subject.plan.scope
    cookie = None if scope.is_host else scope.cookie
    with scope_lock(paths, netns_cookie=cookie, what="ktune watch", ask_watch=False):
        pass  # another watch is no guest that comes and goes: before anything is applied
    with guardrails_of(subject.profile, scope.ref) as guardrails:
        for note in guardrails.notes():
            observe(Note(note))
        # What measures stands before anything is applied, and ends after it is taken back.
        with _measuring(subject) as (adaptive, source):
            with_levels(guardrails, subject.profile, source, always=True)
            with holding(subject, options, paths) as (holder, in_force):
                held = _Held(holder, in_force, guardrails, adaptive, source)
                return _run(subject, options, paths, observe, held)


def find_subject(argument: str | None, options: WatchOptions, paths: StatePaths) -> Subject:
    """Checks everything and touches nothing. Raises KtuneError."""
    policy, netns = _policy(argument, options, paths)
    plan = _plan(policy, netns, paths)
    refuse_locked_out(plan, paths, despite=options.despite_lock_out)
    entry = entry_in_force(plan, paths)
    profile = _profile(policy, options, paths)
    if options.profile is not None:
        refuse_unapproved(policy.document, paths, as_plain_data(profile.source.flattened))
    elif entry is None:
        refuse_unapproved(policy.document, paths)
    if entry is not None and options.baseline_on_death:
        raise RefusedError(
            f"{entry.name} is committed: it stays when its watcher dies",
            hint="`ktune rollback` first; `ktune watch --on-death=baseline` then applies it "
            "under a lease of its own",
        )
    document = policy.document
    given = {
        "interval": options.interval_s,
        "probation_every": options.probation_every_s,
        "holdback_every": options.holdback_every_s,
        "on_missing": options.on_missing,
        "on_rollback": None if options.relearn is None else _after(relearn=options.relearn),
    }
    settings = document.watch.model_copy(
        update={name: value for name, value in given.items() if value is not None}
    )
    leased = options.baseline_on_death or document.contexts is not None
    subject = Subject(plan, profile, settings, entry, leased)
    # What can't be watched is refused before it is applied.
    spec_of(subject, planned_knobs(plan), stays=not leased)
    return subject


def _plan(policy: LoadedPolicy, netns: str | None, paths: StatePaths) -> ApplyPlan:
    """A policy that is in force is watched however old it is: unguarded it would be worse."""
    digest = policy.document.digest
    if any(entry.digest == digest and entry.scope.alive() for entry in stack.readable(paths)):
        plan = plan_apply(policy, netns=netns, despite_age=True)
        if entry_in_force(plan, paths) is not None:
            return plan
    return plan_apply(policy, netns=netns)


def spec_of(subject: Subject, knobs: tuple[WatchedKnob, ...], *, stays: bool) -> WatchSpec:
    """Raises RefusedError: the profile measures nothing that could be watched."""
    document = subject.plan.checked.policy.document
    identity = Identity(document.name, document.serial, document.digest, subject.plan.scope)
    return watch_spec(
        identity, knobs, subject.profile, load_catalog(), subject.settings, stays=stays
    )


def knobs_of(subject: Subject) -> tuple[WatchedKnob, ...]:
    """The knobs of a policy, in force or not yet."""
    if subject.entry is None:
        return planned_knobs(subject.plan)
    return _applied_knobs(subject.entry)


def planned_knobs(plan: ApplyPlan) -> tuple[WatchedKnob, ...]:
    """The knobs of a policy that is not in force: what is there now is what it goes back to."""
    live = {item.key: item.before for item in plan.diff}
    found = []
    for knob in plan.checked.knobs:
        now = live[knob.tunable.key]
        baseline = knob.baseline if now is None else now
        found.append(WatchedKnob(knob.tunable, baseline, knob.value, knob.kernel_moves))
    return tuple(found)


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
        ) as lease:
            knobs = tuple(
                replace(knob, baseline=lease.originals[knob.tunable.key]) for knob in spec.knobs
            )
            yield LeasedHolder(lease, replace(spec, knobs=knobs), deadline_s=deadline_s), False
        return
    entry = subject.entry or apply(
        plan, paths=paths, why="watch", coexist=options.coexist, despite_lock_out=True
    )
    spec = spec_of(subject, _applied_knobs(entry), stays=True)
    yield CommittedHolder(spec, entry, paths), True


def _applied_knobs(entry: StackEntry) -> tuple[WatchedKnob, ...]:
    return tuple(
        WatchedKnob(knob.tunable, knob.original, knob.applied, knob.kernel_moves)
        for knob in entry.knobs
    )


@contextmanager
def _door(paths: StatePaths, cookie: int | None) -> Iterator[PauseDoor]:
    """Only the holder of the scope's lock may replace a dead watch's socket."""
    with scope_lock(paths, netns_cookie=cookie, what="ktune watch", ask_watch=False):
        door = PauseDoor(paths.runtime, cookie)
    with door:
        yield door


def _policy(
    argument: str | None, options: WatchOptions, paths: StatePaths
) -> tuple[LoadedPolicy, str | None]:
    """The policy's file, and where it is or is to be applied."""
    if argument is not None:
        return load_policy(argument), options.netns or _netns_of(argument, paths)
    entries = [entry for entry in stack.readable(paths) if entry.scope.alive()]
    if options.persisted:
        entries = [entry for entry in entries if _is_persisted(entry, paths)]
        if not entries:
            raise RefusedError("no persisted policy is in force", hint="`ktune status` says why")
    if not entries:
        raise UsageError("no policy is in force", hint="name a policy file: ktune watch POLICY")
    newest = entries[-1]
    kept = persisted.find(paths, newest.digest) if options.persisted else None
    file = newest.source if kept is None else str(persisted.policy_file(paths, kept))
    try:
        policy = load_policy(file)
    except UsageError as error:
        raise UsageError(
            f"the file of {newest.name} can't be read: {error.message}", hint="name it"
        ) from error
    if policy.document.digest != newest.digest:
        raise UsageError(
            f"{file} is another policy than the one in force",
            hint="name the file of the policy in force",
        )
    return policy, options.netns or newest.scope.netns


def _is_persisted(entry: StackEntry, paths: StatePaths) -> bool:
    return entry.scope.is_host and persisted.find(paths, entry.digest) is not None


def _netns_of(path: str, paths: StatePaths) -> str | None:
    """A policy in force in one namespace needs no --netns."""
    digest = load_policy(path).document.digest
    found = {
        entry.scope.netns
        for entry in stack.readable(paths)
        if entry.digest == digest and entry.scope.alive()
    }
    return found.pop() if len(found) == 1 else None


def _profile(policy: LoadedPolicy, options: WatchOptions, paths: StatePaths) -> Profile:
    """Named, or the one of the study that proved the policy."""
    if options.profile is not None:
        return load_profile(profile_argument(options.profile), state_dir=str(paths.state))
    name = policy.document.origin.study
    try:
        manifest = Study.open(paths, name).manifest
    except UsageError:
        raise UsageError(
            f"study {name}, which says how {policy.document.name} is measured, is not here",
            hint="--profile PROFILE says how to measure it",
        ) from None
    profile = parse_profile(
        manifest.profile_text.encode(), file=f"study {name}", state_dir=str(paths.state)
    )
    phase = str(manifest.options.get("phase", ""))
    if phase and policy.document.contexts is None:  # one phase's setting is for that phase
        return in_phase(profile, phase)
    return profile


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


def _after(*, relearn: bool) -> str:
    return "relearn" if relearn else "baseline"

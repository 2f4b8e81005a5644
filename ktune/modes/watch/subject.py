"""What a watch is to look after: which policy, by which profile, in force or not.

Touches nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ktune.catalog.catalog import load_catalog
from ktune.errors import RefusedError, UsageError
from ktune.modes.watch.spec import Identity, WatchedKnob, WatchSpec, watch_spec
from ktune.policy import persisted, stack
from ktune.policy.apply import ApplyPlan, entry_in_force, plan_apply, refuse_locked_out
from ktune.policy.approval import refuse_unapproved
from ktune.policy.load import LoadedPolicy, load_policy
from ktune.policy.stack import StackEntry
from ktune.policy.terms import as_plain_data
from ktune.profile.load import load_profile, parse_profile
from ktune.profile.locate import profile_argument
from ktune.profile.model import Profile
from ktune.profile.phases import in_phase
from ktune.profile.watching import WatchSettings
from ktune.proxy.backends import ProxyChoice
from ktune.records import clock, lockouts
from ktune.records.lockouts import Lockout
from ktune.records.paths import StatePaths
from ktune.records.study import Study


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
    proxy: ProxyChoice = ProxyChoice.AUTO


@dataclass(frozen=True)
class Subject:
    """What is to be watched, checked, nothing touched yet."""

    plan: ApplyPlan
    profile: Profile
    settings: WatchSettings
    entry: StackEntry | None
    leased: bool = False
    """Held by the watcher's own lease: as asked for, and always where the policy adapts."""
    condemned: Lockout | None = None
    """A watch that decided to take it back died before it had."""

    @property
    def adapts(self) -> bool:
        return self.plan.checked.policy.document.contexts is not None


def find_subject(argument: str | None, options: WatchOptions, paths: StatePaths) -> Subject:
    """Checks everything and touches nothing. Raises KtuneError."""
    policy, netns = _policy(argument, options, paths)
    plan = _plan(policy, netns, paths)
    entry = entry_in_force(plan, paths)
    condemned = None
    if entry is not None and not options.despite_lock_out:
        condemned = _condemned(entry, paths)
    if condemned is None:
        refuse_locked_out(plan, paths, despite=options.despite_lock_out)
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
    subject = Subject(plan, profile, settings, entry, leased, condemned)
    # What can't be watched is refused before it is applied.
    spec_of(subject, planned_knobs(plan), stays=not leased)
    return subject


def _condemned(entry: StackEntry, paths: StatePaths) -> Lockout | None:
    """The lock-out that the policy in force got after it was applied: its own, or the scope's
    because of it. Lock-outs are announced before the restore."""
    scope = lockouts.scope_name(entry.scope.cookie)
    for item in lockouts.read_lockouts(paths):
        its = item.digest == entry.digest or (item.emergency and item.subject == entry.name)
        later = clock.moment(item.since) > clock.moment(entry.applied_at)
        if its and later and (item.scope, item.boot_id) == (scope, entry.scope.boot_id):
            return item
    return None


def _plan(policy: LoadedPolicy, netns: str | None, paths: StatePaths) -> ApplyPlan:
    """A policy that is in force is watched however old it is: unguarded it would be worse."""
    digest = policy.document.digest
    if any(entry.digest == digest and entry.scope.alive() for entry in stack.readable(paths)):
        plan = plan_apply(policy, netns=netns, despite_age=True)
        if entry_in_force(plan, paths) is not None:
            return plan
    return plan_apply(policy, netns=netns)


def as_persisted(subject: Subject, options: WatchOptions, paths: StatePaths) -> WatchOptions:
    """Its service goes on beside other tuners where the person who persisted it wanted to."""
    if not options.persisted:
        return options
    kept = persisted.find(paths, subject.plan.checked.policy.document.digest)
    return options if kept is None or not kept.coexist else replace(options, coexist=True)


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
    return applied_knobs(subject.entry)


def planned_knobs(plan: ApplyPlan) -> tuple[WatchedKnob, ...]:
    """The knobs of a policy that is not in force: what is there now is what it goes back to."""
    live = {item.key: item.before for item in plan.diff}
    found = []
    for knob in plan.checked.knobs:
        now = live[knob.tunable.key]
        baseline = knob.baseline if now is None else now
        found.append(WatchedKnob(knob.tunable, baseline, knob.value, knob.kernel_moves))
    return tuple(found)


def applied_knobs(entry: StackEntry) -> tuple[WatchedKnob, ...]:
    """The knobs of a policy in force, as they were before it and as it set them."""
    return tuple(
        WatchedKnob(knob.tunable, knob.original, knob.applied, knob.kernel_moves)
        for knob in entry.knobs
    )


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


def _after(*, relearn: bool) -> str:
    return "relearn" if relearn else "baseline"

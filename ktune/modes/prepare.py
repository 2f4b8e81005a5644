"""What every run that measures does first: recover, plan, look for other tuners."""

from __future__ import annotations

import json
import os

from ktune import __version__
from ktune.catalog.catalog import load_catalog
from ktune.errors import BusyError, RefusedError
from ktune.kernel.tunable import Assignment
from ktune.kernel.values import Value
from ktune.kernel.wording import counted
from ktune.measure.services.from_profile import survey
from ktune.measure.swap.ground import undo_left, undone_text
from ktune.modes.settings import Settings, guardrails_of
from ktune.modes.stage import Stage
from ktune.profile.configuration import configuration
from ktune.profile.host import HostFacts, host_facts
from ktune.profile.model import Profile
from ktune.profile.plan import Plan
from ktune.profile.resolve import resolve
from ktune.proxy.client import Lease
from ktune.proxy.guardian.recovery import Recovery, RecoveryOutcome
from ktune.proxy.recover import recover
from ktune.records.paths import StatePaths
from ktune.records.study import Study
from ktune.records.types import StudyManifest, StudyStatus
from ktune.report.progress import Note, Observer


def prepare_plan(
    profile: Profile, paths: StatePaths, observe: Observer, *, coexist: bool = False
) -> Plan:
    """What earlier runs left behind is restored first: it would be taken for the baseline.

    Raises BusyError, RefusedError (also for a guardrail that can't be watched here).
    """
    for recovery in recover(paths):
        if recovery.outcome is not RecoveryOutcome.IN_USE:  # another run at work: its own affair
            observe(Note(_recovery_text(recovery)))
    for folder, problem in undo_left(paths.state):
        observe(Note(undone_text(folder, problem)))
    plan = resolve(profile, load_catalog(), host_facts(), metric_hosts=configuration().metric_hosts)
    if plan.tuners and not coexist:
        names = ", ".join(f"{tuner.name} (pid {tuner.pid})" for tuner in plan.tuners)
        raise BusyError(
            f"this host is being tuned by {names}",
            hint="stop it, or add --coexist to go on beside it",
        )
    unwritable = [knob.key for knob in (*plan.knobs, *plan.fixed) if not knob.writable]
    if unwritable:
        raise RefusedError(f"no right to write {', '.join(unwritable)}", hint="run it as root")
    for service in survey(profile):
        if not service.works:
            raise RefusedError(service.reason)
        observe(Note(f"service {service.name}: {service.text}"))
    with guardrails_of(profile) as guardrails:
        for note in guardrails.notes():
            observe(Note(note))
    for skipped in plan.skipped:
        observe(Note(f"skipped {skipped.key}: {skipped.reason}"))
    for note in (*plan.notes, *(f"{k.key}: {n}" for k in plan.knobs for n in k.notes)):
        observe(Note(note))
    return plan


def check_baseline(plan: Plan, standing: Stage) -> None:
    """What the guardian found must be what was planned with, unless the profile sets it."""
    if plan.profile.baseline != "current":
        return
    found = {key: standing.lease.originals[key] for key in plan.baseline}
    changed = differing(plan.baseline, found)
    if changed:
        raise RefusedError(
            f"{', '.join(changed)} changed between planning and start",
            hint="run it again; who else writes these knobs?",
        )


def restored_text(lease: Lease | None) -> str:
    """What became of the knobs when a run was cut short."""
    report = lease.restored if lease else None
    if report is None:
        return "nothing was written" if lease is None else "run `ktune recover` to be sure"
    if not report.verified:
        keys = ", ".join(item.key for item in report.failed)
        return f"NOT restored: {keys}; `ktune recover` tries again"
    kept = [item.key for item in report.foreign]
    return "every knob is restored" + (f", kept as foreign: {', '.join(kept)}" if kept else "")


def manifest_of(plan: Plan, settings: Settings, argument: str) -> StudyManifest:
    """The record of a run that begins."""
    profile = plan.profile
    host = plan.host
    return StudyManifest(
        id="",
        profile_name=profile.name,
        created_at="",
        profile_text=json.dumps(profile.source.flattened, ensure_ascii=False),
        profile_digest=profile.digest,
        profile_path=argument,
        scope=profile.scope if isinstance(profile.scope, str) else f"netns:{profile.scope.netns}",
        seed=settings.seed,
        sampler=settings.sampler,
        storage=settings.storage or "",
        plan=plan.to_json(),
        host=host_record(host),
        baseline=dict(plan.baseline),
        options=_options_of(settings),
        version=__version__,
    )


def refuse_changed(what: str, manifest: StudyManifest, plan: Plan) -> None:
    """An interrupted run goes on only where it began: on the same machine, from the same baseline.

    A policy names one kernel and one machine: all its pairs must come from there.
    """
    today = host_record(plan.host)
    changed = [
        f"{name} {manifest.host[name]}, now {today[name]}"
        for name in ("kernel", "arch", "cpus")
        if name in manifest.host and manifest.host[name] != today[name]
    ]
    if changed:
        raise RefusedError(
            f"{what} {manifest.id} was measured on another machine: {'; '.join(changed)}",
            hint=f"start a new {what}",
        )
    if dict(plan.baseline) != dict(manifest.baseline):
        keys = ", ".join(differing(plan.baseline, manifest.baseline))
        raise RefusedError(
            f"the baseline of {what} {manifest.id} is not in force any more: {keys}",
            hint=f"put these values back, or start a new {what}",
        )


def host_record(host: HostFacts) -> dict[str, Value]:
    """The facts of the host that a record carries along."""
    return {
        "kernel": host.kernel,
        "arch": host.arch,
        "cpus": host.cpus,
        "mem": host.mem_bytes,
        "virt": host.virt,
    }


def differing(ours: Assignment, theirs: Assignment) -> list[str]:
    """The keys of `ours` that have another value in `theirs`."""
    return [key for key, value in ours.items() if theirs.get(key) != value]


def _recovery_text(recovery: Recovery) -> str:
    if recovery.outcome is RecoveryOutcome.RESTORED and recovery.report is not None:
        kept = len(recovery.report.foreign)
        return (
            f"restored what run {recovery.run_id} left behind: "
            + counted(len(recovery.report.restored), "knob")
            + (f", {kept} kept as foreign" if kept else "")
        )
    return f"journal {recovery.journal}: {recovery.outcome.value}: {recovery.reason}"


def end_quietly(study: Study, status: StudyStatus, why: str) -> None:
    """Record how a run was cut short; a full disk must not hide what cut it short."""
    try:
        study.end(status, why)
    except OSError as error:
        os.write(2, f"ktune: the study's end could not be recorded: {error}\n".encode())


def _options_of(settings: Settings) -> dict[str, object]:
    """What a resume must repeat."""
    options: dict[str, object] = {}
    if settings.pareto:
        options["pareto"] = True
    if settings.allotment is not None:
        options["windows"] = settings.allotment.windows
    return options

"""A whole `ktune tune`: plan, study, stage, tuning, and an honest end whatever happens."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from ktune import __version__
from ktune.catalog.catalog import load_catalog
from ktune.errors import BusyError, KtuneError, RefusedError
from ktune.kernel.tunable import Assignment
from ktune.kernel.values import Value
from ktune.modes.settings import Overrides, Settings, settings_of
from ktune.modes.stage import Stage, stage
from ktune.modes.tuning import Tuning, end_quietly
from ktune.profile.host import HostFacts, host_facts
from ktune.profile.load import load_profile, parse_profile
from ktune.profile.locate import profile_argument
from ktune.profile.model import Profile
from ktune.profile.plan import Plan
from ktune.profile.resolve import resolve
from ktune.proxy.client import Lease, LeaseRequest
from ktune.proxy.guardian.recovery import Recovery, RecoveryOutcome
from ktune.proxy.model import ForeignWrite
from ktune.proxy.recover import recover
from ktune.records import history
from ktune.records.kept import KeptScopeRecord, remember
from ktune.records.paths import StatePaths
from ktune.records.study import Study
from ktune.records.types import StudyManifest, StudyStatus
from ktune.report.live import assignment_text, percent_text
from ktune.report.progress import Note, Observer
from ktune.search.samplers import SamplerName, refuse_missing
from ktune.search.storage import check_url


@dataclass(frozen=True)
class RunOptions:
    """What the command line adds to the profile."""

    overrides: Overrides = field(default_factory=Overrides)
    keep_scope: bool = False
    coexist: bool = False
    search_only: bool = False


@dataclass(frozen=True)
class RunResult:
    """How a run ended. `outcome`: improved, no_improvement_found or unconfirmed."""

    study: Study
    outcome: str
    foreign: Sequence[ForeignWrite]
    kept_netns: str = ""
    unrestored: Sequence[str] = ()


@dataclass(frozen=True)
class _Run:
    """What belongs together from planning to the end."""

    study: Study
    plan: Plan
    settings: Settings
    options: RunOptions
    paths: StatePaths
    observe: Observer


def tune_profile(
    argument: str, options: RunOptions, paths: StatePaths, observe: Observer
) -> RunResult:
    """Tune by a profile (a path or a shipped name). Raises KtuneError."""
    profile = load_profile(profile_argument(argument), state_dir=str(paths.state))
    plan = _plan(profile, options, paths, observe)
    settings = settings_of(profile, options.overrides, drawn_seed=secrets.randbelow(2**31))
    _refuse_search(settings)
    study = Study.create(paths, _manifest(plan, settings, argument))
    return _execute(_Run(study, plan, settings, options, paths, observe))


def _refuse_search(settings: Settings) -> None:
    """What can't be searched with is said before there is a study."""
    sampler = SamplerName(settings.sampler)
    refuse_missing(sampler)
    if settings.storage:
        check_url(settings.storage, sampler)


def resume_study(
    study_id: str, options: RunOptions, paths: StatePaths, observe: Observer
) -> RunResult:
    """Go on with an interrupted study, as it was planned. Raises KtuneError."""
    study = Study.open(paths, study_id)
    manifest = study.manifest
    profile = parse_profile(
        manifest.profile_text.encode(),
        file=f"study {study_id}",
        state_dir=str(paths.state),
    )
    plan = _plan(profile, options, paths, observe)
    _refuse_other_host(study_id, manifest.host, _host(plan.host))
    if dict(plan.baseline) != dict(manifest.baseline):
        changed = ", ".join(_differing(plan.baseline, manifest.baseline))
        raise RefusedError(
            f"the baseline of study {study_id} is not in force any more: {changed}",
            hint="put these values back, or start a new study",
        )
    study.resume()
    overrides = replace(
        options.overrides,
        sampler=manifest.sampler,
        storage=manifest.storage or None,
        seed=manifest.seed,
    )
    settings = settings_of(profile, overrides, drawn_seed=manifest.seed)
    return _execute(_Run(study, plan, settings, options, paths, observe))


def _refuse_other_host(
    study_id: str, then: Mapping[str, object], today: Mapping[str, object]
) -> None:
    """A policy names one kernel and one machine: all its pairs must come from there."""
    changed = [
        f"{name} {then[name]}, now {today[name]}"
        for name in ("kernel", "arch", "cpus")
        if name in then and then[name] != today[name]
    ]
    if changed:
        raise RefusedError(
            f"study {study_id} was measured on another machine: {'; '.join(changed)}",
            hint="start a new study",
        )


def _plan(profile: Profile, options: RunOptions, paths: StatePaths, observe: Observer) -> Plan:
    """What earlier runs left behind is restored first: it would be taken for the baseline."""
    for recovery in recover(paths):
        if recovery.outcome is not RecoveryOutcome.IN_USE:  # another run at work: its own affair
            observe(Note(_recovery_text(recovery)))
    plan = resolve(profile, load_catalog(), host_facts())
    if plan.tuners and not options.coexist:
        names = ", ".join(f"{tuner.name} (pid {tuner.pid})" for tuner in plan.tuners)
        raise BusyError(
            f"this host is being tuned by {names}",
            hint="stop it, or add --coexist to go on beside it",
        )
    unwritable = [knob.key for knob in (*plan.knobs, *plan.fixed) if not knob.writable]
    if unwritable:
        raise RefusedError(f"no right to write {', '.join(unwritable)}", hint="run it as root")
    for skipped in plan.skipped:
        observe(Note(f"skipped {skipped.key}: {skipped.reason}"))
    for note in (*plan.notes, *(f"{k.key}: {n}" for k in plan.knobs for n in k.notes)):
        observe(Note(note))
    return plan


def _execute(run: _Run) -> RunResult:
    study, observe = run.study, run.observe
    observe(Note(f"study {study.id}, seed {run.settings.seed}"))
    request = LeaseRequest(study.id, f"tune {run.plan.profile.name}", str(history.actor()))
    tuning: Tuning | None = None
    lease: Lease | None = None
    try:
        with stage(run.plan, run.paths, request) as standing:
            lease = standing.lease
            _check_baseline(run.plan, standing)
            tuning = Tuning(
                run.plan,
                study,
                run.settings,
                lease=standing.lease,
                source=standing.source,
                observe=observe,
                search_only=run.options.search_only,
            )
            done = tuning.run()
            kept = _keep(run, standing) if run.options.keep_scope else ""
            restored = standing.lease.release()
    except KeyboardInterrupt as interrupt:
        end_quietly(study, StudyStatus.INTERRUPTED, str(interrupt) or "Ctrl-C")
        _say_interrupted(run, tuning, lease)
        raise
    except KtuneError as error:
        if not study.discard():  # refused before its first window: nothing to keep
            end_quietly(study, StudyStatus.FAILED, error.message)
        raise
    except BaseException as error:
        end_quietly(study, StudyStatus.FAILED, f"{type(error).__name__}: {error}")
        raise
    return RunResult(
        study=study,
        outcome=done.outcome,
        foreign=[*done.foreign, *_told_once(restored.foreign, done.foreign)],
        kept_netns=kept,
        unrestored=[item.key for item in restored.failed],
    )


def _check_baseline(plan: Plan, standing: Stage) -> None:
    """What the guardian found must be what was planned with, unless the profile sets it."""
    if plan.profile.baseline != "current":
        return
    found = {key: standing.lease.originals[key] for key in plan.baseline}
    changed = _differing(plan.baseline, found)
    if changed:
        raise RefusedError(
            f"{', '.join(changed)} changed between planning and start",
            hint="run it again; who else writes these knobs?",
        )


def _keep(run: _Run, standing: Stage) -> str:
    """The path of the namespace that stays; empty where the scope is not the run's own."""
    kept = standing.keep_scope()
    if kept is None:
        run.observe(Note("--keep-scope: this scope is not the run's own, it stays anyway"))
        return ""
    remember(run.paths, KeptScopeRecord(kept.pid, kept.cookie))
    return kept.ref.netns


def _say_interrupted(run: _Run, tuning: Tuning | None, lease: Lease | None) -> None:
    best = tuning.best() if tuning else None
    if best is not None:
        run.observe(
            Note(
                f"best unconfirmed so far: trial {best.first}, {percent_text(best.score)} "
                f"({assignment_text(best.assignment)})"
            )
        )
    run.observe(Note(f"interrupted: {_restored_text(lease)}"))
    run.observe(Note(f"go on with: {run.paths.command('tune', '--resume', run.study.id)}"))


def _restored_text(lease: Lease | None) -> str:
    report = lease.restored if lease else None
    if report is None:
        return "nothing was written" if lease is None else "run `ktune recover` to be sure"
    if not report.verified:
        return f"NOT restored: {', '.join(item.key for item in report.failed)}"
    kept = [item.key for item in report.foreign]
    return "every knob is restored" + (f", kept as foreign: {', '.join(kept)}" if kept else "")


def _manifest(plan: Plan, settings: Settings, argument: str) -> StudyManifest:
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
        host=_host(host),
        baseline=dict(plan.baseline),
        version=__version__,
    )


def _host(host: HostFacts) -> dict[str, Value]:
    return {
        "kernel": host.kernel,
        "arch": host.arch,
        "cpus": host.cpus,
        "mem": host.mem_bytes,
        "virt": host.virt,
    }


def _differing(ours: Assignment, theirs: Assignment) -> list[str]:
    return [key for key, value in ours.items() if theirs.get(key) != value]


def _told_once(
    later: Sequence[ForeignWrite], earlier: Sequence[ForeignWrite]
) -> list[ForeignWrite]:
    known = {item.key for item in earlier}
    return [item for item in later if item.key not in known]


def _recovery_text(recovery: Recovery) -> str:
    if recovery.outcome is RecoveryOutcome.RESTORED and recovery.report is not None:
        kept = len(recovery.report.foreign)
        return (
            f"restored what run {recovery.run_id} left behind: "
            f"{len(recovery.report.restored)} knobs" + (f", {kept} kept as foreign" if kept else "")
        )
    return f"journal {recovery.journal}: {recovery.outcome.value}: {recovery.reason}"

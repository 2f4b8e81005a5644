"""A whole `ktune tune`: plan, study, stage, tuning, and an honest end whatever happens."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial

from ktune.errors import KtuneError, UsageError
from ktune.measure.fingerprint import Fingerprint
from ktune.measure.fingerprinted import Fingerprinted
from ktune.measure.window import WindowSource
from ktune.modes.contexts.seen import keep_fingerprint
from ktune.modes.modes import Emergency
from ktune.modes.opening import ChangeWindowClosed, refuse_outside
from ktune.modes.pareto import picked, refuse_other
from ktune.modes.prepare import (
    check_baseline,
    end_quietly,
    manifest_of,
    prepare_plan,
    refuse_changed,
    restored_text,
)
from ktune.modes.quarantine import Quarantine
from ktune.modes.search_setup import new_record
from ktune.modes.settings import Overrides, Settings, settings_of
from ktune.modes.short_calibration import calibrate_before_search
from ktune.modes.stage import Stage, held_scope, stage
from ktune.modes.tuning import Tuning
from ktune.modes.warm_start import gather
from ktune.policy.hooks import fire
from ktune.profile.configuration import HookEvent
from ktune.profile.load import load_profile, parse_profile
from ktune.profile.locate import profile_argument
from ktune.profile.model import Profile
from ktune.profile.phases import in_phase
from ktune.profile.plan import Plan
from ktune.proxy.backends import ProxyChoice
from ktune.proxy.client import Lease, LeaseRequest
from ktune.proxy.model import ForeignWrite
from ktune.records import history
from ktune.records.finalists import read_finalists
from ktune.records.gains import log_gain_text
from ktune.records.kept import KeptScopeRecord, remember
from ktune.records.paths import StatePaths
from ktune.records.readiness import Readiness
from ktune.records.search import write_search
from ktune.records.study import Study
from ktune.records.types import ProofOutcome, StudyStatus
from ktune.report.live import assignment_text
from ktune.report.progress import Note, Observer
from ktune.search.preload import imported_in_background
from ktune.search.samplers import SamplerName, refuse_missing, refuse_pruning
from ktune.search.storage import check_url


@dataclass(frozen=True)
class RunOptions:
    """What the command line adds to the profile."""

    overrides: Overrides = field(default_factory=Overrides)
    keep_scope: bool = False
    coexist: bool = False
    search_only: bool = False
    picks: Sequence[int] = ()
    """Trials of a finished search to confirm."""
    require_ready: bool = False
    """End before the search when its proof can't resolve the MEI."""
    warm_start: Sequence[str] = ()
    phase: str = ""
    """Of the workload: the only one that is run."""
    proxy: ProxyChoice = ProxyChoice.AUTO
    """By which way it writes."""
    contexts: str = ""
    """The `tune --contexts` that this run is part of."""


@dataclass(frozen=True)
class RunResult:
    """How a run ended. `outcome`: improved, no_improvement_found or unconfirmed.

    `ready`: what was said of the measurement before the search; None where nothing was.
    """

    study: Study
    outcome: str
    foreign: Sequence[ForeignWrite]
    kept_netns: str = ""
    ready: bool | None = None


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
    return tune_loaded(profile, argument, options, paths, observe)


def tune_loaded(
    profile: Profile, argument: str, options: RunOptions, paths: StatePaths, observe: Observer
) -> RunResult:
    """The same by a profile that is loaded already; `argument` is where it came from."""
    if options.phase:
        profile = in_phase(profile, options.phase)
    refuse_outside(profile.safety)
    with held_scope(profile, paths), imported_in_background():
        plan = prepare_plan(profile, paths, observe, coexist=options.coexist)
        settings = settings_of(profile, options.overrides, drawn_seed=secrets.randbelow(2**31))
        _refuse_search(settings)
        _refuse_front(settings)
        warm, notes = gather(
            [*profile.search.warm_start, *options.warm_start], paths, plan, settings.goals
        )
        manifest = manifest_of(plan, settings, argument)
        if options.phase:
            part = {"phase": options.phase, "contexts": options.contexts}
            manifest = replace(manifest, options={**manifest.options, **part})
        study = Study.create(paths, manifest)
        record = replace(new_record(settings), warm=warm, warm_notes=notes)
        write_search(study.folder, record)
        for note in notes:
            observe(Note(f"warm start from {note}"))
        return _execute(_Run(study, plan, settings, options, paths, observe))


def _refuse_search(settings: Settings) -> None:
    """What can't be searched with is said before there is a study."""
    sampler = SamplerName(settings.sampler)
    refuse_missing(sampler)
    if settings.pruning:
        refuse_pruning()
    if settings.storage:
        check_url(settings.storage, sampler)


def _refuse_front(settings: Settings) -> None:
    if settings.pareto and not settings.goals.several:
        raise UsageError(
            "--pareto shows trades between several objectives; this profile has one",
            hint="without --pareto the best setting for it is searched and proven",
        )
    if settings.pareto and settings.sampler == SamplerName.CMAES:
        raise UsageError("the sampler cmaes knows one objective only", hint="--sampler tpe")


def resume_study(
    study_id: str, options: RunOptions, paths: StatePaths, observe: Observer
) -> RunResult:
    """Go on with an interrupted study, as it was planned. Raises KtuneError."""
    study = Study.open(paths, study_id)
    study.refuse_resume()
    manifest = study.manifest
    profile = parse_profile(
        manifest.profile_text.encode(),
        file=f"study {study_id}",
        state_dir=str(paths.state),
    )
    refuse_outside(profile.safety)
    phase = str(manifest.options.get("phase", ""))
    if phase:
        profile = in_phase(profile, phase)
    with held_scope(profile, paths):
        plan = prepare_plan(profile, paths, observe, coexist=options.coexist)
        refuse_changed("study", manifest, plan)
        if options.picks:  # before anything of the study changes: a wrong number must cost nothing
            picks = picked(options.picks, study.windows().records, plan.baseline)
            refuse_other(read_finalists(study.folder), picks)
        study.resume()
        overrides = replace(
            options.overrides,
            sampler=manifest.sampler,
            storage=manifest.storage or None,
            seed=manifest.seed,
            pareto=bool(manifest.options.get("pareto")),
            windows=options.overrides.windows or manifest.options.get("windows"),
        )
        settings = settings_of(profile, overrides, drawn_seed=manifest.seed)
        return _execute(_Run(study, plan, settings, options, paths, observe))


def _execute(run: _Run) -> RunResult:
    study, observe = run.study, run.observe
    observe(Note(f"study {study.id}, seed {run.settings.seed}"))
    request = LeaseRequest(study.id, f"tune {run.plan.profile.name}", str(history.actor()))
    profile = run.plan.profile
    quarantine = Quarantine(run.paths, f"tune {profile.name}", profile.watch.quiet)
    tuning: Tuning | None = None
    lease: Lease | None = None
    try:
        with ExitStack() as stack:
            standing = stack.enter_context(
                stage(
                    run.plan,
                    run.paths,
                    request,
                    proxy=run.options.proxy,
                    logs=study.folder / "services",
                )
            )
            lease = standing.lease
            observe(Note(f"writes go by {lease.standing.text}"))
            check_baseline(run.plan, standing)
            tuning = Tuning(
                run.plan,
                study,
                run.settings,
                lease=standing.lease,
                source=_source(run, standing, stack),
                observe=observe,
                search_only=run.options.search_only,
                picks=run.options.picks,
                namespace=standing.namespace,
            )
            stack.enter_context(quarantine.within(standing, tuning.keeper))
            readiness = _calibrate(run, tuning)
            done = tuning.run()
            kept = _keep(run, standing) if run.options.keep_scope else ""
            restored = standing.lease.release()
    except KeyboardInterrupt as interrupt:
        end_quietly(study, StudyStatus.INTERRUPTED, str(interrupt) or "Ctrl-C")
        _say_interrupted(run, tuning, lease)
        raise
    except ChangeWindowClosed as closed:
        end_quietly(study, StudyStatus.INTERRUPTED, closed.message)
        _say_interrupted(run, tuning, lease)
        raise
    except Emergency as error:
        refused = quarantine.keep()
        if study.status is StudyStatus.RUNNING:  # a proof outlives a restore that failed after it
            end_quietly(study, StudyStatus.FAILED, error.message)
        _fire(run, HookEvent.EMERGENCY, {"study": study.id, "why": error.message})
        said = [restored_text(lease), refused, f"`ktune report {study.id}` shows the windows"]
        raise Emergency(error.reason, hint="; ".join(filter(None, said))) from error
    except KtuneError as error:
        if not study.discard():  # refused before its first window: nothing to keep
            end_quietly(study, StudyStatus.FAILED, error.message)
        raise
    except BaseException as error:
        end_quietly(study, StudyStatus.FAILED, f"{type(error).__name__}: {error}")
        raise
    if done.proof is not None and done.outcome == ProofOutcome.IMPROVED:
        proven = {"study": study.id, "profile": run.plan.profile.name, "digest": done.proof.digest}
        _fire(run, HookEvent.PROVEN, proven)
    return RunResult(
        study=study,
        outcome=done.outcome,
        foreign=[*done.foreign, *_told_once(restored.foreign, done.foreign)],
        kept_netns=kept,
        ready=readiness.ready if readiness else None,
    )


def _fire(run: _Run, event: HookEvent, about: Mapping[str, object]) -> None:
    fire(event, about, lambda text: run.observe(Note(text)))


def _source(run: _Run, standing: Stage, stack: ExitStack) -> WindowSource:
    """The study of a phase also keeps what each window looked like from outside."""
    phase = str(run.study.manifest.options.get("phase", ""))
    if not phase:
        return standing.source
    fingerprint = stack.enter_context(Fingerprint.of(standing.namespace))

    keep = partial(keep_fingerprint, run.study, phase, standing.lease, tuple(run.plan.baseline))
    return Fingerprinted(standing.source, fingerprint, keep)


def _calibrate(run: _Run, tuning: Tuning) -> Readiness | None:
    """Before the search; a search that nothing is to be proven after needs none."""
    options = run.options
    unproven = options.search_only or (run.settings.pareto and not options.picks)
    if unproven and not options.require_ready:
        return None
    return calibrate_before_search(
        tuning.bench, run.settings, run.paths, run.observe, require_ready=options.require_ready
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
    if tuning is not None and best is not None:
        run.observe(
            Note(
                f"best unconfirmed so far: trial {best.first}, "
                f"{log_gain_text(best.score, tuning.direction)} "
                f"({assignment_text(best.assignment)})"
            )
        )
    run.observe(Note(f"interrupted: {restored_text(lease)}"))
    run.observe(Note(f"go on with: {run.paths.command('tune', '--resume', run.study.id)}"))


def _told_once(
    later: Sequence[ForeignWrite], earlier: Sequence[ForeignWrite]
) -> list[ForeignWrite]:
    known = {item.key for item in earlier}
    return [item for item in later if item.key not in known]

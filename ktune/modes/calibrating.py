"""A whole `ktune calibrate`: plan, record, stage, calibration, and an honest end."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ktune.errors import KtuneError, UsageError
from ktune.evidence.readiness import MINIMUM_PAIRS
from ktune.modes.bench import Bench
from ktune.modes.calibration import Calibration, calibration_on, candidate_of
from ktune.modes.modes import Emergency
from ktune.modes.prepare import (
    check_baseline,
    end_quietly,
    manifest_of,
    prepare_plan,
    refuse_changed,
    restored_text,
)
from ktune.modes.quarantine import Quarantine
from ktune.modes.readiness import judge
from ktune.modes.settings import Overrides, Settings, guardrails_of, settings_of
from ktune.modes.stage import held_scope, stage
from ktune.profile.load import load_profile, parse_profile
from ktune.profile.locate import profile_argument
from ktune.profile.plan import Plan
from ktune.proxy.client import Lease, LeaseRequest
from ktune.proxy.model import ForeignWrite
from ktune.records import history
from ktune.records.paths import StatePaths
from ktune.records.readiness import Readiness, write_readiness
from ktune.records.study import Study
from ktune.records.types import StudyStatus
from ktune.report.progress import Note, Observer

_PAIRS = "pairs"
"""How many pairs were asked for: an option of the manifest."""


@dataclass(frozen=True)
class CalibrationResult:
    """What was found, and where it is on record."""

    study: Study
    readiness: Readiness
    foreign: Sequence[ForeignWrite] = ()


@dataclass(frozen=True)
class _Run:
    """What belongs together from planning to the end."""

    study: Study
    plan: Plan
    settings: Settings
    pairs: int
    paths: StatePaths
    observe: Observer


def calibrate_profile(
    argument: str,
    paths: StatePaths,
    observe: Observer,
    *,
    pairs: int | None = None,
    seed: int | None = None,
    coexist: bool = False,
) -> CalibrationResult:
    """Calibrate by a profile (a path or a shipped name). Raises KtuneError."""
    profile = load_profile(profile_argument(argument), state_dir=str(paths.state))
    with held_scope(profile, paths, command="calibrate"):
        plan = prepare_plan(profile, paths, observe, coexist=coexist)
        settings = settings_of(profile, Overrides(seed=seed), drawn_seed=secrets.randbelow(2**31))
        count = pairs or MINIMUM_PAIRS
        manifest = replace(manifest_of(plan, settings, argument), options={_PAIRS: count})
        study = Study.create(paths, manifest, under=paths.calibrations)
        return _execute(_Run(study, plan, settings, count, paths, observe))


def resume_calibration(
    name: str,
    paths: StatePaths,
    observe: Observer,
    *,
    pairs: int | None = None,
    coexist: bool = False,
) -> CalibrationResult:
    """Go on with an interrupted calibration, or add pairs to a finished one. Raises KtuneError.

    More pairs after a look at the first ones are no harm here: nothing is proven by them.
    """
    study = Study.open(paths, name, under=paths.calibrations)
    study.refuse_resume()
    manifest = study.manifest
    before = int(manifest.options.get(_PAIRS, MINIMUM_PAIRS))
    count = pairs or before
    if study.status is StudyStatus.FINISHED and count <= before:
        raise UsageError(
            f"calibration {name} is finished, with {before} pairs",
            hint=f"--pairs {4 * before} adds more; `ktune studies show {name}` shows it",
        )
    profile = parse_profile(
        manifest.profile_text.encode(), file=f"calibration {name}", state_dir=str(paths.state)
    )
    with held_scope(profile, paths, command="calibrate"):
        plan = prepare_plan(profile, paths, observe, coexist=coexist)
        refuse_changed("calibration", manifest, plan)
        settings = settings_of(profile, Overrides(seed=manifest.seed), drawn_seed=manifest.seed)
        study.resume(options={_PAIRS: count})
        return _execute(_Run(study, plan, settings, count, paths, observe))


def next_sequence(study: Study) -> int:
    """One number is left out where a run was cut: windows hours apart are no neighbours."""
    last = max((record.seq for record in study.windows().records), default=-2)
    return last + 2


def _execute(run: _Run) -> CalibrationResult:
    study, plan, observe = run.study, run.plan, run.observe
    observe(Note(f"calibration {study.id}, seed {run.settings.seed}"))
    request = LeaseRequest(study.id, f"calibrate {plan.profile.name}", str(history.actor()))
    quarantine = Quarantine(run.paths, f"calibrate {plan.profile.name}", plan.profile.watch.quiet)
    lease: Lease | None = None
    try:
        with (
            stage(
                plan,
                run.paths,
                request,
                command="calibrate",
                logs=study.folder / "services",
            ) as standing,
            guardrails_of(plan.profile, standing.namespace) as guardrails,
        ):
            lease = standing.lease
            check_baseline(plan, standing)
            bench = Bench(
                lease=lease,
                source=standing.source,
                study=study,
                guardrails=guardrails,
                baseline=dict(plan.baseline),
                settle_s={knob.key: knob.entry.settle_s for knob in (*plan.knobs, *plan.fixed)},
                observe=observe,
                sequence=next_sequence(study),
            )
            candidate = candidate_of(plan)
            calibration = calibration_on(bench, run.settings, candidate=candidate, observe=observe)
            with quarantine.within(standing, calibration.keeper):
                calibration.measure(run.pairs)
        restored = lease.release()
        readiness = _judged(calibration, plan)
    except KeyboardInterrupt as interrupt:
        end_quietly(study, StudyStatus.INTERRUPTED, str(interrupt) or "Ctrl-C")
        observe(Note(f"interrupted: {restored_text(lease)}"))
        observe(Note(f"go on with: {run.paths.command('calibrate', '--resume', study.id)}"))
        raise
    except Emergency as error:
        refused = quarantine.keep()
        end_quietly(study, StudyStatus.FAILED, error.message)
        hint = "; ".join(filter(None, [restored_text(lease), refused]))
        raise Emergency(error.reason, hint=hint) from error
    except KtuneError as error:
        if not study.discard():
            end_quietly(study, StudyStatus.FAILED, error.message)
        raise
    except BaseException as error:
        end_quietly(study, StudyStatus.FAILED, f"{type(error).__name__}: {error}")
        raise
    write_readiness(study.folder, readiness)
    end_quietly(study, StudyStatus.FINISHED, "ready" if readiness.ready else readiness.problems[0])
    told = {item.key for item in bench.foreign}
    return CalibrationResult(
        study,
        readiness,
        [*bench.foreign, *(item for item in restored.foreign if item.key not in told)],
    )


def _judged(calibration: Calibration, plan: Plan) -> Readiness:
    found = judge(calibration.pairs, calibration.records, calibration.settings)
    estimate = plan.estimate  # a `tune` that follows takes this calibration over
    return replace(
        found,
        switched_to=dict(calibration.candidate),
        tune_windows=estimate.search_windows + estimate.proof_windows,
    )

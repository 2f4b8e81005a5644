"""A whole `ktune tune --contexts`: a study for each phase, then what tells the phases apart.

Each phase is searched and proven in its own context at its share of alpha. Then every phase is
looked at under the baseline and under every phase's winner: what a workload looks like depends on
the settings in force, and the tree must know it under all of them.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from ktune.errors import KtuneError, RefusedError, UsageError
from ktune.evidence.pairs import Arm
from ktune.kernel.tunable import Assignment
from ktune.kernel.wording import counted
from ktune.measure.fingerprint import Fingerprint
from ktune.measure.fingerprinted import Fingerprinted
from ktune.measure.guardrails.watch import Guardrails
from ktune.modes.bench import Bench
from ktune.modes.contexts.learn import PhaseResult, learned, leaves_of, single
from ktune.modes.contexts.seen import keep_fingerprint
from ktune.modes.opening import ChangeWindowClosed
from ktune.modes.prepare import (
    check_baseline,
    end_quietly,
    manifest_of,
    prepare_plan,
    refuse_changed,
)
from ktune.modes.run import RunOptions, resume_study, tune_loaded
from ktune.modes.settings import guardrails_of, settings_of
from ktune.modes.stage import Stage, held_scope, stage
from ktune.profile.load import load_profile, parse_profile
from ktune.profile.locate import profile_argument
from ktune.profile.model import Profile
from ktune.profile.phases import in_phase, phases_of
from ktune.profile.plan import Plan
from ktune.proxy.client import LeaseRequest
from ktune.records import history
from ktune.records.contexts import (
    ContextsRecord,
    FingerprintRecord,
    read_fingerprints,
    write_contexts,
)
from ktune.records.paths import StatePaths
from ktune.records.study import Study, list_studies
from ktune.records.types import Phase, ProofOutcome, StudyStatus
from ktune.report.progress import Note, Observer, Progress

LOOKS = 8
"""Windows of each phase under each assignment, to know it by."""


@dataclass(frozen=True)
class ContextsResult:
    """How it ended: the record's folder and the answer."""

    study: Study
    record: ContextsRecord


@dataclass(frozen=True)
class _Run:
    study: Study
    profile: Profile
    options: RunOptions
    paths: StatePaths
    observe: Observer
    argument: str

    @property
    def phases(self) -> tuple[str, ...]:
        return phases_of(self.profile)


def tune_contexts(
    argument: str, options: RunOptions, paths: StatePaths, observe: Observer
) -> ContextsResult:
    """Find a setting for each phase and what tells the phases apart. Raises KtuneError."""
    profile = load_profile(profile_argument(argument), state_dir=str(paths.state))
    phases_of(profile)
    with held_scope(profile, paths):
        plan = prepare_plan(profile, paths, observe, coexist=options.coexist)
    settings = settings_of(profile, options.overrides, drawn_seed=secrets.randbelow(2**31))
    study = Study.create(paths, manifest_of(plan, settings, argument), under=paths.contexts)
    observe(Note(f"contexts {study.id}, seed {settings.seed}"))
    overrides = replace(options.overrides, seed=settings.seed)
    return _run(
        _Run(study, profile, replace(options, overrides=overrides), paths, observe, argument)
    )


def resume_contexts(
    name: str, options: RunOptions, paths: StatePaths, observe: Observer
) -> ContextsResult:
    """Go on where it was interrupted: phases that are done are kept. Raises KtuneError."""
    study = Study.open(paths, name, under=paths.contexts)
    if study.status is StudyStatus.FINISHED:
        raise UsageError(f"{name} is complete", hint=f"`ktune freeze {name} -o policy.yaml`")
    study.refuse_resume()
    manifest = study.manifest
    profile = parse_profile(
        manifest.profile_text.encode(), file=f"contexts {name}", state_dir=str(paths.state)
    )
    with held_scope(profile, paths):
        plan = prepare_plan(profile, paths, observe, coexist=options.coexist)
    refuse_changed("contexts", manifest, plan)
    study.resume()
    overrides = replace(options.overrides, seed=manifest.seed, sampler=manifest.sampler)
    argument = manifest.profile_path
    return _run(
        _Run(study, profile, replace(options, overrides=overrides), paths, observe, argument)
    )


def _run(run: _Run) -> ContextsResult:
    study = run.study
    try:
        results = [_phase(run, name) for name in run.phases]
        baseline = _common_baseline(run, results)
        found = leaves_of(results)
        if not single(found):
            assignments = _distinct([baseline, *(leaf.assignment for leaf in found)])
            for name in run.phases:
                _look_at(run, name, assignments)
        looks = read_fingerprints(study.folder)
        own = _fingerprints(run, results)
        record = learned(results, baseline, looks, own, seed=study.manifest.seed)
        write_contexts(study.folder, record)
    except KeyboardInterrupt as interrupt:
        end_quietly(study, StudyStatus.INTERRUPTED, str(interrupt) or "Ctrl-C")
        command = run.paths.command("tune", "--contexts", "--resume", study.id)
        run.observe(Note(f"go on with: {command}"))
        raise
    except ChangeWindowClosed as closed:
        end_quietly(study, StudyStatus.INTERRUPTED, closed.message)
        raise
    except BaseException as error:
        end_quietly(study, StudyStatus.FAILED, str(error) or type(error).__name__)
        raise
    ended = StudyStatus.FINISHED if record.tree is not None else StudyStatus.NO_IMPROVEMENT
    study.end(ended, record.reason)
    return ContextsResult(study, record)


def _phase(run: _Run, name: str) -> PhaseResult:
    """The study of one phase: as it is, gone on with, or new."""
    study = _study_of(run, name)
    options = replace(run.options, phase=name, contexts=run.study.id)
    run.observe(Note(f"phase {name}"))
    if study is None:
        found = tune_loaded(run.profile, run.argument, options, run.paths, run.observe)
        study = found.study
    elif study.status not in (StudyStatus.PROVEN, StudyStatus.NO_IMPROVEMENT):
        study = resume_study(study.id, options, run.paths, run.observe).study
    proof = study.proof()
    if proof is None:
        raise KtuneError(f"study {study.id} of phase {name} ended without an answer")
    proven = proof.outcome is ProofOutcome.IMPROVED
    return PhaseResult(name, study.id, proof.assignment if proven else proof.baseline, proven)


def _study_of(run: _Run, name: str) -> Study | None:
    """The newest of this run and phase."""
    found = None
    for study in list_studies(run.paths):
        if isinstance(study, Study):
            options = study.manifest.options
            if (options.get("contexts"), options.get("phase")) == (run.study.id, name):
                found = study
    return found


def _common_baseline(run: _Run, results: Sequence[PhaseResult]) -> Assignment:
    """All phases must have been compared with the same values of the same knobs."""
    baselines = []
    for item in results:
        proof = Study.open(run.paths, item.study).proof()
        assert proof is not None
        baselines.append(dict(proof.baseline))
    if any(other != baselines[0] for other in baselines):
        raise RefusedError(
            "the phases were compared with different baselines: somebody else changed a knob "
            "between them",
            hint="start again; who else writes these knobs?",
        )
    return baselines[0]


def _look_at(run: _Run, name: str, assignments: Sequence[Assignment]) -> None:
    """Some windows of a phase under each assignment, in random order."""
    profile = in_phase(run.profile, name)
    with held_scope(profile, run.paths):
        plan = prepare_plan(profile, run.paths, _silent, coexist=run.options.coexist)
        _measure_looks(run, name, plan, assignments)


def _measure_looks(run: _Run, name: str, plan: Plan, assignments: Sequence[Assignment]) -> None:
    profile = plan.profile
    request = LeaseRequest(
        f"{run.study.id}-{name}", f"tune {profile.name}: looks at {name}", str(history.actor())
    )
    run.observe(
        Note(f"phase {name}: what it looks like under {counted(len(assignments), 'setting')}")
    )
    chooser = random.Random(f"{run.study.manifest.seed}/{name}")
    with (
        stage(
            plan, run.paths, request, proxy=run.options.proxy, logs=run.study.folder / "services"
        ) as standing,
        Fingerprint.of(standing.namespace) as seen,
    ):
        check_baseline(plan, standing)
        with guardrails_of(profile, standing.namespace) as guardrails:
            bench = _bench(run, plan, standing, guardrails)
            keep = partial(keep_fingerprint, run.study, name, standing.lease, tuple(plan.baseline))
            bench.source = Fingerprinted(standing.source, seen, keep)
            for _ in range(LOOKS):
                for assignment in chooser.sample(list(assignments), len(assignments)):
                    arm = Arm.BASELINE if assignment == assignments[0] else Arm.CANDIDATE
                    bench.measure(assignment, phase=Phase.CONTEXTS, arm=arm)


def _bench(run: _Run, plan: Plan, standing: Stage, guardrails: Guardrails) -> Bench:
    records = run.study.windows().records
    return Bench(
        lease=standing.lease,
        source=standing.source,
        study=run.study,
        guardrails=guardrails,
        baseline=dict(plan.baseline),
        settle_s={knob.key: knob.entry.settle_s for knob in (*plan.knobs, *plan.fixed)},
        observe=run.observe,
        sequence=max((record.seq for record in records), default=-1) + 1,
    )


def _fingerprints(run: _Run, results: Sequence[PhaseResult]) -> list[FingerprintRecord]:
    """Of the studies' own windows."""
    folders = [Study.open(run.paths, item.study).folder for item in results]
    return [item for folder in folders for item in read_fingerprints(folder)]


def _distinct(assignments: Iterable[Assignment]) -> list[Assignment]:
    found: list[Assignment] = []
    for assignment in assignments:
        if assignment not in found:
            found.append(assignment)
    return found


def _silent(_: Progress) -> None:
    """What planning says was said before."""

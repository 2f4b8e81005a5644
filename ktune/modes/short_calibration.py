"""The short calibration before a search: can its proof show the MEI at all?

A few pairs of the baseline against itself, or a recent `ktune calibrate` of the same profile on the
same machine in their place. Its windows are used for nothing else. In the proof they would be
windows from before the finalist was chosen; the search starts with a baseline window of its own,
since its scores are interpolated between neighbours in time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

from ktune.errors import RefusedError
from ktune.evidence.readiness import MINIMUM_PAIRS
from ktune.kernel.wording import counted
from ktune.modes.bench import Bench
from ktune.modes.calibration import Calibration, calibration_on
from ktune.modes.readiness import judge
from ktune.modes.settings import Settings
from ktune.profile.estimate import pairs_before
from ktune.records import clock
from ktune.records.codec import RecordError
from ktune.records.finalists import read_finalists
from ktune.records.paths import StatePaths
from ktune.records.readiness import Readiness, read_readiness, write_readiness
from ktune.records.study import Study, list_studies
from ktune.records.types import StudyManifest, StudyStatus
from ktune.report.progress import Note, Observer

SHARE_OF_TIME = 0.2
"""Of the time that the search may take; LEAST_PAIRS are measured whatever they take."""
LEAST_PAIRS = 3
RECENT = timedelta(days=1)
"""How old a calibration may be to stand for a new one."""

RUNS = 200
"""Simulated proofs a question: enough for a warning, and quick."""
_JUDGING_S = 300.0
"""Lease of the baseline while that is simulated: nothing else is in force, and a busy machine may
take long."""


def calibrate_before_search(
    bench: Bench,
    settings: Settings,
    paths: StatePaths,
    observe: Observer,
    *,
    require_ready: bool = False,
    runs: int = RUNS,
) -> Readiness | None:
    """What is known of the noise, on record in the study; None once finalists are chosen.

    A study has one calibration: a resumed one goes by it. `runs`: simulated proofs a question.

    Raises:
        RefusedError: not ready, and that was required (exit 4).
        Disturbed, TooDisturbed, Emergency, LeaseLost: as in every measurement.
    """
    study = bench.study
    found = read_readiness(study.folder)
    if found is None:
        if read_finalists(study.folder) is not None:
            return None
        found = _taken_over(study, paths, observe) or _measured(bench, settings, observe, runs)
        write_readiness(study.folder, found)
    if not found.ready:
        said = unresolved_text(found)
        if require_ready:
            raise RefusedError(
                f"not ready: {said}",
                hint=paths.command("calibrate", study.manifest.profile_path) + " says more",
            )
        observe(Note(said))
    return found


def unresolved_text(found: Readiness) -> str:
    """Why a proof will hardly show the MEI, and what would help."""
    proof, noise = found.proof, found.noise
    said = "; ".join(found.problems)
    if proof.gain > 0 and not found.gate.fired:
        cannot = "may not be" if found.undecided else "can't be"
        said = (
            f"the MEI of {proof.gain:.2%} {cannot} resolved within "
            f"{counted(proof.pairs_allowed, 'pair')}: "
            f"sd of a pair {noise.sd:.2%} (at most {noise.high:.2%}, from "
            f"{counted(found.pairs, 'pair')}), shown in {proof.power:.0%} of proofs"
        )
    return f"{said}; what would help: {'; '.join(found.helps)}"


def recent_calibrations(
    paths: StatePaths, manifest: StudyManifest
) -> Iterator[tuple[Study, Readiness] | RecordError]:
    """Finished ones of the same profile, baseline and machine, newest first; one whose record
    can't be read comes as its error."""
    for other in reversed(list(list_studies(paths, under=paths.calibrations))):
        if isinstance(other, RecordError):
            yield other
        elif _stands_for(other, manifest):
            try:
                readiness = read_readiness(other.folder)
            except RecordError as error:
                yield error
                continue
            if readiness is not None:
                yield other, readiness


def _stands_for(calibration: Study, manifest: StudyManifest) -> bool:
    there = calibration.manifest
    same = ("profile_digest", "scope", "host", "baseline", "version")
    return (
        calibration.status is StudyStatus.FINISHED
        and not manifest.options.get("phase")  # another workload than the profile's own
        and all(getattr(there, name) == getattr(manifest, name) for name in same)
        and timedelta(0) <= clock.moment(clock.now()) - clock.moment(there.ended_at) <= RECENT
    )


def _taken_over(study: Study, paths: StatePaths, observe: Observer) -> Readiness | None:
    for item in recent_calibrations(paths, study.manifest):
        if isinstance(item, RecordError):
            observe(Note(f"left out: {item.message}"))
            continue
        other, readiness = item
        observe(
            Note(
                f"calibration {other.id} of this profile ({counted(readiness.pairs, 'pair')}, "
                f"{other.manifest.ended_at}) is used; none is measured now"
            )
        )
        return replace(readiness, source=other.id)
    return None


def _measured(bench: Bench, settings: Settings, observe: Observer, runs: int) -> Readiness:
    until_s = time.monotonic() + SHARE_OF_TIME * settings.time_s

    def out_of_time(counted: int) -> bool:
        return counted >= LEAST_PAIRS and time.monotonic() > until_s

    calibration = calibration_on(bench, settings, candidate={}, observe=observe)
    calibration.measure(pairs_before(settings.trials), out_of_time)
    found = _judged(bench, calibration, runs)
    if not found.ready and calibration.counted < MINIMUM_PAIRS:
        observe(Note(f"{calibration.counted} pairs don't show that the MEI can be resolved"))
        calibration.measure(MINIMUM_PAIRS, out_of_time)
        found = _judged(bench, calibration, runs)
    return found


def _judged(bench: Bench, calibration: Calibration, runs: int) -> Readiness:
    bench.lease.renew(deadline_s=_JUDGING_S)
    return judge(calibration.pairs, calibration.records, calibration.settings, runs=runs)

"""Rows of earlier studies and of shared files, for a search to begin with.

A study on this machine is scored again, from its own windows, by the goals of the run that begins;
a file can only be taken at its word, so it must be about the same objectives.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ktune.errors import UsageError
from ktune.evidence.pairs import Arm
from ktune.measure.window import Validity
from ktune.modes.scoring import Goals
from ktune.modes.settings import goals_of
from ktune.profile.load import parse_profile
from ktune.profile.plan import Plan
from ktune.records.paths import StatePaths
from ktune.records.rows import FORMAT, SharedGoal, SharedRow, SharedRows, read_rows
from ktune.records.search import WarmCandidate
from ktune.records.study import Study, is_study_id
from ktune.records.types import WindowRecord
from ktune.search.baseline import BaselineWindow
from ktune.search.space import Space
from ktune.search.trials import AssignmentKey, ScoredTrial, feasible, key_of, mean_score
from ktune.search.warm import WarmRow, taken


def gather(
    names: Sequence[str], paths: StatePaths, plan: Plan, goals: Goals
) -> tuple[tuple[WarmCandidate, ...], tuple[str, ...]]:
    """The settings to measure first, best first, and what to tell about the sources.

    `names`: studies by id, files of rows by path.

    Raises:
        UsageError: no such study or file, or it is about something else.
    """
    if not names:
        return (), ()
    space = Space(plan.dimensions, plan.relations, plan.baseline)
    sources = [_source(name, paths, goals) for name in dict.fromkeys(names)]
    warm, notes = taken(space, sources)
    return tuple(WarmCandidate(w.assignment, w.score, w.source) for w in warm), notes


def shared_rows(study: Study) -> SharedRows:
    """A study's settings and scores, to pass on. Raises KtuneError."""
    manifest = study.manifest
    profile = parse_profile(manifest.profile_text.encode(), file=f"study {study.id}")
    goals = goals_of(profile)
    return SharedRows(
        format=FORMAT,
        profile=manifest.profile_name,
        objectives=_objectives(goals),
        rows=tuple(SharedRow(r.assignment, r.score, r.measured) for r in rows_of(study, goals)),
        study=study.id,
        kernel=str(manifest.host.get("kernel", "")),
    )


def rows_of(study: Study, goals: Goals) -> list[WarmRow]:
    """Every assignment of a study that never failed and keeps the constraints, with its mean score.

    Windows count one after the other: each is compared with the baseline windows around it.

    Raises:
        UsageError: its windows lack a metric of the goals.
    """
    windows = _timed(study.windows().records)
    baselines = [
        BaselineWindow(at_s, record.metrics)
        for at_s, record in windows
        if record.arm is Arm.BASELINE and record.validity == Validity.VALID
    ]
    missing = {m for window in baselines for m in goals.metrics if m not in window.metrics}
    if missing:
        raise UsageError(f"study {study.id} did not measure {', '.join(sorted(missing))}")
    groups: dict[AssignmentKey, list[tuple[float, WindowRecord]]] = {}
    for at_s, record in windows:
        if baselines and record.arm is Arm.CANDIDATE and record.validity != Validity.VOID:
            groups.setdefault(key_of(record.assignment), []).append((at_s, record))
    found = []
    for group in groups.values():
        if any(record.validity != Validity.VALID for _, record in group):
            continue
        scored = [
            ScoredTrial(
                goals.score(record.metrics, at_s, baselines),
                goals.constraints(record.metrics, at_s, baselines),
            )
            for at_s, record in group
        ]
        if feasible(scored):
            found.append(WarmRow(group[0][1].assignment, mean_score(scored), len(scored)))
    return found


def _source(name: str, paths: StatePaths, goals: Goals) -> tuple[str, list[WarmRow]]:
    if is_study_id(name) and not Path(name).exists():
        study = Study.open(paths, name)
        return f"study {name} ({study.manifest.profile_name})", rows_of(study, goals)
    shared = read_rows(Path(name))
    theirs = {(goal.metric, goal.direction) for goal in shared.objectives}
    ours = {(goal.metric, goal.direction) for goal in _objectives(goals)}
    if theirs != ours:
        raise UsageError(
            f"{name}: its scores are about {_goals_text(theirs)}, this profile wants "
            f"{_goals_text(ours)}"
        )
    origin = f", from study {shared.study}" if shared.study else ""
    kernel = f" on {shared.kernel}" if shared.kernel else ""
    label = f"file {name} ({shared.profile}{origin}{kernel})"
    return label, [WarmRow(row.assignment, row.score, row.measured) for row in shared.rows]


def _objectives(goals: Goals) -> tuple[SharedGoal, ...]:
    return tuple(SharedGoal(g.metric, g.direction.value, g.weight) for g in goals.objectives)


def _goals_text(goals: set[tuple[str, str]]) -> str:
    return ", ".join(f"{metric} ({direction})" for metric, direction in sorted(goals)) or "nothing"


def _timed(records: Sequence[WindowRecord]) -> list[tuple[float, WindowRecord]]:
    """Each window with its middle in seconds of measuring: the times on record are whole seconds
    of a clock that may have been set."""
    found = []
    passed_s = 0.0
    for record in records:
        found.append((passed_s + record.duration_s / 2, record))
        passed_s += record.duration_s
    return found

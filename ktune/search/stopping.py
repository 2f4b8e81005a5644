"""When the search has had enough; pure.

Optuna's own terminators are deprecated and none knows about noise. Ours believes only what was
measured at least twice: an assignment's mean over two or more windows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from ktune.kernel.wording import counted
from ktune.search.trials import AssignmentKey, Origin, Row, ScoredTrial, VoidTrial, feasible


class StopKind(StrEnum):
    """Which limit was reached."""

    TRIALS = "trials"
    TIME = "time"
    CONVERGED = "converged"
    VOID = "void"
    REGRET = "regret"
    WINDOWS = "windows"


@dataclass(frozen=True)
class StopRules:
    """Limits of a search. Void windows count for none of the trial figures.

    `minimum_gain` is a log ratio: how much better counts as an improvement.
    """

    trials: int
    time_s: float
    stop_after: int
    minimum_gain: float = 0.0
    voids_in_a_row: int = 10


@dataclass(frozen=True)
class Stop:
    """Why the search ends; `text` is for people."""

    kind: StopKind
    text: str


def should_stop(rows: Sequence[Row], elapsed_s: float, rules: StopRules) -> Stop | None:
    """The first limit reached, or None to go on.

    Converged: over the last `stop_after` trials no assignment measured twice or more raised the
    best such mean seen so far (0, the baseline's own, to begin with) by more than `minimum_gain`.
    """
    told = sum(not isinstance(row.told, VoidTrial) for row in rows)
    voids = 0
    for row in reversed(rows):
        if not isinstance(row.told, VoidTrial):
            break
        voids += 1
    if elapsed_s >= rules.time_s:
        return Stop(StopKind.TIME, f"the time of {rules.time_s:.0f} s is used up")
    if told >= rules.trials:
        return Stop(StopKind.TRIALS, f"the budget of {counted(rules.trials, 'trial')} is used up")
    if voids >= rules.voids_in_a_row:
        return Stop(StopKind.VOID, f"disturbed from outside: {counted(voids, 'window')} in a row")
    since = trials_since_improvement(rows, rules.minimum_gain)
    if since >= rules.stop_after:
        return Stop(
            StopKind.CONVERGED, f"no re-measured improvement over {counted(since, 'trial')}"
        )
    return None


def trials_since_improvement(rows: Sequence[Row], minimum_gain: float = 0.0) -> int:
    """Trials (void ones left out) since the best re-measured mean last rose."""
    groups: dict[AssignmentKey, list[ScoredTrial]] = {}
    failed: set[AssignmentKey] = set()
    best = 0.0
    since = 0
    for row in rows:
        if isinstance(row.told, VoidTrial):
            continue
        since += 1
        key = row.key
        if not isinstance(row.told, ScoredTrial):
            failed.add(key)
            continue
        if row.origin is Origin.BASELINE:
            continue
        group = groups.setdefault(key, [])
        group.append(row.told)
        mean = math.fsum(told.score for told in group) / len(group)
        believed = len(group) >= 2 and key not in failed and feasible(group)
        if believed and mean > best + minimum_gain:
            best, since = mean, 0
    return since

"""Which settings from elsewhere are worth a window here; pure.

Warm start: the best few of earlier or shared rows are measured right after the baseline. They are
candidates like any other: nothing of their scores reaches the sampler, the ranking or the proof.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ktune.kernel.values import Value
from ktune.kernel.wording import counted
from ktune.search.space import Space
from ktune.search.trials import key_of

MOST = 5
"""Settings that are taken, of all sources together: a window each, re-measured like all others."""

_NAMED = 5
"""So many left-out knobs are named."""


@dataclass(frozen=True)
class WarmRow:
    """An assignment and what it was worth where it was measured, as a mean."""

    assignment: Mapping[str, Value]
    score: float
    measured: int


@dataclass(frozen=True)
class Warm:
    """One that was taken, with its source."""

    assignment: Mapping[str, Value]
    score: float
    source: str


def taken(
    space: Space, sources: Iterable[tuple[str, Sequence[WarmRow]]], most: int = MOST
) -> tuple[tuple[Warm, ...], tuple[str, ...]]:
    """The best of all sources that claim a gain and fit the space, best first, and what to tell.

    A knob that is not searched here is left out of its rows (what is left of a row takes the
    baseline's values); a row that leaves today's limits or breaks a relation is left out whole.
    """
    found: dict[object, Warm] = {}
    notes = []
    for source, rows in sources:
        fitting, said = _fitting(space, rows)
        best = [Warm(row.assignment, row.score, source) for row in fitting if row.score > 0]
        for warm in best:
            key = key_of(warm.assignment)
            if key not in found or found[key].score < warm.score:
                found[key] = warm
        notes.append(
            f"{source}: {counted(len(rows), 'setting')}, {len(best)} fit and claim a gain{said}"
        )
    ordered = sorted(found.values(), key=lambda warm: -warm.score)
    return tuple(ordered[:most]), tuple(notes)


def _fitting(space: Space, rows: Sequence[WarmRow]) -> tuple[list[WarmRow], str]:
    """Rows as this space can try them, those that became equal joined; and what was left out."""
    foreign: Counter[str] = Counter()
    outside: Counter[str] = Counter()
    groups: dict[object, list[WarmRow]] = {}
    own = key_of(space.completed({}))
    for row in rows:
        ours = {key: value for key, value in row.assignment.items() if key in space.keys}
        foreign.update(
            key
            for key, value in row.assignment.items()
            if key not in space.keys and space.baseline.get(key) != value
        )
        full = space.completed(ours)
        problem = space.why_not(full, enqueued=True)
        if problem:
            outside[problem] += 1
        elif key_of(full) != own:
            joined = WarmRow(full, row.score, row.measured)
            groups.setdefault(key_of(full), []).append(joined)
    said = ""
    if foreign:
        names = sorted(foreign)
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        said += f"; not searched here and left out: {', '.join(names[:_NAMED])}{more}"
    if outside:
        why, _ = outside.most_common(1)[0]
        said += f"; {outside.total()} outside today's limits (such as: {why})"
    return [_joined(group) for group in groups.values()], said


def _joined(group: Sequence[WarmRow]) -> WarmRow:
    measured = sum(row.measured for row in group)
    score = math.fsum(row.score * row.measured for row in group) / measured
    return WarmRow(group[0].assignment, score, measured)

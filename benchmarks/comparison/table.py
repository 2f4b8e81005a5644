"""The comparison's rows as Markdown tables and as a verdict on what was promised."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.comparison.methods import KTUNE, KTUNE_WARM, METHODS, TPE_WARM
from benchmarks.comparison.question import Cell
from benchmarks.evidence.results import Row

HARM = math.log(0.99)
"""A true gain below this is a deployment worse than the default: by more than 1 %."""
_POINT = 0.01


@dataclass(frozen=True)
class Summary:
    """One method on one surface; gains as log ratios."""

    cell: Cell
    runs: int
    gain: float
    half: float
    """Half the 95 % interval of the mean gain."""
    claimed: float | None
    changed: float
    """Share of runs that deploy something."""
    harm: float
    """... that is worse than the default by more than 1 %."""
    windows: float
    wall_s: float
    left: float
    found: float | None
    """True gain of what ktune would have proven, whether or not it did: its search by itself."""


def summaries(rows: Iterable[Row]) -> list[Summary]:
    """One for each cell that has rows, methods in their order."""
    cells: dict[Cell, list[Row]] = {}
    for row in rows:
        cells.setdefault(Cell.of(row["case"]), []).append(row)
    order = {name: number for number, name in enumerate(METHODS)}
    return [
        _summary(cell, own)
        for cell, own in sorted(
            cells.items(),
            key=lambda item: (item[0].surface, item[0].windows, order[item[0].method]),
        )
    ]


def _summary(cell: Cell, rows: Sequence[Row]) -> Summary:
    gains = [row["gain"] for row in rows]
    claims = [row["claimed"] for row in rows if row["claimed"] is not None]
    found = [row["found"] for row in rows if row["found"] is not None]
    spread = statistics.stdev(gains) if len(gains) > 1 else 0.0
    return Summary(
        cell,
        len(rows),
        statistics.fmean(gains),
        1.96 * spread / math.sqrt(len(gains)),
        statistics.fmean(claims) if claims else None,
        statistics.fmean(row["changed"] for row in rows),
        statistics.fmean(gain < HARM for gain in gains),
        statistics.fmean(row["windows"] for row in rows),
        statistics.fmean(row["wall_s"] for row in rows),
        statistics.fmean(row["left"] for row in rows),
        statistics.fmean(found) if found else None,
    )


def percent(log_ratio: float | None, digits: int = 1) -> str:
    """A log ratio as a change in percent."""
    return "-" if log_ratio is None else f"{math.expm1(log_ratio):+.{digits}%}"


HEAD = (
    "method",
    "runs",
    "true gain [95 %]",
    "claimed",
    "found",
    "deploys",
    "worse than default",
    "windows",
    "own time, s",
    "knobs left changed",
)


def lines(items: Sequence[Summary]) -> list[list[str]]:
    """The rows of a table of one surface and number of windows."""
    return [
        [
            item.cell.method,
            str(item.runs),
            f"{percent(item.gain)} [{percent(item.gain - item.half)}, "
            f"{percent(item.gain + item.half)}]"
            if item.runs > 1
            else percent(item.gain),
            percent(item.claimed),
            percent(item.found),
            f"{item.changed:.0%}",
            f"{item.harm:.0%}",
            f"{item.windows:.0f}",
            f"{item.wall_s:.1f}",
            f"{item.left:.1f}",
        ]
        for item in items
    ]


def by_surface(items: Sequence[Summary]) -> dict[tuple[str, int], list[Summary]]:
    """Tables by surface and number of windows."""
    found: dict[tuple[str, int], list[Summary]] = {}
    for item in items:
        found.setdefault((item.cell.surface, item.cell.windows), []).append(item)
    return found


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""
    body = [" | ".join(row) for row in rows]
    return "\n".join(
        f"| {line} |" for line in [" | ".join(head), " | ".join("---" for _ in head), *body]
    )


def verdicts(items: Sequence[Summary], sampler: str = KTUNE[0]) -> list[str]:
    """What was aimed at, and whether it was met; losses by name. A search that begins with what
    TuneD sets is compared with everything, another not with the one that does."""
    found: list[str] = []
    ours: dict[int, list[float]] = {}
    best: dict[int, list[Mapping[str, float]]] = {}
    unequal = () if sampler == KTUNE_WARM else (TPE_WARM,)
    for (surface, windows), own in by_surface(items).items():
        mine = next((item for item in own if item.cell.method == sampler), None)
        others = [item for item in own if item.cell.method not in (*KTUNE, *unequal)]
        if mine is None or not others:
            continue
        rival = max(others, key=lambda item: item.gain)
        behind = rival.gain - mine.gain
        slack = math.hypot(mine.half, rival.half)
        ours.setdefault(windows, []).append(mine.gain)
        best.setdefault(windows, []).append({item.cell.method: item.gain for item in others})
        if behind > _POINT + slack:
            found.append(
                f"LOST: {surface}, {windows} windows: {sampler} {percent(mine.gain)}, "
                f"{rival.cell.method} {percent(rival.gain)}"
            )
        if mine.harm > 0.05:
            found.append(f"MISSED: {surface}, {windows} windows: harm {mine.harm:.0%} above 5 %")
        if mine.left:
            found.append(f"MISSED: {surface}, {windows} windows: knobs left changed")
    if not ours:
        return [f"no cell has both {sampler} and another method"]
    return [*found, *(_on_average(sampler, windows, ours, best) for windows in sorted(ours))]


def _on_average(
    sampler: str,
    windows: int,
    ours: Mapping[int, Sequence[float]],
    best: Mapping[int, Sequence[Mapping[str, float]]],
) -> str:
    means = _means(best[windows])
    rival = max(means, key=lambda name: means[name])
    mean = statistics.fmean(ours[windows])
    word = "met" if mean >= means[rival] else "MISSED"
    return (
        f"{word}: mean true gain over {len(ours[windows])} tables of {windows} windows: {sampler} "
        f"{percent(mean)}, best other ({rival}) {percent(means[rival])}"
    )


def _means(best: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Of methods that ran in every table."""
    names = set.intersection(*(set(one) for one in best))
    return {name: statistics.fmean(one[name] for one in best) for name in names}

"""Changes as people read them: the way the number went, and whether that is better.

Everywhere in ktune a gain is a fraction *better*, whichever way the metric runs. A latency that is
13 % better is 13 % lower: it is written `-13.0% (better)`, so that nobody takes it for a latency
that rose. Where several metrics are combined, or which way one runs is not known, there is no such
number and it reads `13.0% better`. Standard library only.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from ktune.evidence.pairs import Direction, change_of
from ktune.records.types import StudyManifest


def change_text(gain: float, direction: Direction | None = None) -> str:
    """A gain (a fraction better) of a metric that is better in this direction; None: not one.

    >>> change_text(0.13, Direction.MINIMIZE), change_text(-0.02, Direction.MAXIMIZE)
    ('-13.0% (better)', '-2.0% (worse)')
    >>> change_text(0.13), change_text(0.0001, Direction.MINIMIZE)
    ('13.0% better', '0.0% (the same)')
    """
    size = f"{abs(gain):.1%}"
    if not float(size[:-1]):
        return f"{size} (the same)"
    word = "better" if gain > 0 else "worse"
    if direction is None:
        return f"{size} {word}"
    rose = (gain > 0) == (direction is Direction.MAXIMIZE)
    return f"{'+' if rose else '-'}{size} ({word})"


def range_text(low: float, high: float, direction: Direction | None = None) -> str:
    """An interval of gains, in the same signs as `change_text`; for several metrics `+` is better.

    >>> range_text(0.101, 0.152, Direction.MINIMIZE), range_text(-0.01, 0.05)
    ('[-15.2%, -10.1%]', '[-1.0%, +5.0%]')
    """
    if direction is Direction.MINIMIZE:
        low, high = -high, -low
    return f"[{_end(low)}, {_end(high)}]"


def gain_text(
    metric: str,
    gain: float,
    interval: tuple[float, float],
    level: float,
    direction: Direction | None = None,
) -> str:
    """`p99 -13.0% (better), 95% interval [-15.2%, -10.1%]`."""
    return (
        f"{metric} {change_text(gain, direction)}, {level:.0%} interval "
        f"{range_text(*interval, direction)}"
    )


UNCERTAIN = "how much is uncertain"
_MORE_PAIRS = 4
"""So many times the pairs halve an interval."""


def uncertain(interval: tuple[float, float]) -> bool:
    """Does the interval of a gain include no gain at all?

    The decision asks whether there is a gain, with as many pairs as it needs; its size comes from
    a fixed number of later ones, which may be too few to tell it from none.
    """
    low, high = interval
    return low <= 0 <= high


def proven_text(
    metric: str,
    gain: float,
    interval: tuple[float, float],
    level: float,
    direction: Direction | None = None,
) -> str:
    """`gain_text` of a proven gain, with a word of warning where one is due."""
    said = gain_text(metric, gain, interval, level, direction)
    return f"{said}, {UNCERTAIN}" if uncertain(interval) else said


def uncertain_lines(interval: tuple[float, float], study: str, pairs: int) -> tuple[str, ...]:
    """What a person should know before quoting such a gain, and what to do; nothing otherwise.

    `pairs`: those that it comes from.
    """
    if not uncertain(interval):
        return ()
    more = _MORE_PAIRS * pairs
    return (
        f"{UNCERTAIN}: the interval includes no gain at all. That there is one rests on the",
        f"pairs of the decision. For one half as wide: promotion: {{pairs: {{after: {more}}}}} in",
        f"the profile, then `ktune tune PROFILE --warm-start {study}`",
    )


def log_gain_text(log_gain: float | None, direction: Direction | None = None) -> str:
    """A log gain for people; `-` for none."""
    if log_gain is None:
        return "-"
    return change_text(change_of(log_gain, direction or Direction.MAXIMIZE), direction)


def worse_text(worsening: float) -> str:
    """A worsening (a fraction; below 0 it is a gain): `2.9% worse`, `1.2% better`."""
    return f"{worsening:.1%} worse" if worsening > 0 else f"{-worsening:.1%} better"


def directions_of(manifest: StudyManifest) -> Mapping[str, Direction]:
    """Which way each objective of a study's profile is better, by metric; nothing of what its
    record does not say."""
    try:
        profile: Any = json.loads(manifest.profile_text or "{}")
    except ValueError:
        return {}  # whoever needs the profile reads it and says what is wrong; this is a wording
    goals = profile.get("objectives") if isinstance(profile, dict) else None
    found = {}
    for goal in goals if isinstance(goals, list) else ():
        if isinstance(goal, dict) and goal.get("direction") in tuple(Direction):
            found[str(goal.get("metric"))] = Direction(goal["direction"])
    return found


def _end(share: float) -> str:
    return "unbounded" if math.isinf(share) else f"{share:+.1%}"

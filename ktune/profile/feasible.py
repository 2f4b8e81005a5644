"""Whether any assignment within the limits keeps all relations. Pure.

Each side of a relation is an interval; a relation narrows both, until nothing changes or one is
empty (bounds propagation for difference constraints). What is left non-empty has a solution on the
integers when no steps or choices get in the way; those the search finds out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ktune.kernel.tunable import Assignment
from ktune.profile.knobs import Operand, Relation
from ktune.profile.space import Dimension

_ROUNDS = 1000


@dataclass
class _Interval:
    low: int
    high: int


def impossible(
    relations: Iterable[Relation], dimensions: Iterable[Dimension], baseline: Assignment
) -> Relation | None:
    """The first relation that leaves no room; None when there is room."""
    found = {dimension.name: _interval(dimension) for dimension in dimensions}
    intervals = {name: item for name, item in found.items() if item is not None}
    pairs = [pair for relation in relations for pair in _pairs(relation, intervals, baseline)]
    for _ in range(_ROUNDS):
        changed = False
        for relation, low, high, gap in pairs:
            if high.high - gap < low.high:
                low.high, changed = high.high - gap, True
            if low.low + gap > high.low:
                high.low, changed = low.low + gap, True
            if low.low > low.high or high.low > high.high:
                return relation
        if not changed:
            return None
    return None


def _interval(dimension: Dimension) -> _Interval | None:
    numbers = [
        value for value in (*dimension.choices, *dimension.special) if isinstance(value, int)
    ]
    if not dimension.choices:
        numbers += [dimension.low, dimension.high]
    elif len(numbers) < len(dimension.choices):
        return None  # words have no order
    return _Interval(min(numbers), max(numbers))


def _pairs(
    relation: Relation, intervals: Mapping[str, _Interval], baseline: Assignment
) -> list[tuple[Relation, _Interval, _Interval, int]]:
    """(relation, lower side, upper side, gap): lower + gap <= upper."""
    left = _side(relation.left, intervals, baseline)
    right = _side(relation.right, intervals, baseline)
    if left is None or right is None:
        return []
    gap = 1 if relation.operator in ("<", ">") else 0
    if relation.operator in ("<", "<="):
        return [(relation, left, right, gap)]
    return [(relation, right, left, gap)]


def _side(
    side: Operand | int, intervals: Mapping[str, _Interval], baseline: Assignment
) -> _Interval | None:
    if isinstance(side, int):
        return _Interval(side, side)
    if str(side) in intervals:
        return intervals[str(side)]
    number = side.of(baseline)
    return None if number is None else _Interval(number, number)

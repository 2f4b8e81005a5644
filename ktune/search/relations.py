"""Repairing an assignment that breaks a relation such as `a < b`: move one side, a little only.

Repair rather than rejection, because a sampler that is merely refused learns nothing about the
border, and a narrow band (`background < total` near the limits) would cost many draws. The
sampler is told the *repaired* point (`study.py`), never a score for a point that was not tried.

First the side whose move is smaller moves, relation by relation. Chains (`a < b < c < d`) can
defeat that: then the limits are first narrowed by the relations until nothing changes, after
which pushing values upwards always ends (difference constraints, Cormen et al., section 22.4).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ktune.kernel.values import Value
from ktune.profile.knobs import Operand, Relation
from ktune.search.space import Assignment, Axis, Space


def repair(space: Space, assignment: Assignment) -> dict[str, Value] | None:
    """The assignment with all relations holding; None where the limits leave no room.

    Only numbers are moved: a choice, a fixed knob or an integer in a relation stays.
    """
    return _by_small_moves(space, dict(assignment)) or _by_narrowing(space, dict(assignment))


@dataclass(frozen=True)
class _Below:
    """A relation in one form: low side + gap <= high side; each an axis or a fixed number."""

    low: Axis | int
    high: Axis | int
    gap: int


def _by_small_moves(space: Space, assignment: dict[str, Value]) -> dict[str, Value] | None:
    current = assignment
    for _ in range(2 * len(space.relations) + 1):
        broken = space.broken(current)
        if broken is None:
            return current
        below = _normal(space, current, broken)
        moved = _moved(space, current, below) if below else None
        if moved is None:
            return None
        current = moved
    return None


def _moved(space: Space, assignment: dict[str, Value], below: _Below) -> dict[str, Value] | None:
    """One side moved just far enough: the side whose move is smaller for its range."""
    low, high = (_number_at(space, assignment, side) for side in (below.low, below.high))
    options: list[tuple[float, dict[str, Value]]] = []
    for axis, now, up in ((below.low, low, False), (below.high, high, True)):
        if isinstance(axis, Axis) and axis.number is not None:
            grid = axis.number
            target = grid.at_least(low + below.gap) if up else grid.at_most(high - below.gap)
            if target is not None:
                share = abs(target - now) / max(1, grid.last - grid.low)
                options.append((share, space.with_value(assignment, axis, target)))
    return min(options, key=lambda option: option[0])[1] if options else None


def _by_narrowing(space: Space, assignment: dict[str, Value]) -> dict[str, Value] | None:
    """Narrow all limits by the relations, clamp into them, then push values up to hold."""
    found = [_normal(space, assignment, relation) for relation in space.relations]
    belows = [below for below in found if below is not None]
    axes = {side.name: side for below in belows for side in _axes(below)}
    lows = {name: _limits(space, assignment, axis)[0] for name, axis in axes.items()}
    highs = {name: _limits(space, assignment, axis)[1] for name, axis in axes.items()}
    rounds = len(axes) + 1
    for _ in range(rounds):
        for below in belows:
            if not _narrow(below, lows, highs):
                return None
    values = {
        name: _on_grid(axis, min(max(_number_at(space, assignment, axis), lows[name]), highs[name]))
        for name, axis in axes.items()
    }
    for _ in range(rounds):
        for below in belows:
            if isinstance(below.high, Axis):
                least = _held(below.low, values) + below.gap
                if values[below.high.name] < least:
                    values[below.high.name] = _up(below.high, least)
    current = assignment
    for name, axis in axes.items():
        current = space.with_value(current, axis, values[name])
    return current if space.why_not(current) is None else None


def _narrow(below: _Below, lows: dict[str, int], highs: dict[str, int]) -> bool:
    """Tighten both sides by one relation; False when nothing is left."""
    if isinstance(below.high, Axis):
        name = below.high.name
        lows[name] = max(lows[name], _up(below.high, _held(below.low, lows) + below.gap))
        if lows[name] > highs[name]:
            return False
    if isinstance(below.low, Axis):
        name = below.low.name
        highs[name] = min(highs[name], _down(below.low, _held(below.high, highs) - below.gap))
        if lows[name] > highs[name]:
            return False
    return True


def _normal(space: Space, assignment: Assignment, relation: Relation) -> _Below | None:
    """The relation as low + gap <= high; None when a side has no number (it then holds)."""
    sides = [_side(space, assignment, side) for side in (relation.left, relation.right)]
    left, right = sides
    if left is None or right is None:
        return None
    gap = 1 if relation.operator in ("<", ">") else 0
    if relation.operator in ("<", "<="):
        return _Below(left, right, gap)
    return _Below(right, left, gap)


def _side(space: Space, assignment: Assignment, side: Operand | int) -> Axis | int | None:
    if isinstance(side, int):
        return side
    axis = next((axis for axis in space.axes if axis.name == str(side)), None)
    number = side.of({**space.baseline, **assignment})
    return axis if axis is not None and number is not None else number


def _axes(below: _Below) -> list[Axis]:
    return [side for side in (below.low, below.high) if isinstance(side, Axis)]


def _number_at(space: Space, assignment: Assignment, side: Axis | int) -> int:
    if isinstance(side, int):
        return side
    value = space.value_of(side, assignment)
    assert isinstance(value, int)
    return value


def _limits(space: Space, assignment: Assignment, axis: Axis) -> tuple[int, int]:
    if axis.number is None:
        value = _number_at(space, assignment, axis)
        return value, value
    return axis.number.low, axis.number.last


def _held(side: Axis | int, values: Mapping[str, int]) -> int:
    return side if isinstance(side, int) else values[side.name]


def _up(axis: Axis, value: int) -> int:
    """The lowest grid value that is not below; past the end the value itself (it will not fit)."""
    found = axis.number.at_least(value) if axis.number is not None else None
    return value if found is None else found


def _down(axis: Axis, value: int) -> int:
    found = axis.number.at_most(value) if axis.number is not None else None
    return value if found is None else found


def _on_grid(axis: Axis, value: int) -> int:
    return _down(axis, value)

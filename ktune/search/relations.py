"""Repairing an assignment that breaks a relation such as `a < b`: move one side, a little only.

Repair rather than rejection, because a sampler that is merely refused learns nothing about the
border, and a narrow band (`background < total` near the limits) would cost many draws. The
sampler is told the *repaired* point (`study.py`), never a score for a point that was not tried.
"""

from __future__ import annotations

from ktune.kernel.values import Value
from ktune.profile.knobs import Operand, Relation
from ktune.search.space import Assignment, Axis, Space

_ROUNDS_PER_RELATION = 4
"""Chains such as a < b < c settle within a few rounds; a cycle never does."""


def repair(space: Space, assignment: Assignment) -> dict[str, Value] | None:
    """The assignment with all relations holding, or None when moving single knobs can't do it."""
    current: dict[str, Value] = dict(assignment)
    for _ in range(_ROUNDS_PER_RELATION * max(1, len(space.relations))):
        broken = space.broken(current)
        if broken is None:
            return current
        moved = _moved(space, current, broken)
        if moved is None:
            return None
        current = moved
    return None


def _moved(
    space: Space, assignment: dict[str, Value], relation: Relation
) -> dict[str, Value] | None:
    """One side moved just far enough: the side whose move is smaller for its range."""
    full = {**space.baseline, **assignment}
    left = relation.left.of(full)
    right = relation.right if isinstance(relation.right, int) else relation.right.of(full)
    gap = 1 if relation.operator in ("<", ">") else 0
    lower_first = relation.operator in ("<", "<=")
    options: list[tuple[float, dict[str, Value]]] = []
    for operand, other, shrink in (
        (relation.left, right, lower_first),
        (relation.right, left, not lower_first),
    ):
        axis = _axis_of(space, operand)
        if axis is None or axis.number is None or not isinstance(other, int):
            continue
        target = axis.number.at_most(other - gap) if shrink else axis.number.at_least(other + gap)
        now = space.value_of(axis, assignment)
        if target is not None and isinstance(now, int):
            width = max(1, axis.number.last - axis.number.low)
            options.append((abs(target - now) / width, space.with_value(assignment, axis, target)))
    return min(options, key=lambda option: option[0])[1] if options else None


def _axis_of(space: Space, operand: Operand | int) -> Axis | None:
    if isinstance(operand, int):
        return None
    return next((axis for axis in space.axes if axis.name == str(operand)), None)

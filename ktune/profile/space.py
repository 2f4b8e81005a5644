"""The search space of a plan: dimensions, and the way between points and assignments.

A *point* gives a number or word to each dimension by its name. Pure functions; Optuna is
elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from ktune.kernel.values import Value

Point = Mapping[str, Value]
"""Dimension name -> value."""


class DimensionKind(StrEnum):
    """What one dimension varies."""

    INT = "int"
    """A whole knob within limits."""
    CHOICE = "choice"
    """A whole knob among listed values."""
    VECTOR = "vector"
    """One element of a vector knob within limits."""


@dataclass(frozen=True)
class Dimension:
    """One thing that the search varies, in the knob's own unit, within the catalog's limits."""

    key: str
    kind: DimensionKind
    low: int = 0
    """Lowest value (INT, VECTOR)."""
    high: int = 0
    """Highest value, inclusive."""
    step: int = 1
    """Distance of the grid that starts at `low`."""
    log: bool = False
    choices: tuple[Value, ...] = ()
    """CHOICE: the values, in the profile's order."""
    special: tuple[Value, ...] = ()
    """INT: values with a meaning of their own beside the range."""
    element: int | None = None
    """VECTOR: the element, from 0."""

    @property
    def name(self) -> str:
        """Unique in a plan: the key, with `[element]` for an element of a vector."""
        return self.key if self.element is None else f"{self.key}[{self.element}]"

    @property
    def count(self) -> int:
        """How many different values it has."""
        if self.kind is DimensionKind.CHOICE:
            return len(self.choices)
        return (self.high - self.low) // self.step + 1 + len(self.special)

    def contains(self, value: Value) -> bool:
        """Whether the search may propose it (off the grid of `step` counts as inside)."""
        if self.kind is DimensionKind.CHOICE:
            return value in self.choices
        return value in self.special or (isinstance(value, int) and self.low <= value <= self.high)


def compose(
    dimensions: Iterable[Dimension], baseline: Mapping[str, Value], point: Point
) -> dict[str, Value]:
    """The assignment of a point: elements that no dimension varies keep the baseline's value.

    Dimensions that `point` does not name keep the baseline as a whole. Raises KeyError when a
    vector has no baseline, TypeError when a point gives an element something else than an int.
    """
    assignment = dict(baseline)
    for dimension in dimensions:
        if dimension.name not in point:
            continue
        value = point[dimension.name]
        if dimension.element is not None:
            value = _replaced(assignment[dimension.key], dimension.element, value)
        assignment[dimension.key] = value
    return assignment


def point_of(
    dimensions: Sequence[Dimension], assignment: Mapping[str, Value]
) -> dict[str, Value] | None:
    """The point of an assignment; None when some dimension doesn't contain its value there."""
    point: dict[str, Value] = {}
    for dimension in dimensions:
        value = assignment.get(dimension.key)
        if dimension.element is not None:
            inside = isinstance(value, tuple) and dimension.element < len(value)
            value = value[dimension.element] if inside and isinstance(value, tuple) else None
        if value is None or not dimension.contains(value):
            return None
        point[dimension.name] = value
    return point


def _replaced(vector: Value, index: int, value: Value) -> tuple[int, ...]:
    if not isinstance(vector, tuple) or not isinstance(value, int):
        raise TypeError(f"element {index} of {vector!r} can't become {value!r}")
    return (*vector[:index], value, *vector[index + 1 :])

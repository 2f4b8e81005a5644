"""From the dimensions of a plan to plain search parameters and back to assignments.

Pure and without Optuna. What the sampler draws keeps the limits and the relations: `decode` can't
leave a limit, and what breaks a relation is repaired (`relations.py`) or, where no repair exists,
rejected and drawn again (`study.py`). What a person enqueues may besides lie off the grid of a
step, or keep the baseline's value where that is outside the range.

A number with special values (0 = off; outside the range, at its edge or in it) gets a second
parameter, the *chooser*, uniform in 0..1: below `SPECIAL_BIAS` it stands for a special value. A
categorical chooser would spend half of all random draws on the special value (MLOS does), and a
special value that is but one of 10,000 numbers in the range would never be drawn; 0.15-0.2 is what
LlamaTune found useful (arXiv 2203.05128). A continuous chooser also works for samplers without
categories.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ktune.errors import UsageError
from ktune.kernel.values import Value
from ktune.profile.knobs import Relation
from ktune.profile.space import Dimension, DimensionKind

SPECIAL_BIAS = 0.15
"""Share of random draws that go to the special values of a number, together."""

Assignment = Mapping[str, Value]
Params = dict[str, int | float | str]


class NotInSpaceError(UsageError):
    """An assignment that the search may not try: outside a limit, or a relation broken."""


@dataclass(frozen=True)
class Number:
    """An ordered axis: low, low + step, ... up to high; searched on a log scale with `log`."""

    low: int
    high: int
    step: int = 1
    log: bool = False

    @property
    def last(self) -> int:
        """The highest value on the grid."""
        return self.low + (self.high - self.low) // self.step * self.step

    def holds(self, value: Value) -> bool:
        """Whether the value is within the limits and on the grid."""
        return (
            isinstance(value, int)
            and self.low <= value <= self.high
            and (value - self.low) % self.step == 0
        )

    def at_most(self, limit: int) -> int | None:
        """The highest value that is not above `limit`."""
        if limit < self.low:
            return None
        return self.low + (min(limit, self.last) - self.low) // self.step * self.step

    def at_least(self, limit: int) -> int | None:
        """The lowest value that is not below `limit`."""
        if limit > self.last:
            return None
        return self.low + -((self.low - max(limit, self.low)) // self.step) * self.step


@dataclass(frozen=True)
class Axis:
    """One dimension: a number (perhaps with special values) or a choice."""

    key: str
    element: int | None
    number: Number | None
    choices: tuple[Value, ...]

    @property
    def name(self) -> str:
        """Name of its parameter: the key, or `key[2]` for an element of a vector."""
        return self.key if self.element is None else f"{self.key}[{self.element}]"

    @property
    def chooser(self) -> str:
        """Name of the parameter that picks a special value."""
        return f"{self.name}?special"

    @property
    def has_chooser(self) -> bool:
        return self.number is not None and bool(self.choices)

    def pick(self, params: Mapping[str, Any]) -> Value:
        """The value that the parameters stand for; clamped, as floats may round past a limit."""
        if self.number is None:
            return self.choices[self._labels.index(str(params[self.name]))]
        if self.has_chooser:
            chosen = float(params[self.chooser])
            if chosen < SPECIAL_BIAS:
                return self.choices[int(chosen / SPECIAL_BIAS * len(self.choices))]
        drawn = round(float(params[self.name]))
        value = drawn if self.number.log else self.number.low + drawn * self.number.step
        return max(self.number.low, min(self.number.last, value))

    def params(self, value: Value) -> Params | None:
        """The parameters that stand for a value; None when it is outside the axis."""
        if self.number is None:
            return {self.name: self.label(value)} if value in self.choices else None
        held = isinstance(value, int) and self.number.holds(value)
        drawn = self._drawn(value if isinstance(value, int) and held else self.number.low)
        if value in self.choices:
            place = (self.choices.index(value) + 0.5) / len(self.choices)
            return {self.name: drawn, self.chooser: place * SPECIAL_BIAS}
        if not held:
            return None
        found: Params = {self.name: drawn}
        return {**found, self.chooser: (1 + SPECIAL_BIAS) / 2} if self.has_chooser else found

    def between(self, value: Value) -> bool:
        """Whether a number lies within the limits, on the grid or not."""
        number = self.number
        return number is not None and isinstance(value, int) and number.low <= value <= number.high

    def nearest(self, value: Value) -> Params:
        """Parameters of the value on the axis that is nearest to one outside it."""
        if self.number is None or not isinstance(value, int):
            return self.params(self.choices[0] if self.number is None else self.number.low) or {}
        inside = self.number.at_most(value)
        return self.params(self.number.low if inside is None else inside) or {}

    @property
    def _labels(self) -> tuple[str, ...]:
        return tuple(self.label(choice) for choice in self.choices)

    @staticmethod
    def label(value: Value) -> str:
        """A choice as text: Optuna's categories can't tell 1 from True, nor hold a tuple."""
        return json.dumps(value)

    def _drawn(self, value: int) -> int:
        assert self.number is not None
        return value if self.number.log else (value - self.number.low) // self.number.step


class Space:
    """All axes, the relations, and the baseline that fills what is not searched."""

    def __init__(
        self,
        dimensions: Sequence[Dimension],
        relations: Sequence[Relation] = (),
        baseline: Assignment | None = None,
    ) -> None:
        """Raises UsageError for a space that can't be searched."""
        self.baseline: dict[str, Value] = dict(baseline or {})
        self.relations = tuple(relations)
        self.axes = tuple(_axis(dimension) for dimension in dimensions)
        if not self.axes:
            raise UsageError("there is no knob to search", hint="see `ktune plan` for what is left")
        names = [axis.name for axis in self.axes]
        if len(set(names)) != len(names):
            raise UsageError(f"a knob is searched twice: {', '.join(sorted(names))}")
        for axis in self.axes:
            whole = self.baseline.get(axis.key)
            if axis.element is not None and not (
                isinstance(whole, tuple) and axis.element < len(whole)
            ):
                raise UsageError(f"{axis.name} needs a vector of the baseline to change")

    @property
    def keys(self) -> tuple[str, ...]:
        """The knobs that an assignment of this space sets, each once."""
        return tuple(dict.fromkeys(axis.key for axis in self.axes))

    @property
    def fingerprint(self) -> str:
        """Digest of the axes: a study can only be resumed in the same space."""
        shape = [
            [axis.name, repr(axis.number), [axis.label(c) for c in axis.choices]]
            for axis in self.axes
        ]
        return hashlib.sha256(json.dumps(shape).encode()).hexdigest()[:16]

    def decode(self, params: Mapping[str, Any]) -> dict[str, Value]:
        """The assignment that the parameters stand for (limits kept, relations not yet).

        An axis without parameters (dropped from the search) has the baseline's value.
        """
        return self.assembled(
            {
                axis.name: axis.pick(params)
                if axis.name in params
                else self.value_of(axis, self.baseline)
                for axis in self.axes
            }
        )

    def without(self, names: Collection[str]) -> Space:
        """The same space with some axes held at the baseline."""
        found = copy.copy(self)
        found.axes = tuple(axis for axis in self.axes if axis.name not in names)
        return found

    def nearest(self, assignment: Assignment) -> Params:
        """The parameters that stand for an assignment, or for what is nearest to it on the grid."""
        found: Params = {}
        for axis in self.axes:
            value = self.value_of(axis, assignment)
            found.update(axis.params(value) or axis.nearest(value))
        return found

    def only(self, assignment: Assignment) -> dict[str, Value]:
        """The knobs of an assignment that this space searches."""
        return {key: assignment[key] for key in self.keys}

    def completed(self, assignment: Assignment) -> dict[str, Value]:
        """The values of all searched knobs: what the assignment leaves out is the baseline's.

        Knobs that are not searched are dropped where they equal the baseline.
        """
        found = {key: self.baseline[key] for key in self.keys if key in self.baseline}
        found.update(
            (key, value)
            for key, value in assignment.items()
            if key in self.keys or key not in self.baseline or self.baseline[key] != value
        )
        return found

    def why_not(self, assignment: Assignment, *, enqueued: bool = False) -> str | None:
        """Why the search may not try this assignment; None when it may.

        With `enqueued` a value may lie between grid points, or be the baseline's own.
        """
        stranger = next((key for key in assignment if key not in self.keys), None)
        if stranger is not None:
            return f"{stranger} is not searched"
        for key in self.keys:
            if key not in assignment:
                return f"{key} has no value and the baseline none to take"
            searched = {axis.element for axis in self.axes if axis.key == key}
            if None not in searched and not self._same_besides(key, assignment[key], searched):
                return f"{key} = {assignment[key]}: elements that are not searched must stay"
        for axis in self.axes:
            value = self.value_of(axis, assignment)
            inside = axis.params(value) is not None
            if enqueued and not inside:
                kept = axis.key in self.baseline and value == self.value_of(axis, self.baseline)
                inside = kept or axis.between(value)
            if not inside:
                return f"{axis.name} = {value} is outside {_limits_text(axis)}"
        broken = self.broken(assignment)
        return f"the relation {broken} does not hold" if broken is not None else None

    def broken(self, assignment: Assignment) -> Relation | None:
        """The first relation that does not hold, unsearched knobs taken from the baseline."""
        full = {**self.baseline, **assignment}
        return next((relation for relation in self.relations if not relation.holds(full)), None)

    def value_of(self, axis: Axis, assignment: Assignment) -> Value:
        """The value on one axis: the knob's, or one element of it."""
        value = assignment[axis.key]
        return (
            value[axis.element] if isinstance(value, tuple) and axis.element is not None else value
        )

    def with_value(self, assignment: Assignment, axis: Axis, value: Value) -> dict[str, Value]:
        """The assignment with one axis set."""
        if axis.element is None:
            return {**assignment, axis.key: value}
        return {**assignment, axis.key: _replaced(assignment[axis.key], axis.element, value)}

    def assembled(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """The assignment in which every axis has the value given under its name."""
        found: dict[str, Value] = {
            axis.key: self.baseline[axis.key] for axis in self.axes if axis.element is not None
        }
        for axis in self.axes:
            value = values[axis.name]
            found[axis.key] = (
                value if axis.element is None else _replaced(found[axis.key], axis.element, value)
            )
        return {key: found[key] for key in self.keys}

    def _same_besides(self, key: str, value: Value, searched: set[int | None]) -> bool:
        original = self.baseline[key]
        if not (isinstance(value, tuple) and isinstance(original, tuple)):
            return False
        return len(value) == len(original) and all(
            new == old
            for index, (new, old) in enumerate(zip(value, original, strict=True))
            if index not in searched
        )


def _axis(dimension: Dimension) -> Axis:
    """One dimension as an axis."""
    if dimension.kind is DimensionKind.CHOICE:
        choices = tuple(dict.fromkeys(dimension.choices))
        if not choices:
            raise UsageError(f"{dimension.key} has neither a range nor choices left to search")
        return Axis(dimension.key, None, None, choices)
    number = Number(dimension.low, dimension.high, dimension.step, dimension.log)
    if number.low > number.high or number.step < 1:
        raise UsageError(f"{dimension.key}: no value between {number.low} and {number.high}")
    if number.log and (number.low < 1 or number.step != 1):
        raise UsageError(f"{dimension.key}: log needs a lowest value of at least 1 and no step")
    return Axis(dimension.key, dimension.element, number, tuple(dict.fromkeys(dimension.special)))


def _limits_text(axis: Axis) -> str:
    special = ", ".join(str(choice) for choice in axis.choices)
    if axis.number is None:
        return f"the choices {special}"
    step = f" in steps of {axis.number.step}" if axis.number.step > 1 else ""
    return f"{axis.number.low}..{axis.number.last}{step}" + (f" or {special}" if special else "")


def _replaced(vector: Value, element: int, value: Value) -> Value:
    if not (isinstance(vector, tuple) and isinstance(value, int)):
        raise TypeError(f"element {element} of {vector!r} can't become {value!r}")
    return (*vector[:element], value, *vector[element + 1 :])

"""Hard limits of one knob on this host, and what its place in a plan may become. Pure.

The promise of this module and of `ranges.py` and `choices.py`, which use it: whatever the profile
says, no limit of a plan exceeds the catalog's on this host.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ktune.catalog.model import KnobEntry
from ktune.kernel.values import Value, ValueFormatError, ValueType, parse
from ktune.kernel.wording import counted
from ktune.profile import units
from ktune.profile.knobs import Knob
from ktune.profile.space import Dimension


class WrongForKnobError(ValueError):
    """The profile asks for something that this knob can't mean; `at` leads to the place."""

    def __init__(self, message: str, *at: str | int) -> None:
        super().__init__(message)
        self.at = at


class NothingToSearchError(ValueError):
    """The knob is left alone; the text says why."""


@dataclass(frozen=True)
class Limits:
    """Hard limits of one knob on this host, one per element of a vector; None = none."""

    low: tuple[int | None, ...]
    high: tuple[int | None, ...]

    @classmethod
    def of(cls, entry: KnobEntry, facts: Mapping[str, int]) -> Limits:
        """The catalog's, evaluated with the facts of a machine."""
        length = entry.length or 1
        low, high = (_spread(bound, length) for bound in entry.limits(facts))
        return cls(low, high)

    def below(self, index: int, value: int) -> Limits:
        """... and no element `index` above `value`."""
        high = self.high[index]
        return replace(
            self, high=_with(self.high, index, min(value, value if high is None else high))
        )

    def above(self, index: int, value: int) -> Limits:
        """... and no element `index` under `value`."""
        low = self.low[index]
        return replace(self, low=_with(self.low, index, max(value, value if low is None else low)))

    def hold(self, value: Value) -> bool:
        """Whether a number or vector lies within."""
        items = value if isinstance(value, tuple) else (value,)
        return len(items) == len(self.low) and all(
            isinstance(item, int)
            and (low is None or item >= low)
            and (high is None or item <= high)
            for item, low, high in zip(items, self.low, self.high, strict=True)
        )

    def __str__(self) -> str:
        pairs = zip(self.low, self.high, strict=True)
        return ", ".join(span(low, high) for low, high in pairs)


@dataclass(frozen=True)
class Space:
    """What became of one knob."""

    dimensions: tuple[Dimension, ...]
    minimum: Value | None = None
    maximum: Value | None = None
    choices: tuple[str, ...] | None = None
    special: tuple[Value, ...] = ()
    notes: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class Case:
    """One knob of a profile with everything that decides about its space."""

    key: str
    knob: Knob
    entry: KnobEntry
    limits: Limits
    """The catalog's, already narrowed by couplings."""
    baseline: Value
    allowed: tuple[str, ...] | None
    """The words that the kernel offers in this scope; None: not a knob of words, or not known."""
    page_bytes: int

    def number(self, quantity: int | str, *at: str | int) -> int:
        """A quantity in the knob's unit. Raises WrongForKnobError."""
        try:
            return units.for_knob(quantity, self.entry.unit, page_bytes=self.page_bytes)
        except ValueError as error:
            raise WrongForKnobError(str(error), *at) from None

    def value(self, setting: object, *at: str | int) -> Value:
        """A setting as a value. Raises WrongForKnobError."""
        try:
            return value_of(self.entry, setting, self.page_bytes)
        except ValueError as error:
            raise WrongForKnobError(str(error), *at) from None

    def permits(self, value: Value) -> bool:
        """Whether the catalog lets a number be written here."""
        return value in self.entry.special or self.limits.hold(value)


def value_of(entry: KnobEntry, setting: object, page_bytes: int) -> Value:
    """A setting as a person writes it, as the knob's value. Raises ValueError."""
    try:
        if entry.type is ValueType.INT:
            if isinstance(setting, int | str):
                return units.for_knob(setting, entry.unit, page_bytes=page_bytes)
            raise ValueError("one number is expected, not a list")
        if entry.type is ValueType.VECTOR:
            return _vector_of(entry, setting, page_bytes)
        if isinstance(setting, tuple):
            raise ValueError("one word is expected, not a list")
        return parse(entry.type, str(setting))
    except ValueFormatError as error:
        raise ValueError(str(error)) from None


def _vector_of(entry: KnobEntry, setting: object, page_bytes: int) -> tuple[int, ...]:
    parts = setting if isinstance(setting, tuple) else str(setting).split()
    vector = tuple(units.for_knob(part, entry.unit, page_bytes=page_bytes) for part in parts)
    if entry.length is not None and len(vector) != entry.length:
        raise ValueError(f"expected {counted(entry.length, 'number')}, found {len(vector)}")
    return vector


def _spread(bound: Value | None, length: int) -> tuple[int | None, ...]:
    if isinstance(bound, tuple):
        return bound
    return (bound if isinstance(bound, int) else None,) * length


def _with(items: tuple[int | None, ...], index: int, value: int) -> tuple[int | None, ...]:
    return (*items[:index], value, *items[index + 1 :])


def hull(values: list[Value]) -> tuple[Value, Value]:
    """Lowest and highest of numbers, or of vectors element by element."""
    vectors = [value for value in values if isinstance(value, tuple)]
    if vectors:
        columns = list(zip(*vectors, strict=True))
        return tuple(min(column) for column in columns), tuple(max(column) for column in columns)
    numbers = [value for value in values if isinstance(value, int)]
    return min(numbers), max(numbers)


def span(low: int | None, high: int | None) -> str:
    """Limits for people: `1..100`, `1 or more`, `any`."""
    if low is None:
        return "any" if high is None else f"{high} or less"
    return f"{low} or more" if high is None else f"{low}..{high}"


def say(value: Value) -> str:
    """A value as the kernel prints it."""
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)

"""A knob with a range, or a vector knob with ranges for elements, cut to what is allowed. Pure."""

from __future__ import annotations

from ktune.kernel.values import Value, ValueType
from ktune.profile.bounds import (
    Case,
    NothingToSearchError,
    Space,
    WrongForKnobError,
    say,
    span,
)
from ktune.profile.knobs import Range
from ktune.profile.space import Dimension, DimensionKind

ORDERED_LENGTHS = (2, 3)
"""Vectors of two or three numbers are (min, max) or (min, default, max) throughout net.*."""


def build(case: Case) -> Space:
    """One dimension, or one for each element that has a range; what is cut is noted.

    Raises WrongForKnobError or NothingToSearchError.
    """
    _check_shape(case)
    notes: list[str] = []
    special = _special(case, notes)
    dimensions: list[Dimension] = []
    reasons: list[str] = []
    for element, part in case.knob.ranges.items():
        try:
            dimensions.append(_dimension(case, element, part, special, notes))
        except NothingToSearchError as error:
            reasons.append(str(error))
    if not dimensions:
        raise NothingToSearchError("; ".join(reasons))
    minimum, maximum = _write_limits(case, dimensions)
    return Space(tuple(dimensions), minimum, maximum, None, special, (*notes, *reasons))


def _check_shape(case: Case) -> None:
    """A range needs a number, element(s) a vector."""
    knob, entry = case.knob, case.entry
    where = "range" if knob.elements is None else "elements"
    if entry.type not in (ValueType.INT, ValueType.VECTOR):
        words = f" such as {', '.join(entry.choices[:4])}" if entry.choices else ""
        raise WrongForKnobError(f"this knob takes words: give choices{words}", where)
    if entry.type is ValueType.VECTOR and None in knob.ranges:
        raise WrongForKnobError(
            f"this knob holds {entry.length} numbers: say with element or elements (counted from "
            "0) which one the range moves",
            where,
        )
    if entry.type is ValueType.INT and None not in knob.ranges:
        raise WrongForKnobError(
            "this knob holds one number: give a range without element or elements", where
        )
    for element in knob.ranges:
        if element is not None and element >= len(case.limits.low):
            raise WrongForKnobError(
                f"there is no element {element}: this knob holds {len(case.limits.low)} numbers, "
                "counted from 0",
                "element" if knob.elements is None else "elements",
            )


def _special(case: Case, notes: list[str]) -> tuple[Value, ...]:
    found = []
    for index, setting in enumerate(case.knob.special):
        value = case.value(setting, "special", index)
        if case.permits(value):
            found.append(value)
        else:
            notes.append(
                f"special {say(value)} dropped: outside the catalog's limits ({case.limits})"
            )
    return tuple(found)


def _dimension(
    case: Case, element: int | None, part: Range, special: tuple[Value, ...], notes: list[str]
) -> Dimension:
    low, high, step = _wanted(case, element, part)
    cut_low, cut_high = _cut(case, element, low, high)
    cut_low += (low - cut_low) % step  # back onto the grid that starts at the profile's lowest
    name = "" if element is None else f"element {element}: "
    if cut_low > cut_high:
        raise NothingToSearchError(name + _why_empty(case, element, low, high))
    for which, wanted, cut in (("lowest", low, cut_low), ("highest", high, cut_high)):
        if wanted != cut:
            notes.append(f"{name}{which} value cut from {wanted} to {cut}")
    value = _baseline(case, element)
    if cut_low == cut_high == value and not special:
        raise NothingToSearchError(f"{name}nothing but the baseline's {value} is left")
    if not cut_low <= value <= cut_high and value not in special:
        notes.append(f"{name}the baseline's {value} lies outside {cut_low}..{cut_high}")
    return Dimension(
        case.key,
        DimensionKind.INT if element is None else DimensionKind.VECTOR,
        low=cut_low,
        high=cut_high,
        step=step,
        log=part.log,
        special=special,
        element=element,
    )


def _wanted(case: Case, element: int | None, part: Range) -> tuple[int, int, int]:
    """Lowest, highest and step as the profile asks for them, in the knob's unit."""
    inside = element is not None and case.knob.elements is not None
    prefix: tuple[str | int, ...] = ("elements", str(element)) if inside else ()
    low, high = (
        case.number(quantity, *prefix, "range", index)
        for index, quantity in enumerate(part.range or ())
    )
    step = 1 if part.step is None else case.number(part.step, *prefix, "step")
    if low > high:
        raise WrongForKnobError(f"{low} is above {high}", *prefix, "range")
    if step < 1:
        raise WrongForKnobError("a step is at least 1", *prefix, "step")
    if part.log and low < 1:
        raise WrongForKnobError(
            f"log needs a lowest value of at least 1, not {low}", *prefix, "range"
        )
    return low, high, step


def _cut(case: Case, element: int | None, low: int, high: int) -> tuple[int, int]:
    hard_low, hard_high = _hard(case, element)
    value = _baseline(case, element)
    lows = [low, *([] if hard_low is None else [hard_low])]
    highs = [high, *([] if hard_high is None else [hard_high])]
    if case.knob.only_raise:
        lows.append(value)
    if case.knob.only_lower:
        highs.append(value)
    return max(lows), min(highs)


def _hard(case: Case, element: int | None) -> tuple[int | None, int | None]:
    """Hard limits; for an ordered vector also the neighbours that stay as they are."""
    index = element or 0
    lows = [case.limits.low[index]]
    highs = [case.limits.high[index]]
    if is_ordered(case.baseline) and isinstance(case.baseline, tuple):
        for other, value in enumerate(case.baseline):
            if other not in case.knob.ranges:
                if other < index:
                    lows.append(value)
                elif other > index:
                    highs.append(value)
    return (
        max((low for low in lows if low is not None), default=None),
        min((high for high in highs if high is not None), default=None),
    )


def is_ordered(value: Value) -> bool:
    """Whether a vector's elements are a minimum, perhaps a default, and a maximum."""
    return isinstance(value, tuple) and len(value) in ORDERED_LENGTHS


def _why_empty(case: Case, element: int | None, low: int, high: int) -> str:
    value = _baseline(case, element)
    if case.knob.only_raise and value > high:
        return f"only_raise, and the baseline's {value} is above {high} already"
    if case.knob.only_lower and value < low:
        return f"only_lower, and the baseline's {value} is below {low} already"
    return (
        f"nothing of {low}..{high} lies within what is allowed here ({span(*_hard(case, element))})"
    )


def _baseline(case: Case, element: int | None) -> int:
    value = case.baseline[element or 0] if isinstance(case.baseline, tuple) else case.baseline
    assert isinstance(value, int)
    return value


def _write_limits(case: Case, dimensions: list[Dimension]) -> tuple[Value, Value]:
    """The hull of what is searched and of the baseline, which every other window holds.

    A baseline outside the catalog's limits is not let in: the original may always be restored,
    but no limit that a plan states exceeds the catalog's.
    """
    if not isinstance(case.baseline, tuple):
        return _hull(case, dimensions[0], 0)
    moved = {dimension.element: dimension for dimension in dimensions}
    lows, highs = [], []
    for index, value in enumerate(case.baseline):
        if index not in moved and not _inside(case, index, value):
            raise NothingToSearchError(
                f"element {index} stays at the baseline's {value}, outside the catalog's limits "
                f"({span(case.limits.low[index], case.limits.high[index])})"
            )
        low, high = _hull(case, moved[index], index) if index in moved else (value, value)
        lows.append(low)
        highs.append(high)
    return tuple(lows), tuple(highs)


def _hull(case: Case, dimension: Dimension, index: int) -> tuple[int, int]:
    value = _baseline(case, index)
    if not _inside(case, index, value):
        return dimension.low, dimension.high
    return min(dimension.low, value), max(dimension.high, value)


def _inside(case: Case, index: int, value: int) -> bool:
    low, high = case.limits.low[index], case.limits.high[index]
    return (low is None or value >= low) and (high is None or value <= high)

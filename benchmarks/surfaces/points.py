"""Where a surface is measured: Sobol points of the space that `ktune tune` would search.

A scrambled Sobol sequence fills a space more evenly than random points do (Owen, 1998; scipy's
implementation). Special values get their share as in a search (`ktune.search.space`), relations are
repaired as there.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence

from ktune.kernel.values import Value
from ktune.search.relations import repair
from ktune.search.space import Axis, Params, Space


def sobol_points(space: Space, count: int, seed: int) -> list[dict[str, Value]]:
    """So many different assignments of a space; fewer where it has no more."""
    from scipy.stats import qmc

    width = sum(2 if axis.has_chooser else 1 for axis in space.axes)
    found: dict[tuple[Value, ...], dict[str, Value]] = {}
    sequence = qmc.Sobol(width, scramble=True, rng=seed)
    for _ in range(40):
        if len(found) >= count:
            break
        with warnings.catch_warnings():  # the balance of powers of two is not needed here
            warnings.simplefilter("ignore", UserWarning)
            drawn = sequence.random(count)
        for row in drawn:
            assignment = repair(space, space.decode(params_at(space, [float(u) for u in row])))
            if assignment is not None:
                found.setdefault(tuple(assignment.values()), dict(assignment))
    return list(found.values())[:count]


def params_at(space: Space, place: Sequence[float]) -> Params:
    """The parameters at a place of the unit cube: one coordinate an axis, a second for choosers."""
    left = list(place)
    found: Params = {}
    for axis in space.axes:
        found[axis.name] = _param(axis, left.pop(0))
        if axis.has_chooser:
            found[axis.chooser] = left.pop(0)
    return found


def _param(axis: Axis, at: float) -> int | float | str:
    number = axis.number
    if number is None:
        choice = axis.choices[min(int(at * len(axis.choices)), len(axis.choices) - 1)]
        return axis.label(choice)
    if number.log:
        return round(number.low * math.exp(at * math.log(number.high / number.low)))
    steps = (number.high - number.low) // number.step
    return min(int(at * (steps + 1)), steps)


def place_of(axis: Axis, value: Value) -> float | Value:
    """Where a value lies on its axis, 0 to 1; a choice or special value as itself."""
    number = axis.number
    if number is None or not isinstance(value, int) or value in axis.choices:
        return str(value) if number is not None else value
    if number.high == number.low:
        return 0.0
    if number.log:
        at = math.log(max(value, 1) / number.low) / math.log(number.high / number.low)
    else:
        at = (value - number.low) / (number.high - number.low)
    return min(1.0, max(0.0, at))


def values_of(space: Space, assignment: Mapping[str, Value]) -> list[Value]:
    """An assignment as one value for each axis."""
    return [space.value_of(axis, assignment) for axis in space.axes]

"""How far a candidate may lie from the last known good setting; pure.

For a service that people use: no leap into the unknown. Each number may move by a share of its
range from the centre (on a log axis of the range's logarithm); of all words and special values one
may differ from the centre's. The centre moves only to what was measured at least twice and was
better each time it counts: a mean above the smallest gain, over two windows or more.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from ktune.kernel.values import Value
from ktune.search.space import Assignment, Axis, Space
from ktune.search.trials import Row, ranking

_HALVINGS = 20


@dataclass(frozen=True)
class TrustRegion:
    """`share` of the range of each number, 0 to 1 (1: everywhere, words too)."""

    share: float

    def holds(self, space: Space, centre: Assignment, candidate: Assignment) -> bool:
        """Whether a candidate lies within."""
        if self.share >= 1:
            return True
        near = [
            self._near(axis, space.value_of(axis, centre), space.value_of(axis, candidate))
            for axis in space.axes
            if not _is_leap(axis, space.value_of(axis, centre), space.value_of(axis, candidate))
        ]
        return all(near) and len(_leaps(space, centre, candidate)) <= 1

    def nearest(self, space: Space, centre: Assignment, candidate: Assignment) -> dict[str, Value]:
        """The candidate, drawn back into the region; the centre itself where the relations leave
        nothing between."""
        drawn = dict(candidate)
        keeps = self.share >= 1 or space.broken(drawn) is None
        if keeps and self.holds(space, centre, candidate):
            return drawn
        leaps = _leaps(space, centre, candidate)
        kept = leaps[_pick(candidate, len(leaps))] if leaps else None
        for axis in space.axes:
            middle, wanted = space.value_of(axis, centre), space.value_of(axis, candidate)
            if axis in leaps:
                value = wanted if axis is kept else middle
            else:
                value = self._bounded(axis, middle, wanted)
            drawn = space.with_value(drawn, axis, value)
        return self._related(space, centre, drawn)

    def _related(
        self, space: Space, centre: Assignment, drawn: dict[str, Value]
    ) -> dict[str, Value]:
        """Nearer and nearer to the centre until the relations hold."""
        for halving in range(_HALVINGS):
            nearer = dict(drawn)
            for axis in space.axes:
                middle, there = space.value_of(axis, centre), space.value_of(axis, drawn)
                if isinstance(middle, int) and isinstance(there, int) and axis.number is not None:
                    value = middle + _towards_zero(there - middle, 1 << halving)
                    if axis.number.low <= there <= axis.number.high:
                        nearer = space.with_value(nearer, axis, _on_grid(axis, value, middle))
            if space.broken(nearer) is None:
                return nearer
        return space.completed(dict(centre))

    def _near(self, axis: Axis, middle: Value, value: Value) -> bool:
        return self._bounded(axis, middle, value) == value

    def _bounded(self, axis: Axis, middle: Value, wanted: Value) -> Value:
        if axis.number is None or not isinstance(middle, int) or not isinstance(wanted, int):
            return wanted
        number = axis.number
        # a baseline outside the range: the step begins at the range's edge
        inside = max(number.low, min(number.high, middle))
        if number.log:
            width = math.log(number.high / number.low) * self.share
            low = math.ceil(inside / math.exp(width) * (1 - 1e-12))
            high = math.floor(inside * math.exp(width) * (1 + 1e-12))
        else:
            reach = math.floor(Fraction(number.high - number.low) * Fraction(self.share))
            low, high = inside - reach, inside + reach
        low, high = min(low, middle), max(high, middle)
        if low <= wanted <= high:
            return wanted
        if wanted > high:
            there = number.at_most(high)
            return middle if there is None or there < middle else there
        there = number.at_least(low)
        return middle if there is None or there > middle else there


def centre_of(rows: Sequence[Row], baseline: Assignment, minimum_gain: float) -> Assignment:
    """The last known good: the best that was measured again and still was better than the baseline
    by more than `minimum_gain` (a log ratio); the baseline before there is one."""
    return next(
        (
            ranked.assignment
            for ranked in ranking(rows)
            if ranked.measured >= 2 and ranked.score > minimum_gain
        ),
        baseline,
    )


def _leaps(space: Space, centre: Assignment, candidate: Assignment) -> list[Axis]:
    """Axes on which the candidate differs by something that has no distance."""
    return [
        axis
        for axis in space.axes
        if _is_leap(axis, space.value_of(axis, centre), space.value_of(axis, candidate))
    ]


def _is_leap(axis: Axis, middle: Value, value: Value) -> bool:
    if middle == value:
        return False
    return axis.number is None or value in axis.choices or middle in axis.choices


def _on_grid(axis: Axis, value: int, middle: int) -> int:
    """The value or the next one on the grid towards the middle."""
    assert axis.number is not None
    if axis.number.holds(value):
        return value
    found = axis.number.at_most(value) if value > middle else axis.number.at_least(value)
    return middle if found is None or (found - middle) * (value - middle) < 0 else found


def _towards_zero(number: int, divisor: int) -> int:
    return number // divisor if number >= 0 else -(-number // divisor)


def _pick(candidate: Assignment, count: int) -> int:
    """Which of several leaps is kept: by the candidate itself, so the same each time."""
    text = json.dumps(sorted((key, str(value)) for key, value in candidate.items()))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) % count

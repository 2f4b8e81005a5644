"""A wide space searched along a few random directions (HeSBO, as LlamaTune uses it).

Where only a few of 40 knobs matter, a random low-dimensional subspace holds a good point with high
probability, and a sampler whose model suffers from many dimensions (a Gaussian process) learns more
there from the same windows; tpe does not suffer, and gains nothing (docs/statistics.md). Each axis
is hashed to one of d dimensions and to a sign; a point of [-1, 1]^d gives every axis of dimension i
the place (1 + sign z_i) / 2 of its own range. Two knobs that matter and share a dimension can't be
set independently: that is the price, and it falls as 1/d.

Sources: Nayebi, Munteanu and Poloczek, ICML 2019 (HeSBO: the embedding); Kanellis et al.,
LlamaTune, VLDB 2022, arXiv 2203.05128 (for knobs, with special values biased).

Promises: limits, steps, logarithms, choices and special values are kept as in the full space, and
relations by repair, which here is part of the mapping (so the sampler learns a score for the point
it drew). The hash is of seed and name alone: leaving out a knob moves no other, and the same seed
gives the same projection after any resume.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ktune.kernel.values import Value
from ktune.search.relations import repair
from ktune.search.space import SPECIAL_BIAS, Assignment, Axis, Params, Space


@dataclass(frozen=True)
class Direction:
    """Where an axis lies: dimension from 0, and which way it runs."""

    dimension: int
    sign: int


def direction_of(name: str, dimensions: int, seed: int) -> Direction:
    """The hash of one axis."""
    digest = hashlib.sha256(f"projection:{seed}:{name}".encode()).digest()
    return Direction(
        int.from_bytes(digest[:8], "big") % dimensions, 1 if digest[8] % 2 == 0 else -1
    )


class ProjectedSpace:
    """The way between points of the few dimensions and assignments of the full space."""

    def __init__(self, space: Space, dimensions: int, seed: int) -> None:
        """`dimensions` is cut to the number of axes."""
        self.space = space
        self.dimensions = min(dimensions, len(space.axes))
        self.directions = {
            axis.name: direction_of(axis.name, self.dimensions, seed) for axis in space.axes
        }

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters, each from -1 to 1."""
        return tuple(f"projected{index + 1}" for index in range(self.dimensions))

    @property
    def recorded(self) -> dict[str, int]:
        """Axis -> dimension from 1, negative where it runs the other way."""
        return {name: (found.dimension + 1) * found.sign for name, found in self.directions.items()}

    @property
    def fingerprint(self) -> str:
        """Digest of space and projection."""
        shape = json.dumps([self.space.fingerprint, self.recorded], sort_keys=True)
        return hashlib.sha256(shape.encode()).hexdigest()[:16]

    def decode(self, params: Mapping[str, Any]) -> dict[str, Value]:
        """The assignment of a point, repaired where relations and limits leave room."""
        values = {}
        for axis in self.space.axes:
            found = self.directions[axis.name]
            z = float(params[self.names[found.dimension]])
            values[axis.name] = value_at(axis, (1 + found.sign * z) / 2)
        assignment = self.space.assembled(values)
        return repair(self.space, assignment) or assignment

    def nearest(self, assignment: Assignment) -> Params:
        """The point nearest to an assignment; in general it decodes to something else."""
        places: dict[int, list[float]] = {index: [] for index in range(self.dimensions)}
        for axis in self.space.axes:
            found = self.directions[axis.name]
            at = place_of(axis, self.space.value_of(axis, assignment))
            places[found.dimension].append(found.sign * (2 * at - 1))
        return {
            name: math.fsum(places[index]) / len(places[index]) if places[index] else 0.0
            for index, name in enumerate(self.names)
        }


def value_at(axis: Axis, place: float) -> Value:
    """The value at a place of an axis, 0 its lowest and 1 its highest.

    The lowest `SPECIAL_BIAS` of an axis with special values stands for these.
    """
    place = min(max(place, 0.0), 1.0)
    if axis.number is None:
        return axis.choices[min(int(place * len(axis.choices)), len(axis.choices) - 1)]
    if axis.has_chooser:
        if place < SPECIAL_BIAS:
            return axis.choices[int(place / SPECIAL_BIAS * len(axis.choices))]
        place = (place - SPECIAL_BIAS) / (1 - SPECIAL_BIAS)
    number = axis.number
    if number.log:
        value = round(number.low * math.exp(place * math.log(number.high / number.low)))
        return min(max(value, number.low), number.high)
    steps = (number.last - number.low) // number.step
    return number.low + min(int(place * (steps + 1)), steps) * number.step


def place_of(axis: Axis, value: Value) -> float:
    """The place of a value, or of what is nearest to it."""
    if axis.number is None:
        return (axis.choices.index(value) + 0.5) / len(axis.choices) if value in axis.choices else 0
    if value in axis.choices:
        return (axis.choices.index(value) + 0.5) / len(axis.choices) * SPECIAL_BIAS
    number = axis.number
    inside = min(max(value, number.low), number.last) if isinstance(value, int) else number.low
    if number.log:
        width = math.log(number.high / number.low)
        place = math.log(inside / number.low) / width if width else 0.5
    else:
        steps = (number.last - number.low) // number.step
        place = ((inside - number.low) // number.step + 0.5) / (steps + 1)
    return SPECIAL_BIAS + place * (1 - SPECIAL_BIAS) if axis.has_chooser else place

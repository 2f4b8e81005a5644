"""What Optuna draws from: a distribution for each parameter of a space."""

from __future__ import annotations

from typing import Any

from ktune.search.projection import ProjectedSpace
from ktune.search.space import Space

CONTINUOUS_FROM = 64
"""A number with so many values is drawn as a continuous one and rounded. Optuna's TPE integrates
its density over each whole number, for each candidate and trial: twenty times the cost of a draw
over 200 knobs, for a difference smaller than the density's own width."""


def distributions_of(points: Space | ProjectedSpace) -> dict[str, Any]:
    """Optuna's distributions of the parameters."""
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    if isinstance(points, ProjectedSpace):
        return {name: FloatDistribution(-1.0, 1.0) for name in points.names}
    found: dict[str, Any] = {}
    for axis in points.axes:
        number = axis.number
        if number is None:
            found[axis.name] = CategoricalDistribution([axis.label(c) for c in axis.choices])
        else:
            low, high = (
                (number.low, number.high)
                if number.log
                else (0, (number.high - number.low) // number.step)
            )
            found[axis.name] = (
                FloatDistribution(low - 0.5, high + 0.5, log=number.log)
                if high - low >= CONTINUOUS_FROM
                else IntDistribution(low, high, log=number.log)
            )
        if axis.has_chooser:
            found[axis.chooser] = FloatDistribution(0.0, 1.0)
    return found

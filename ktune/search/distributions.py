"""What Optuna draws from: a distribution for each parameter of a space."""

from __future__ import annotations

from typing import Any

from ktune.search.projection import ProjectedSpace
from ktune.search.space import Space


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
        elif number.log:
            found[axis.name] = IntDistribution(number.low, number.high, log=True)
        else:
            steps = (number.high - number.low) // number.step
            found[axis.name] = IntDistribution(0, steps)
        if axis.has_chooser:
            found[axis.chooser] = FloatDistribution(0.0, 1.0)
    return found

"""Whether this host has the energy counters that a profile's metrics need. Reads /sys."""

from __future__ import annotations

from collections.abc import Iterator

from ktune.kernel import energy
from ktune.profile.errors import Problem
from ktune.profile.metrics import EnergyMetric
from ktune.profile.model import Profile


def without_energy(profile: Profile) -> Iterator[Problem]:
    """Metrics that can't be had here, by name."""
    for name, metric in profile.workload.metrics.items() if profile.workload else ():
        if isinstance(metric, EnergyMetric):
            try:
                energy.counters(metric.counter)
            except energy.NoEnergy as reason:
                yield Problem(
                    profile.where("workload", "metrics", name, "from"),
                    f"{name} needs an energy counter, which this host does not have: {reason}",
                )

"""The limits that hold for a profile on this machine, and what of them this host can't tell."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from ktune.kernel.processes import hidden_processes
from ktune.measure import host_load
from ktune.measure.cgroup import own_cgroup
from ktune.measure.fairness.cpus import CpuFiles
from ktune.measure.fairness.limits import HostLimits
from ktune.profile.fairness import Fairness, first_said
from ktune.profile.model import Profile

_IF_GROUPED = "only where the service has a cgroup of its own (version 2)"
DEFAULTS = HostLimits(steal=0.25, others=0.25, throttled=0.05, memory=0.25)
"""Of a command; docs/fairness.md has what was measured for them."""
_ATTACHED = HostLimits(steal=0.25, throttled=0.05)
"""Of a service that runs already: whoever else runs here may be its client."""


def limits_of(fairness: Fairness, *, attached: bool) -> HostLimits:
    """What a profile (and the local configuration) says, else the default."""
    default = _ATTACHED if attached else DEFAULTS

    def one(said: float | None, usual: float | None) -> float | None:
        return usual if said is None else said

    return HostLimits(
        steal=one(fairness.steal, default.steal),
        others=one(fairness.others, default.others),
        throttled=one(fairness.throttled, default.throttled),
        memory=one(fairness.memory, default.memory),
        frequency=one(fairness.frequency, default.frequency),
    )


@dataclass(frozen=True)
class Recorded:
    """One thing around a window: the limit on it, and why this host does not tell it (or tells only
    a part of it); empty: it does."""

    name: str
    limit: float | None
    missing: str = ""
    partly: bool = False

    @property
    def text(self) -> str:
        """For people."""
        frequency = self.name == "frequency"
        if self.limit is None or self.limit == (0 if frequency else 1):
            bound = "no limit"
        else:
            bound = f"{'at least' if frequency else 'limit'} {self.limit:.0%}"
        if not self.missing:
            return f"{self.name}: {bound}"
        return (
            f"{self.name}: {bound}, {'but' if self.partly else 'not recorded here:'} {self.missing}"
        )


def survey(limits: HostLimits, *, virtual: bool, attached: bool = False) -> Iterator[Recorded]:
    """What would be recorded of each window here. Reads only."""
    load, cpus = host_load.sample(), CpuFiles()
    untold = dict.fromkeys(("steal", "others", "throttled", "memory", "frequency"), "")
    if load.ticks == 0:
        untold["steal"] = "/proc/stat can't be read"
    elif virtual and load.steal_ticks == 0:
        untold["steal"] = "none since boot: this hypervisor may not tell"
    untold["others"] = hidden_processes()
    untold["throttled"] = cpus.no_throttling
    untold["frequency"] = cpus.no_frequency
    untold["memory"] = _no_pressure(load, attached=attached)
    for name, why in untold.items():
        partly = bool(why) and (
            name == "others"
            or (name == "steal" and load.ticks > 0)
            or (name == "memory" and why == _IF_GROUPED)
        )
        yield Recorded(name, getattr(limits, name), why, partly)


def _no_pressure(load: host_load.LoadSample, *, attached: bool) -> str:
    if "memory_some" not in load.pressure_us:
        return "the kernel has no pressure stall information (psi=1)"
    group = own_cgroup()
    if group is None:
        return "no cgroup version 2, so that the run's own waiting can't be told from others'"
    if attached:
        return _IF_GROUPED
    if not os.access(group, os.W_OK):
        return f"no right to make a cgroup below {group}"
    return ""


def windows_survey(profile: Profile, here: Fairness, *, virtual: bool) -> Iterator[Recorded]:
    """The same by a profile and the local configuration; nothing without a workload."""
    if profile.workload is not None:
        attached = profile.workload.attach is not None
        limits = limits_of(first_said(profile.fairness, here), attached=attached)
        yield from survey(limits, virtual=virtual, attached=attached)

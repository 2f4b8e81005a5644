"""Looks around before and after a window: what the host and everybody else did meanwhile.

Two looks of about 20 microseconds a process; nothing is read while the window runs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from ktune.kernel.processes import TICK_S, Processes, all_processes, family, spent_outside
from ktune.measure import host_load
from ktune.measure.fairness.cpus import CpuFiles, CpuState, throttled_share
from ktune.measure.fairness.limits import FREQUENCY, MEMORY, OTHERS, THROTTLED

_NAMED = 8
_COMM_BYTES = 15
_MEMORY = "memory_some"
_SHORTEST_S = 0.1
"""Ten ticks: a shorter window is too short to tell what others had of it."""


@dataclass(frozen=True)
class Look:
    """One moment. `own_us`: time in which the run itself has waited, by resource; empty where its
    group does not tell."""

    load: host_load.LoadSample
    cpus: CpuState
    processes: Processes
    inside: frozenset[int]
    own_us: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Around:
    """What happened between two looks: shares from 0 to 1, and those of other programs by name."""

    environment: Mapping[str, float]
    others: Mapping[str, float]


class Surroundings:
    """Of one run.

    `group`: its cgroup2 folder, asked for at each look. `more`: processes that do its work besides
    ktune's own descendants; `part_of_it`: names of such programs.
    """

    def __init__(
        self,
        *,
        group: Callable[[], str | None] = lambda: None,
        more: Callable[[], Collection[int]] = lambda: (),
        part_of_it: Collection[str] = (),
    ) -> None:
        self._group = group
        self._more = more
        self._names = frozenset(os.fsencode(name)[:_COMM_BYTES] for name in part_of_it)
        self._cpus = CpuFiles()

    def look(self) -> Look:
        """Now. Never raises OSError: what can't be read is left out."""
        try:
            processes = all_processes()
        except OSError:
            processes = {}
        named = {item.pid for item in processes.values() if os.fsencode(item.name) in self._names}
        inside = family(processes, {os.getpid(), *self._more()}) | named
        group = self._group()
        own = host_load.pressure_of_group(group) if group else {}
        return Look(host_load.sample(), self._cpus.look(), processes, frozenset(inside), own)


def between(before: Look, after: Look) -> Around:
    """What happened from one look to the other. Pure."""
    environment = host_load.between(before.load, after.load)
    passed_s = after.load.at_s - before.load.at_s
    others: dict[str, float] = {}
    cpu_s = (after.load.ticks - before.load.ticks) * TICK_S
    if before.processes and after.processes and cpu_s > 0 and passed_s >= _SHORTEST_S:
        spent = spent_outside(before.processes, after.processes, before.inside | after.inside)
        for key, ticks in spent.items():
            name = after.processes[key].name
            others[name] = others.get(name, 0.0) + ticks * TICK_S / cpu_s
        environment[OTHERS] = min(1.0, sum(others.values()))
    if (hot := throttled_share(before.cpus, after.cpus, passed_s)) is not None:
        environment[THROTTLED] = hot
    if after.cpus.frequency_share is not None:
        environment[FREQUENCY] = after.cpus.frequency_share
    machine = _waited_us(before.load.pressure_us, after.load.pressure_us)
    own = _waited_us(before.own_us, after.own_us)
    if machine is not None and own is not None and passed_s > 0:
        environment[MEMORY] = max(0.0, machine - own) / 1e6 / passed_s
    ranked = sorted(others.items(), key=lambda item: -item[1])[:_NAMED]
    return Around(environment, {name: share for name, share in ranked if share >= 0.001})


def _waited_us(before: Mapping[str, int], after: Mapping[str, int]) -> int | None:
    """For how long somebody waited for memory."""
    if _MEMORY not in before or _MEMORY not in after:
        return None
    return after[_MEMORY] - before[_MEMORY]

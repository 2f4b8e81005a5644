"""The guardrails of a profile, ready to be opened."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ktune.kernel.namespaces import NamespaceRef
from ktune.measure.guardrails.devices import DeviceErrors
from ktune.measure.guardrails.health import DiskHealth
from ktune.measure.guardrails.kmsg import KernelLog, KernelWarnings
from ktune.measure.guardrails.oom import OomKills, cgroup_counter
from ktune.measure.guardrails.pressure import (
    PressureAverage,
    PressureLimit,
    PressureStall,
    StallLimit,
)
from ktune.measure.guardrails.source import Guardrail
from ktune.measure.guardrails.taint import Taint
from ktune.measure.guardrails.watch import Guardrails, Wanted
from ktune.profile.goals import Safety
from ktune.profile.safety import PressureGuard


@dataclass(frozen=True)
class Place:
    """Where the workload is: its network namespace (None: ours), a process of it (None: us, since
    a workload that we start shares our memory cgroup)."""

    namespace: NamespaceRef | None = None
    pid: int | None = None


def guardrails_of(safety: Safety, place: Place | None = None) -> Guardrails:
    """Not open yet: `open()` or the first use refuses what can't be watched (exit 4)."""
    return Guardrails(tuple(_wanted(safety, place or Place())))


def _wanted(safety: Safety, place: Place) -> Iterator[Wanted]:
    log = KernelLog()  # one reader for all who listen
    for item in safety.psi:
        yield Wanted(_pressure(item), item.optional)
    if safety.oom_kills is not None:
        oom = safety.oom_kills
        counter = _cgroup_counter(place)
        yield Wanted(OomKills(oom.of, oom.above, log=log, cgroup_file=counter), oom.optional)
    if safety.kernel_warnings is not None:
        kernel = safety.kernel_warnings
        yield Wanted(KernelWarnings(log, frozenset(kernel.of)), kernel.optional)
        if kernel.taint:
            yield Wanted(Taint(), kernel.optional)
    if safety.device_errors is not None:
        devices = safety.device_errors
        yield Wanted(
            DeviceErrors(
                devices.of, devices.devices, above=devices.above, namespace=place.namespace
            ),
            devices.optional,
        )
    if safety.disk_health is not None:
        health = safety.disk_health
        yield Wanted(DiskHealth(health.every, health.devices), health.optional)


def _pressure(item: PressureGuard) -> Guardrail:
    if item.avg10_above is not None:
        return PressureAverage(
            PressureLimit(item.resource, item.line, item.avg10_above, item.lasting)
        )
    assert item.stalled is not None  # the model has seen to it
    return PressureStall(StallLimit(item.resource, item.line, item.stalled, item.within))


def _cgroup_counter(place: Place) -> str | None:
    try:
        return cgroup_counter("self" if place.pid is None else place.pid)
    except OSError:  # the process is gone, or no /proc: as one without a counter
        return None

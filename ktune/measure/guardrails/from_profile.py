"""The guardrails of a profile, ready to be opened."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from ktune.errors import RefusedError
from ktune.kernel.namespaces import NamespaceRef
from ktune.measure.attach.from_profile import attach_spec
from ktune.measure.attach.specs import MissingData
from ktune.measure.attach.target import Target
from ktune.measure.guardrails.devices import DeviceErrors
from ktune.measure.guardrails.health import DiskHealth
from ktune.measure.guardrails.kernel_emergency import KernelEmergency
from ktune.measure.guardrails.kmsg import KernelLog, KernelWarnings
from ktune.measure.guardrails.oom import OomKills, WorkloadGroup, group_of_process
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
from ktune.profile.workload import Workload


def guardrails_of(
    safety: Safety, *, workload: Workload | None = None, namespace: NamespaceRef | None = None
) -> Guardrails:
    """Not open yet: `open()` or the first use refuses what can't be watched (exit 4).

    `workload`: whose OOM kills count; `namespace`: whose network interfaces (None: ours).
    """
    return Guardrails(tuple(_wanted(safety, workload, namespace)))


def _wanted(
    safety: Safety, workload: Workload | None, namespace: NamespaceRef | None
) -> Iterator[Wanted]:
    log = KernelLog()  # one reader for all who listen
    if KernelEmergency.there():
        yield Wanted(KernelEmergency(), optional=True)  # the module may be unloaded meanwhile
    for item in safety.psi:
        yield Wanted(_pressure(item), item.optional)
    if safety.oom_kills is not None:
        oom = safety.oom_kills
        yield Wanted(
            OomKills(oom.of, oom.above, log=log, cgroup=group_of_workload(workload)), oom.optional
        )
    if safety.kernel_warnings is not None:
        kernel = safety.kernel_warnings
        yield Wanted(KernelWarnings(log, frozenset(kernel.of)), kernel.optional)
        if kernel.taint:
            yield Wanted(Taint(), kernel.optional)
    if safety.device_errors is not None:
        devices = safety.device_errors
        yield Wanted(
            DeviceErrors(devices.of, devices.devices, above=devices.above, namespace=namespace),
            devices.optional,
        )
    if safety.disk_health is not None:
        health = safety.disk_health
        yield Wanted(DiskHealth(health.every, health.devices), health.optional)


def group_of_workload(workload: Workload | None) -> WorkloadGroup:
    """Of an attached service its own; what we start shares our memory cgroup."""
    if workload is None or workload.attach is None:
        return group_of_process()
    try:
        target = Target(attach_spec(workload).target)
        main = target.look()[0]
        for name in ("memory.events", "memory.oom_control"):
            with suppress(MissingData):
                return WorkloadGroup(f"{target.folder_with(name, main)}/{name}")
    except (MissingData, RefusedError) as error:
        return WorkloadGroup(None, str(error))
    return WorkloadGroup(None, f"the cgroup of {target.spec} has no memory accounting")


def _pressure(item: PressureGuard) -> Guardrail:
    if item.avg10_above is not None:
        return PressureAverage(
            PressureLimit(item.resource, item.line, item.avg10_above, item.lasting)
        )
    assert item.stalled is not None  # the model has seen to it
    return PressureStall(StallLimit(item.resource, item.line, item.stalled, item.within))

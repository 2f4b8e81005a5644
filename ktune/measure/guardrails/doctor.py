"""What `ktune doctor` says about guardrails: each kind tried, whatever a profile asks for."""

from __future__ import annotations

from collections.abc import Iterator

from ktune.measure.guardrails.devices import DeviceErrors
from ktune.measure.guardrails.health import DiskHealth
from ktune.measure.guardrails.kmsg import KernelLog, KernelWarnings
from ktune.measure.guardrails.oom import OomKills, group_of_process
from ktune.measure.guardrails.pressure import (
    PressureAverage,
    PressureLimit,
    PressureStall,
    StallLimit,
)
from ktune.measure.guardrails.source import Guardrail
from ktune.measure.guardrails.taint import Taint
from ktune.measure.guardrails.watch import Guardrails, Wanted
from ktune.policy.probes import Answer, Finding
from ktune.profile.guards import DeviceKind, KillsOf, Trouble

_HOUR_S = 3600.0


def guardrail_findings() -> list[Finding]:
    """One for each kind, in reading order."""
    found = []
    for guardrail, what, used_for in _kinds():
        tried = Guardrails([Wanted(guardrail)]).survey()[0]
        answer = (
            Answer.MISSING if not tried.works else Answer.PARTLY if tried.note else Answer.WORKS
        )
        found.append(
            Finding(f"guardrail: {what}", answer, tried.reason or tried.note or "tried", used_for)
        )
    return found


def _kinds() -> Iterator[tuple[Guardrail, str, str]]:
    log, devices = KernelLog(), (DeviceKind.DISK, DeviceKind.FILESYSTEM, DeviceKind.RAID)
    yield (
        PressureAverage(PressureLimit("memory", "full", 1.0, 0.0)),
        "pressure",
        "safety.psi with avg10_above",
    )
    yield (
        PressureStall(StallLimit("memory", "some", 0.2, 2.0)),
        "pressure trigger",
        "safety.psi with stalled: being woken at once",
    )
    yield (
        PressureStall(StallLimit("memory", "some", 0.2, 1.0)),
        "pressure trigger under 2 s",
        "safety.psi with stalled and a `within` that is no multiple of 2 s (CAP_SYS_RESOURCE)",
    )
    yield (
        OomKills(KillsOf.MACHINE, 0, log=log),
        "OOM kills",
        "safety.oom_kills; telling the machine's from those of other cgroups",
    )
    yield (
        OomKills(KillsOf.WORKLOAD, 0, cgroup=group_of_process()),
        "OOM kills of a cgroup",
        "safety.oom_kills with of: workload",
    )
    yield (
        KernelWarnings(log, frozenset(Trouble)),
        "kernel log",
        "safety.kernel_warnings: oops, BUG, WARN, lockups, hung tasks, RCU stalls, I/O errors",
    )
    yield Taint(), "kernel taint", "safety.kernel_warnings with taint"
    yield DeviceErrors(devices), "device errors", "safety.device_errors: disk, filesystem, raid"
    yield (
        DeviceErrors([DeviceKind.NETWORK]),
        "network errors",
        "safety.device_errors with of: network",
    )
    yield DiskHealth(_HOUR_S), "disk health", "safety.disk_health (SMART, NVMe)"

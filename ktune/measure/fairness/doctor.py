"""What `ktune doctor` says about what can be recorded around a window here."""

from __future__ import annotations

from ktune.measure.fairness.from_profile import DEFAULTS, survey
from ktune.policy.probes import Answer, Finding
from ktune.profile.host import host_facts

_USED = {
    "steal": "windows from which the hypervisor took CPU time",
    "others": "windows in which other programs took CPU time",
    "throttled": "windows in which a CPU was too hot",
    "memory": "windows in which others waited for memory",
    "frequency": "windows in which the CPUs were clocked down",
}


def fairness_findings() -> list[Finding]:
    """One for each: recorded, recorded in part, or not on this host and why."""
    found = []
    for item in survey(DEFAULTS, virtual=host_facts().virt != "none"):
        partly = Answer.PARTLY if item.partly else Answer.MISSING
        answer = partly if item.missing else Answer.WORKS
        detail = item.missing or "recorded around each window"
        found.append(Finding(f"window: {item.name}", answer, detail, _USED[item.name]))
    return found

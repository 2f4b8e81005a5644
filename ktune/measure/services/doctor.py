"""What `ktune doctor` says about the servers that profiles may ask for."""

from __future__ import annotations

from ktune.measure.f2fs.needs import missing
from ktune.measure.services.programs import NEEDED, NoPrograms, find_programs
from ktune.measure.swap.memory_group import NoMemoryGroup, own_memory_group
from ktune.policy.probes import Answer, Finding


def service_findings() -> list[Finding]:
    """One for each kind: which version is here, or how to get it."""
    found = [_swap(), _f2fs()]
    for kind in NEEDED:
        try:
            programs = find_programs(kind)
        except NoPrograms as problem:
            answer, detail = Answer.MISSING, str(problem)
        else:
            answer, detail = Answer.WORKS, f"{programs.version} ({programs.server})"
        found.append(Finding(f"service: {kind}", answer, detail, f"services: {{kind: {kind}}}"))
    return found


def _f2fs() -> Finding:
    why = missing()
    answer = Answer.MISSING if why else Answer.WORKS
    detail = why or "the kernel's f2fs, mkfs.f2fs, loop devices"
    return Finding("service: f2fs", answer, detail, "services: {kind: f2fs}, as root")


def _swap() -> Finding:
    try:
        answer, detail = Answer.WORKS, f"a memory cgroup below {own_memory_group()}"
    except NoMemoryGroup as problem:
        answer, detail = Answer.MISSING, str(problem)
    return Finding("service: swap", answer, detail, "services: {kind: swap}, as root")

"""Which CPUs the workload and each service of a profile get on this host."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from ktune.profile.cpus import OTHERS, parse_cpu_list
from ktune.profile.errors import Problem
from ktune.profile.model import Profile
from ktune.profile.services.programs import ProgramService

_ONLINE = "/sys/devices/system/cpu/online"


def online_cpus() -> tuple[int, ...]:
    """The CPUs that run now. Raises OSError, ValueError."""
    with open(_ONLINE, encoding="ascii") as file:
        return parse_cpu_list(file.read().strip())


def workload_cpus(profile: Profile, online: Collection[int]) -> tuple[int, ...]:
    """The CPUs of the workload; none: it may run anywhere."""
    wanted = profile.workload.cpus if profile.workload else None
    if wanted == OTHERS:
        return tuple(sorted(set(online) - taken_by_services(profile)))
    return tuple(wanted or ())


def taken_by_services(profile: Profile) -> set[int]:
    """Every CPU that a service asks for."""
    return {
        cpu
        for service in profile.services
        if isinstance(service, ProgramService)
        for cpu in service.cpus or ()
    }


def missing_cpus(profile: Profile) -> Iterator[Problem]:
    """What asks for a CPU that this host does not have, with its place."""
    if not _places_anything(profile):
        return
    online = online_cpus()
    here = f"this host has {_said(online)}"
    for index, service in enumerate(profile.services):
        if isinstance(service, ProgramService):
            gone = set(service.cpus or ()) - set(online)
            if gone:
                mark = profile.where("services", index, "cpus")
                yield Problem(mark, f"{service.name}: no CPU {_said(gone)} ({here})")
    wanted = profile.workload.cpus if profile.workload else None
    if wanted is None:
        return
    mark = profile.where("workload", "cpus")
    if wanted == OTHERS:
        if not workload_cpus(profile, online):
            yield Problem(mark, f"the services take every CPU, none is left ({here})")
    elif gone := set(wanted) - set(online):
        yield Problem(mark, f"workload: no CPU {_said(gone)} ({here})")


def placement_notes(profile: Profile) -> Iterator[str]:
    """What a plan says of it."""
    if not _places_anything(profile):
        return
    mine = workload_cpus(profile, online_cpus())
    if mine:
        yield f"the workload runs on CPU {_said(mine)}"
        shared = sorted(set(mine) & taken_by_services(profile))
        if shared:
            yield f"workload and services share CPU {_said(shared)}: each takes the other's time"


def _places_anything(profile: Profile) -> bool:
    wanted = profile.workload.cpus if profile.workload else None
    return wanted is not None or bool(taken_by_services(profile))


def _said(cpus: Collection[int]) -> str:
    """Numbers as the kernel lists them: `0-3,8`."""
    runs: list[list[int]] = []
    for cpu in sorted(cpus):
        if runs and cpu == runs[-1][1] + 1:
            runs[-1][1] = cpu
        else:
            runs.append([cpu, cpu])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in runs)

"""`when:` of a profile against a host. Looks whether files exist, nothing else."""

from __future__ import annotations

import os
from collections.abc import Iterator

from ktune.kernel.versions import OPERATORS, comparisons, kernel_version, version_holds
from ktune.profile import units
from ktune.profile.errors import Problem
from ktune.profile.host import HostFacts
from ktune.profile.model import Profile


def misfits(profile: Profile, host: HostFacts) -> Iterator[Problem]:
    """Every condition of `when:` that is false on this host."""
    when = profile.when
    version = kernel_version(host.kernel)
    if when.kernel and not all(
        version_holds(version, op, right) for op, right in comparisons(when.kernel)
    ):
        yield _misfit(profile, "kernel", f"kernel {when.kernel}", host.kernel)
    if when.cpus and not all(
        OPERATORS[op](host.cpus, int(right)) for op, right in comparisons(when.cpus)
    ):
        yield _misfit(profile, "cpus", f"cpus {when.cpus}", str(host.cpus))
    if when.mem and not all(
        OPERATORS[op](host.mem_bytes, units.size(right)) for op, right in comparisons(when.mem)
    ):
        yield _misfit(profile, "mem", f"mem {when.mem}", f"{host.mem_bytes >> 20}MiB")
    if when.virt is not None and not ({host.virt, _any(host)} & set(when.virt)):
        yield _misfit(profile, "virt", f"virt {' or '.join(when.virt)}", host.virt)
    for path in when.file_exists or ():
        if not os.path.exists(path):
            yield _misfit(profile, "file_exists", f"the file {path}", "no such file")


def _any(host: HostFacts) -> str:
    return "none" if host.virt == "none" else "any"


def _misfit(profile: Profile, field: str, wanted: str, found: str) -> Problem:
    return Problem(
        profile.where("when", field),
        f"not for this host: the profile wants {wanted}; here: {found}",
    )

"""From a profile's swap to what the runtime takes; what a plan says of it."""

from __future__ import annotations

import os
from pathlib import Path

from ktune.errors import RefusedError
from ktune.measure.swap import area, ground
from ktune.measure.swap.limited import LimitedMemory, SwapSpec
from ktune.measure.swap.memory_group import NoMemoryGroup, own_memory_group
from ktune.profile.model import Profile
from ktune.profile.services.places import place_of
from ktune.profile.services.swap import SwapService

_MIB = 1 << 20


def memory_of(profile: Profile) -> LimitedMemory | None:
    """Little memory and a swap file, not made yet; None: there is none. Raises RefusedError."""
    swap = _swap(profile)
    return None if swap is None else LimitedMemory(_spec(profile, swap))


def planned(profile: Profile) -> str | None:
    """What a plan says of it; None: there is none. Touches nothing. Raises RefusedError."""
    swap = _swap(profile)
    if swap is None:
        return None
    spec = _spec(profile, swap)
    return (
        f"{spec.size_bytes // _MIB} MiB in {spec.folder / area.FILE}, switched on for the whole "
        f"host before all other swap; each window has {spec.memory_bytes // _MIB} MiB, in a memory "
        f"cgroup below {spec.below}"
    )


def _swap(profile: Profile) -> SwapService | None:
    return next((item for item in profile.services if isinstance(item, SwapService)), None)


def _spec(profile: Profile, swap: SwapService) -> SwapSpec:
    if os.geteuid() != 0:
        raise RefusedError("swap: only root may switch a swap file on", hint="run it as root")
    if not area.has_swap():
        raise RefusedError("swap: this kernel can't swap (CONFIG_SWAP)")
    try:
        below = own_memory_group()
    except NoMemoryGroup as problem:
        raise RefusedError(f"swap: {problem}") from problem
    folder = place_of(profile.source.state_dir, profile.name, ground.NAME).folder
    return SwapSpec(profile.name, Path(folder), swap.size, swap.memory, below)

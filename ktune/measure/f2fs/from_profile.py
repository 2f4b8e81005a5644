"""From a profile's f2fs to what the runtime takes; what a plan says of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ktune.errors import RefusedError
from ktune.measure.f2fs.mounted import KIND, F2fsSpec, mounted
from ktune.measure.f2fs.needs import missing, mkfs
from ktune.measure.runner import HealthCheck
from ktune.profile.model import Profile
from ktune.profile.services.f2fs import F2fsService
from ktune.profile.services.places import F2FS_DEVICE, Place, place_of


@contextmanager
def f2fs_of(profile: Profile) -> Iterator[None]:
    """The f2fs of a profile is there within the block; one without needs nothing.

    Raises RefusedError (this host can't have one), BusyError, ServiceError.
    """
    wanted = _wanted(profile)
    if wanted is None:
        yield
        return
    why = why_not()
    if why:
        raise RefusedError(f"f2fs: {why}")
    spec = F2fsSpec(
        profile=profile.name,
        folder=Path(_place(profile).folder),
        size_bytes=wanted.size,
        device=F2FS_DEVICE,
        mkfs=mkfs() or "",
        mode=wanted.mode,
    )
    with mounted(spec):
        yield


def planned(profile: Profile) -> str | None:
    """What a plan says of it; None: there is none. Touches nothing."""
    wanted = _wanted(profile)
    if wanted is None:
        return None
    return (
        f"{wanted.size >> 20} MiB (mode={wanted.mode}) on /dev/{F2FS_DEVICE}, made with the run "
        "and gone with it; its knobs are there only meanwhile"
    )


def why_not() -> str:
    """Why this host, or this user, can't have one; empty: it can."""
    rights = "" if os.geteuid() == 0 else "only root may mount one: run it as root"
    return "; ".join(filter(None, (missing(), rights)))


def f2fs_health(profile: Profile) -> tuple[HealthCheck, ...]:
    """Whether it is still there, to be asked around each window."""
    if _wanted(profile) is None:
        return ()
    data = _place(profile).data

    def health() -> str | None:
        return None if os.path.isdir(data) else "the run's f2fs is gone: its keeper was killed"

    return (health,)


def _wanted(profile: Profile) -> F2fsService | None:
    return next((item for item in profile.services if isinstance(item, F2fsService)), None)


def _place(profile: Profile) -> Place:
    return place_of(profile.source.state_dir, profile.name, KIND)

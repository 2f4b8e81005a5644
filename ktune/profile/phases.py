"""The profile of one phase of a workload. Pure."""

from __future__ import annotations

from ktune.errors import RefusedError, UsageError
from ktune.profile.errors import did_you_mean
from ktune.profile.model import Profile


def phases_of(profile: Profile) -> tuple[str, ...]:
    """The names of its phases.

    Raises:
        RefusedError: it has none.
    """
    workload = profile.workload
    if workload is None or not workload.phases:
        raise RefusedError(
            f"profile {profile.name} has no phases to tell apart",
            hint="`workload: {phases: ...}` says what the workload does in turn",
        )
    return tuple(workload.phases)


def in_phase(profile: Profile, name: str) -> Profile:
    """The profile as it is measured in one phase.

    The phases share alpha equally: the chance that any of their proofs is false stays the
    profile's. The source, and so the digest, is the whole profile's.

    Raises:
        RefusedError: the profile has no phases.
        UsageError: no phase of that name.
    """
    names = phases_of(profile)
    assert profile.workload is not None and profile.workload.phases is not None
    if name not in names:
        raise UsageError(
            f"profile {profile.name} has no phase {name!r}{did_you_mean(name, names)}",
            hint=f"phases: {', '.join(names)}",
        )
    phase = profile.workload.phases[name]
    workload = profile.workload.model_copy(
        update={
            "command": phase.command or profile.workload.command,
            "env": {**profile.workload.env, **phase.env},
            "phases": None,
        }
    )
    promotion = profile.promotion.model_copy(update={"alpha": profile.promotion.alpha / len(names)})
    return profile.model_copy(update={"workload": workload, "promotion": promotion})

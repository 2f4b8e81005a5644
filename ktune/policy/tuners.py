"""Refuses to work beside another program that tunes: each would undo the other's work."""

from __future__ import annotations

from ktune.errors import BusyError
from ktune.profile.plan import ActiveTuner
from ktune.profile.tuners import active_tuners


def refuse_beside_others(*, coexist: bool) -> tuple[ActiveTuner, ...]:
    """Those that run, when the user wants to go on beside them.

    Raises:
        BusyError: one runs and `coexist` was not asked for (exit 6).
    """
    found = active_tuners()
    if found and not coexist:
        names = ", ".join(f"{item.name} (pid {item.pid})" for item in found)
        raise BusyError(
            f"this host is being tuned by {names}",
            hint="stop it, or add --coexist to go on beside it",
        )
    return found

"""A schedule in the kernel, as a lease's owner asks for it: the module switches between the
originals and one assignment, window by window, and stamps each. Standard library only."""

from __future__ import annotations

from collections.abc import Sequence

from ktune.kernel.tunable import Assignment
from ktune.proxy.client import Lease
from ktune.proxy.model import value_to_json
from ktune.proxy.stamps import Stamped


def start_schedule(
    lease: Lease,
    assignment: Assignment,
    candidate_first: Sequence[bool],
    window_s: float,
    *,
    deadline_s: float,
    why: str = "",
) -> str:
    """Have the kernel begin now, one coin a pair of windows. Returns why it can't; empty: it does.

    The coins are in the journal before the first switch. An `apply` ends the schedule, so does
    the lease's end; after the last window the originals are in force.

    Raises:
        RefusedError: a value outside the limits, or a malformed schedule.
        LeaseLost: the guardian is gone.
    """
    reply = lease.ask(
        {
            "op": "schedule",
            "assignment": {key: value_to_json(value) for key, value in assignment.items()},
            "candidate_first": [bool(first) for first in candidate_first],
            "window_s": window_s,
            "lease_s": deadline_s,
            "why": why,
        }
    )
    return str(reply["refused"])


def stamped(lease: Lease, first: int = 0) -> Stamped:
    """The windows so far of the lease's last schedule, from number `first` on.

    Raises RefusedError (there was none), LeaseLost.
    """
    return Stamped.from_json(lease.ask({"op": "schedule_stamps", "first": first}))


def stop_schedule(lease: Lease) -> None:
    """End it; the originals are in force. Nothing where none is at work. Raises LeaseLost."""
    lease.ask({"op": "schedule_stop"})

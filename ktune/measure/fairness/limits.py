"""Whether a window was fair: pure functions over what was recorded around it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

STEAL, OTHERS, THROTTLED = "steal_share", "others_share", "throttled_share"
MEMORY, FREQUENCY = "memory_outside_share", "frequency_share"
_SHOWN = 3
_LEAST_SHOWN = 0.005


class Cause(StrEnum):
    """What voids a window."""

    STEAL = "steal"
    OTHERS = "others"
    THROTTLED = "throttled"
    MEMORY = "memory"
    FREQUENCY = "frequency"


@dataclass(frozen=True)
class HostLimits:
    """What the host may do to a window before it is void, as shares from 0 to 1; None: anything.

    `steal`: CPU time taken by the hypervisor, of all CPU time of the window. `others`: CPU time of
    processes that are no part of the run, of all CPU time. `throttled`: time in which the worst CPU
    was too hot, of the window. `memory`: time in which only processes outside the run waited for
    memory, of the window. `frequency`: of the fastest CPU at the window's end, at least.
    """

    steal: float | None = 0.25
    others: float | None = None
    throttled: float | None = None
    memory: float | None = None
    frequency: float | None = None


@dataclass(frozen=True)
class Disturbance:
    """Why a window is void."""

    cause: Cause
    reason: str


def disturbance(
    environment: Mapping[str, float], others: Mapping[str, float], limits: HostLimits
) -> Disturbance | None:
    """The first limit that was passed; None: a fair window. What was not recorded passes none.

    `others`: share of all CPU time by name of the program.
    """
    return next(_passed(environment, others, limits), None)


def _passed(
    environment: Mapping[str, float], others: Mapping[str, float], limits: HostLimits
) -> Iterator[Disturbance]:
    def above(name: str, limit: float | None) -> float | None:
        share = environment.get(name)
        return share if share is not None and limit is not None and share > limit else None

    if (share := above(STEAL, limits.steal)) is not None:
        text = f"the hypervisor took {share:.0%} of the CPU time (limit {limits.steal:.0%})"
        yield Disturbance(Cause.STEAL, text)
    if (share := above(OTHERS, limits.others)) is not None:
        text = f"other programs took {share:.0%} of the CPU time (limit {limits.others:.0%})"
        who = programs_text(others)
        yield Disturbance(Cause.OTHERS, f"{text}: {who}" if who else text)
    if (share := above(THROTTLED, limits.throttled)) is not None:
        text = f"a CPU was throttled for {share:.0%} of the time (limit {limits.throttled:.0%})"
        yield Disturbance(Cause.THROTTLED, f"{text}: too hot")
    if (share := above(MEMORY, limits.memory)) is not None:
        text = f"others waited for memory for {share:.0%} of the time (limit {limits.memory:.0%})"
        yield Disturbance(Cause.MEMORY, text)
    clock, least = environment.get(FREQUENCY), limits.frequency
    if clock is not None and least is not None and clock < least:
        text = f"the fastest CPU ran at {clock:.0%} of its highest frequency (at least {least:.0%})"
        yield Disturbance(Cause.FREQUENCY, text)


def programs_text(others: Mapping[str, float]) -> str:
    """`stress-ng 45%, cc1 3%`: the greatest first, without what rounds to nothing.

    >>> programs_text({"cc1": 0.03, "stress-ng": 0.45})
    'stress-ng 45%, cc1 3%'
    """
    ranked = sorted(others.items(), key=lambda item: (-item[1], item[0]))[:_SHOWN]
    return ", ".join(f"{name} {share:.0%}" for name, share in ranked if share >= _LEAST_SHOWN)

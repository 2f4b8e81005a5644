"""Frequency and thermal throttling of the CPUs, where the host tells them. Standard library only.

Sources: Documentation/admin-guide/pm/cpufreq.rst (scaling_cur_freq, cpuinfo_max_freq, kHz),
arch/x86/kernel/cpu/mce/therm_throt.c (`*_throttle_total_time_ms`, since Linux 5.7).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

SYSTEM_CPUS = "/sys/devices/system/cpu"
_MOST_POLICIES = 16
"""A reading can take the kernel a millisecond; more of them would tell nothing else."""


@dataclass(frozen=True)
class CpuState:
    """One look. `frequency_share`: of the fastest CPU, of its highest frequency; None where the
    host does not tell. `throttled_ms`: by counter, since boot; empty likewise."""

    frequency_share: float | None = None
    throttled_ms: Mapping[str, int] = field(default_factory=dict)


class CpuFiles:
    """The files of this host, found once."""

    def __init__(self, root: str = SYSTEM_CPUS) -> None:
        policies = [f"{root}/cpufreq/{name}" for name in _names(f"{root}/cpufreq", "policy")]
        step = max(1, -(-len(policies) // _MOST_POLICIES))
        self._frequencies: list[tuple[str, int]] = []
        for policy in policies[::step]:
            highest, now = f"{policy}/cpuinfo_max_freq", f"{policy}/scaling_cur_freq"
            if (khz := _number(highest)) and _number(now) is not None:
                self._frequencies.append((now, khz))
        self._throttles = [
            path
            for cpu in _names(root, "cpu")
            for kind in ("core", "package")
            if _number(path := f"{root}/{cpu}/thermal_throttle/{kind}_throttle_total_time_ms")
            is not None
        ]

    @property
    def no_frequency(self) -> str:
        """Why there is no frequency; empty: there is."""
        return "" if self._frequencies else "no cpufreq, as in most virtual machines"

    @property
    def no_throttling(self) -> str:
        """Why throttling can't be seen; empty: it can."""
        return "" if self._throttles else "no counters of thermal throttling"

    def look(self) -> CpuState:
        """Now; what can't be read (any more) is left out."""
        shares = [
            khz / highest
            for path, highest in self._frequencies
            if (khz := _number(path)) is not None
        ]
        throttled = {path: ms for path in self._throttles if (ms := _number(path)) is not None}
        return CpuState(max(shares, default=None), throttled)


def throttled_share(before: CpuState, after: CpuState, passed_s: float) -> float | None:
    """For how much of the time the worst CPU was throttled; None: nobody tells."""
    spans = [
        ms - before.throttled_ms[path]
        for path, ms in after.throttled_ms.items()
        if path in before.throttled_ms
    ]
    if not spans or passed_s <= 0:
        return None
    return min(1.0, max(0, *spans) / 1000 / passed_s)


def _names(folder: str, prefix: str) -> Sequence[str]:
    """`cpu0`, `cpu1`... by number."""
    try:
        names = os.listdir(folder)
    except OSError:
        return ()
    numbered = [name for name in names if name.removeprefix(prefix).isdecimal()]
    return sorted(numbered, key=lambda name: int(name.removeprefix(prefix)))


def _number(path: str) -> int | None:
    try:
        with open(path, encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return None

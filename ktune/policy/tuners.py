"""Other programs that tune this kernel: with two of them, each undoes the other's work.

Standard library only; reads /proc/PID/comm (proc_pid_comm(5)).
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from ktune.errors import BusyError

KNOWN = {
    "tuned": "TuneD writes sysctls and sysfs from its profile",
    "bpftune": "bpftune changes net.* and tcp buffers by itself",
    "irqbalance": "irqbalance moves interrupts between CPUs",
    "kubelet": "kubelet sets vm.* and kernel.* (protectKernelDefaults)",
}
"""Command name -> what it does to measurements and settings."""


@dataclass(frozen=True)
class OtherTuner:
    """One that runs."""

    name: str
    pid: int
    effect: str


def other_tuners() -> tuple[OtherTuner, ...]:
    """Those that run now, one entry a name."""
    found: dict[str, OtherTuner] = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/comm", encoding="utf-8", errors="replace") as file:
                name = file.read().strip()
        except OSError:
            continue
        if name in KNOWN and name not in found:
            found[name] = OtherTuner(name, int(entry), KNOWN[name])
    return tuple(found.values())


def refuse_beside_others(*, coexist: bool) -> tuple[OtherTuner, ...]:
    """Those that run, when the user wants to go on beside them.

    Raises:
        BusyError: one runs and `coexist` was not asked for (exit 6).
    """
    found = other_tuners()
    if found and not coexist:
        names = ", ".join(f"{item.name} (pid {item.pid})" for item in found)
        raise BusyError(
            f"this host is tuned by {names}: {found[0].effect}",
            hint="stop it, or add --coexist to go on beside it",
        )
    return found

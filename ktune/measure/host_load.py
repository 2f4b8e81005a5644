"""What the host did during a window: stolen CPU time and pressure.

Sources: proc_stat(5) (fields in ticks, cumulative), Documentation/accounting/psi.rst (`total` in
microseconds, cumulative).
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

_PRESSURE = ("cpu", "memory", "io")
_STEAL, _GUEST = 7, 8


@dataclass(frozen=True)
class LoadSample:
    """Cumulative counters at one moment. `pressure_us` is empty where the kernel has no PSI."""

    at_s: float
    ticks: int
    steal_ticks: int
    pressure_us: Mapping[str, int] = field(default_factory=dict)


def sample() -> LoadSample:
    """Now. Never raises OSError: what can't be read is left out; then `ticks` is 0."""
    ticks, steal = _cpu_ticks()
    pressure: dict[str, int] = {}
    for resource in _PRESSURE:
        pressure.update(_pressure(resource))
    return LoadSample(time.monotonic(), ticks, steal, pressure)


def between(before: LoadSample, after: LoadSample) -> dict[str, float]:
    """Shares of the time between two samples, 0 to 1: `steal_share`, `psi_cpu_some_share`... What
    could not be read has none."""
    shares: dict[str, float] = {}
    if before.ticks > 0:
        ticks, stolen = after.ticks - before.ticks, after.steal_ticks - before.steal_ticks
        shares["steal_share"] = stolen / ticks if ticks > 0 else 0.0
    micros = (after.at_s - before.at_s) * 1e6
    for name, total in after.pressure_us.items():
        if name in before.pressure_us and micros > 0:
            shares[f"psi_{name}_share"] = (total - before.pressure_us[name]) / micros
    return shares


def pressure_of_group(folder: str) -> dict[str, int]:
    """The same counters of a cgroup2 group (cgroup-v2.rst); empty where it has none."""
    found: dict[str, int] = {}
    for resource in _PRESSURE:
        found.update(_pressure(resource, f"{folder}/{resource}.pressure"))
    return found


def _cpu_ticks() -> tuple[int, int]:
    try:
        fields = [int(word) for word in _start_of("/proc/stat").partition("\n")[0].split()[1:]]
    except (OSError, ValueError):
        return 0, 0
    # guest time is already inside user time
    return sum(fields[:_GUEST]), fields[_STEAL] if len(fields) > _STEAL else 0


def _pressure(resource: str, path: str = "") -> dict[str, int]:
    try:
        lines = _start_of(path or f"/proc/pressure/{resource}").splitlines()
    except OSError:
        return {}
    found = {}
    for line in lines:
        kind, *pairs = line.split()
        for pair in pairs:
            if pair.startswith("total="):
                found[f"{resource}_{kind}"] = int(pair[len("total=") :])
    return found


def _start_of(path: str) -> str:
    """The first page, by one read: four files are read around each window."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 4096).decode("ascii", "replace")
    finally:
        os.close(fd)

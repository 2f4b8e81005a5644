"""Energy counters of the machine: RAPL (powercap) or hwmon. Standard library only.

Sources: Documentation/power/powercap/powercap.rst (`energy_uj` wraps at `max_energy_range_uj`),
Documentation/hwmon/sysfs-interface.rst (`energyN_input` in microjoule). On most kernels only root
may read them (CVE-2020-8694).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_ZONE = re.compile(r"intel-rapl:[0-9]+\Z")
"""Whole packages. Zones below them (core, dram) are parts, `intel-rapl-mmio` counts them again."""
_SUBZONE = re.compile(r"intel-rapl:[0-9]+:[0-9]+\Z")
_INPUT = re.compile(r"energy[0-9]+_input\Z")
SYSFS = Path("/sys")
WHERE = "/sys/class/powercap/intel-rapl:* and /sys/class/hwmon/hwmon*/energy*_input"


class NoEnergy(Exception):
    """This machine has no such counter, or it can't be read; the text says why."""


@dataclass(frozen=True)
class EnergyCounter:
    """One counter. `wraps_at_uj` is 0 where the kernel does not say: it must not go backwards."""

    name: str
    path: Path
    wraps_at_uj: int = 0

    def read_uj(self) -> int:
        """Microjoule since some moment. Raises NoEnergy."""
        try:
            return int(self.path.read_text(encoding="ascii"))
        except PermissionError:
            raise NoEnergy(f"{self.path} may be read by root only") from None
        except (OSError, ValueError) as error:
            raise NoEnergy(f"{self.path}: {error}") from error


def counters(name: str = "", *, sysfs: Path = SYSFS) -> tuple[EnergyCounter, ...]:
    """What adds up to the energy of the machine's processors, or the counters of one name
    (`package-0`, `psys`, `dram`, a hwmon label).

    Packages of RAPL where there are any, else the sockets that hwmon knows, else a single counter.
    Raises NoEnergy.
    """
    zones = list(_zones(sysfs))
    sensors = list(_sensors(sysfs))
    if name:
        found = [item for item in (*zones, *sensors) if item.name == name]
        if not found:
            known = ", ".join(sorted({item.name for item in (*zones, *sensors)})) or "none"
            raise NoEnergy(f"no energy counter is called {name} (there: {known})")
        return tuple(found)
    for begin in ("package", "psys"):
        whole = [item for item in zones if item.name.startswith(begin)]
        if whole:
            return tuple(whole)
    sockets = [item for item in sensors if item.name.startswith("Esocket")]
    if sockets:
        return tuple(sockets)
    if len(sensors) == 1:
        return tuple(sensors)
    if sensors:
        names = ", ".join(item.name for item in sensors)
        raise NoEnergy(f"several energy counters, and which make a whole is not known: {names}")
    raise NoEnergy(f"no energy counter (looked for {WHERE})")


class EnergyMeter:
    """Energy since the meter was made, over wraps: it must be read more often than a counter wraps
    (262 kJ on many processors: 44 minutes at 100 W)."""

    def __init__(self, parts: Sequence[EnergyCounter]) -> None:
        """Raises NoEnergy."""
        self._last_uj = {part: part.read_uj() for part in parts}
        self._total_uj = 0

    def joules(self) -> float:
        """Since the beginning. Raises NoEnergy."""
        for part, before in self._last_uj.items():
            now = part.read_uj()
            self._total_uj += added_uj(before, now, part.wraps_at_uj)
            self._last_uj[part] = now
        return self._total_uj / 1e6


def added_uj(before: int, now: int, wraps_at: int) -> int:
    """What was added between two readings of a counter that wraps at most once.

    Raises NoEnergy for one that went backwards and is not known to wrap.

    >>> added_uj(990, 20, 1000)
    30
    """
    if now >= before:
        return now - before
    if wraps_at < before:
        raise NoEnergy(f"an energy counter went backwards ({before} to {now} microjoule)")
    return wraps_at - before + now


def _zones(sysfs: Path) -> Iterator[EnergyCounter]:
    folder = sysfs / "class" / "powercap"
    for zone in sorted(folder.glob("intel-rapl:*")):
        if not (_ZONE.match(zone.name) or _SUBZONE.match(zone.name)):
            continue
        name = _text(zone / "name")
        if name and (zone / "energy_uj").exists():
            wraps = _text(zone / "max_energy_range_uj")
            yield EnergyCounter(name, zone / "energy_uj", int(wraps) if wraps.isdigit() else 0)


def _sensors(sysfs: Path) -> Iterator[EnergyCounter]:
    for device in sorted((sysfs / "class" / "hwmon").glob("hwmon*")):
        for path in sorted(device.glob("energy*_input")):
            if _INPUT.match(path.name):
                label = _text(device / path.name.replace("_input", "_label"))
                plain = path.name.removesuffix("_input")
                yield EnergyCounter(label or f"{_text(device / 'name')}.{plain}", path)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""

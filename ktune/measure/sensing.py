"""Sensors over windows: attached while a window is measured, and no more than their cost allows.

What a program does costs little; that it is called at all costs some 0.1 us an event
(benchmarks/sensors.py). Where events come so often that this would be more than `BUDGET` of a CPU's
time, a sensor watches part of the window: the first slice, then each with a probability `share`
that follows from what was seen before. What a slice counted stands for 1 / share of it, so counts,
sums and histograms are estimated without bias whatever the load does (Horvitz and Thompson 1952).
Sensors whose events have a beginning and an end are always attached: half of a pair is nothing;
so are those that only count, since a burst in a short window would be estimated badly.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ktune.errors import RefusedError
from ktune.kernel.bpf.histogram import SensorStatistic, Tally, empty
from ktune.kernel.bpf.library import BpfError
from ktune.kernel.bpf.sensors import Reading, Sensor, SensorName, open_sensor
from ktune.measure.window import Poll

BUDGET = 0.003
"""Share of a CPU's time that a sensor may take."""
SLICE_S = 0.09
"""Two polls of a runner's 50 ms."""

_QUANTILES = {
    SensorStatistic.P50: 0.5,
    SensorStatistic.P90: 0.9,
    SensorStatistic.P99: 0.99,
    SensorStatistic.P999: 0.999,
}


@dataclass(frozen=True)
class SensorSpec:
    """What to sense. `device`: name of a disk, empty for all."""

    name: SensorName
    of_workload: bool = False
    device: str = ""


@dataclass(frozen=True)
class SensorNumber:
    """One number of a sensor; a time in units of `unit_ns` nanoseconds."""

    spec: SensorSpec
    how: SensorStatistic
    unit_ns: float = 1.0


class NothingSensed(Exception):
    """No event in the window: a percentile or mean of nothing is no number."""


def number_of(number: SensorNumber, seen: Tally, elapsed_s: float) -> float:
    """The number of a window of so many seconds. Raises NothingSensed."""
    histogram = seen.histogram
    if number.how is SensorStatistic.COUNT:
        return seen.events
    if number.how is SensorStatistic.RATE:
        return seen.events / elapsed_s
    if histogram is None:
        raise NothingSensed(f"{number.spec.name} has no durations")
    if number.how is SensorStatistic.TOTAL:
        return histogram.sum_ns / number.unit_ns
    try:
        if number.how is SensorStatistic.MEAN:
            return histogram.mean_ns / number.unit_ns
        return histogram.quantile_ns(_QUANTILES[number.how]) / number.unit_ns
    except ValueError:
        raise NothingSensed(
            f"no event of {number.spec.name} in the window, so no {number.how}; total and count "
            "are 0 then"
        ) from None


def share_of_time(busiest: float, elapsed_s: float, event_s: float) -> float:
    """Which share of the time a sensor may be attached: 1 while the busiest CPU's events cost less
    than `BUDGET` of its time.

    >>> [round(share_of_time(events, 1.0, 1e-7), 3) for events in (20_000, 120_000)]
    [1.0, 0.25]
    """
    if elapsed_s <= 0:
        return 1.0
    cost_s, allowed_s = busiest * event_s, BUDGET * elapsed_s
    return 1.0 if cost_s <= allowed_s else allowed_s / cost_s


class Watched:
    """One sensor over windows. What all of them have shown decides its `share` of the time."""

    def __init__(self, sensor: Sensor, chance: Callable[[], float]) -> None:
        self.sensor = sensor
        self.share = 1.0
        self._chance = chance
        self._total = empty(timed=sensor.kind.timed)
        self._last = Reading(self._total, 0.0)
        self._busiest = 0.0
        self._elapsed_s = 0.0
        self._since_s = self._slice_s = 0.0

    def begin(self, cgroup: int, device: int) -> None:
        """A window begins: its first slice is watched."""
        self.sensor.choose(cgroup=cgroup, device=device)
        self._last = self.sensor.read()
        self._total = empty(timed=self.sensor.kind.timed)
        self.share = 1.0
        self._since_s = self._slice_s = time.monotonic()
        self.sensor.attach()

    def tick(self) -> None:
        """Look whether a slice is over, and whether the next one is watched."""
        event_s = self.sensor.kind.event_s
        if event_s is None or time.monotonic() - self._slice_s < SLICE_S:
            return
        self._collect()
        self._slice_s = self._since_s
        self.share = share_of_time(self._busiest, self._elapsed_s, event_s)
        if self.share >= 1.0 or self._chance() < self.share:
            self.sensor.attach()
        elif self.sensor.attached:
            self.sensor.detach()
            self._last = self.sensor.read()  # what came since the slice ended belongs to none

    def seen(self) -> Tally:
        """Everything since the window began."""
        self._collect()
        return self._total

    def end(self) -> None:
        """The window is over."""
        self.sensor.detach()
        self._collect(watched=True)

    def _collect(self, *, watched: bool = False) -> None:
        now_s = time.monotonic()
        if watched or self.sensor.attached:
            reading = self.sensor.read()
            new = reading.tally.minus(self._last.tally)
            self._total = self._total.plus(new, 1 / self.share)
            self._busiest += (reading.busiest - self._last.busiest) / self.share
            self._last = reading
        self._elapsed_s += now_s - self._since_s
        self._since_s = now_s


class Sensing:
    """The sensors that a source's metrics need. Loaded once, attached in windows only."""

    def __init__(self, wanted: Iterable[SensorSpec]) -> None:
        """Raises RefusedError for one that can't be had here."""
        self._wanted = tuple(dict.fromkeys(wanted))
        self._chance = random.Random().random
        self._watched: dict[SensorSpec, Watched] = {}
        self._open()

    def _open(self) -> None:
        for spec in self._wanted:
            try:
                _device_number(spec.device)
                sensor = open_sensor(spec.name, of_workload=spec.of_workload)
            except BpfError as error:
                self.close()
                raise RefusedError(
                    f"the sensor {spec.name} can't be had: {error.why}",
                    hint="`ktune doctor` says which sensors this host has",
                ) from None
            self._watched[spec] = Watched(sensor, self._chance)

    @property
    def of_workload(self) -> bool:
        """Whether some sensor needs the workload's cgroup."""
        return any(spec.of_workload for spec in self._wanted)

    def begin(self, cgroup: int = 0) -> None:
        """A window begins; `cgroup`: id of the workload's group. Raises BpfError, RefusedError."""
        if not self._watched:
            self._open()
        for spec, watched in self._watched.items():
            group = cgroup if spec.of_workload else 0
            watched.begin(group, _device_number(spec.device))

    def tick(self) -> None:
        """To be called often while a window runs. Raises BpfError."""
        for watched in self._watched.values():
            watched.tick()

    def polling(self, poll: Poll) -> Poll:
        """A poll that ticks as well."""

        def both() -> None:
            self.tick()
            poll()

        return both if self._wanted else poll

    def seen(self, spec: SensorSpec) -> Tally:
        """What a sensor has seen since the window began. Raises BpfError."""
        return self._watched[spec].seen()

    def end(self) -> None:
        """The window is over: nothing stays attached. Raises BpfError."""
        for watched in self._watched.values():
            watched.end()

    def close(self) -> None:
        """Free everything; the next `begin` loads again."""
        while self._watched:
            self._watched.popitem()[1].sensor.close()


def _device_number(name: str) -> int:
    """major << 20 | minor of a whole disk, as the kernel writes it (MINORBITS, linux/kdev_t.h)."""
    if not name:
        return 0
    try:
        with open(f"/sys/block/{name}/dev", encoding="ascii") as file:
            major, _, minor = file.read().strip().partition(":")
    except OSError as error:
        raise BpfError(error.errno or 0, f"there is no disk {name}") from error
    return int(major) << 20 | int(minor)


def group_id(folder: str) -> int:
    """The id of a cgroup2 group: its folder's inode (cgroup_id(), kernfs of 64-bit kernels).
    Raises OSError."""
    return os.stat(folder).st_ino

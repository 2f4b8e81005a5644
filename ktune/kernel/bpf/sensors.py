"""Sensors: BPF programs on tracepoints that time or count what the kernel does.

    with open_sensor(SensorName.RUNQUEUE_LATENCY) as sensor:
        sensor.attach()
        ...
        sensor.read().tally.histogram.quantile_ns(0.99)

Each is tried by loading: first as `tp_btf`, which reads the kernel's structures by CO-RE, then as a
classic tracepoint for kernels without BTF; `Sensor.note` says so where that happened. Programs cost
something only while they are attached. Standard library only; everything raises BpfError.
"""

from __future__ import annotations

import errno
import os
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Self

from ktune.kernel.bpf.features import tracefs_mounted
from ktune.kernel.bpf.histogram import Tally, of_numbers
from ktune.kernel.bpf.library import BpfError
from ktune.kernel.bpf.objects import BpfObject, Link, open_object

_PLAIN = "sensor_tracepoints"
_KEY = bytes(4)
_DENIED = frozenset({errno.EPERM, errno.EACCES})


class SensorName(StrEnum):
    """What can be sensed."""

    RUNQUEUE_LATENCY = "runqueue_latency"
    """How long a task waited on the queue of the CPU that then ran it."""
    BLOCK_LATENCY = "block_latency"
    """From handing a disk request to its driver to its completion."""
    TCP_RTT = "tcp_rtt"
    """TCP's smoothed round-trip time, at each segment received."""
    TCP_RETRANSMITS = "tcp_retransmits"
    """TCP segments sent again."""
    DIRECT_RECLAIM_LATENCY = "direct_reclaim_latency"
    """How long a task had to free memory before it got some."""
    PAGE_FAULTS = "page_faults"
    """Page faults of user space."""


class Way(StrEnum):
    """How a sensor is attached."""

    TP_BTF = "tp_btf"
    TRACEPOINT = "tracepoint"


@dataclass(frozen=True)
class SensorKind:
    """One sensor. `optional` programs are left out where the kernel lacks their tracepoint.

    `event_s`: what one event costs its CPU, where events may come so often that ktune watches only
    part of the time (benchmarks/sensors.py); None: always watched, since an event has two ends, or
    since the exact count is what is asked for.
    `plain`: programs of the fallback, none where there is none.
    """

    name: SensorName
    programs: tuple[str, ...]
    what: str
    optional: tuple[str, ...] = ()
    plain: tuple[str, ...] = ()
    plain_optional: tuple[str, ...] = ()
    timed: bool = True
    of_workload: bool = True
    of_device: bool = False
    event_s: float | None = None

    @property
    def object(self) -> str:
        """Name of the compiled object."""
        return f"sensor_{self.name.removesuffix('_latency')}"


KINDS = {
    kind.name: kind
    for kind in (
        SensorKind(
            SensorName.RUNQUEUE_LATENCY,
            ("runqueue",),
            "how long tasks wait for a CPU",
            plain=("plain_wakeup", "plain_wakeup_new", "plain_switch"),
            event_s=110e-9,
        ),
        SensorKind(
            SensorName.BLOCK_LATENCY,
            ("block_issue", "block_complete"),
            "how long disk requests take",
            plain=("plain_issue", "plain_complete"),
            of_workload=False,
            of_device=True,
        ),
        SensorKind(
            SensorName.TCP_RTT,
            ("tcp_rtt",),
            "TCP's smoothed round-trip time",
            event_s=130e-9,
        ),
        SensorKind(
            SensorName.TCP_RETRANSMITS,
            ("tcp_retransmits",),
            "TCP segments sent again",
            plain=("plain_retransmits",),
            timed=False,
        ),
        SensorKind(
            SensorName.DIRECT_RECLAIM_LATENCY,
            ("reclaim_begin", "reclaim_end"),
            "how long tasks free memory themselves",
            optional=("memcg_reclaim_begin", "memcg_reclaim_end"),
            plain=("plain_reclaim_begin", "plain_reclaim_end"),
            plain_optional=("plain_memcg_reclaim_begin", "plain_memcg_reclaim_end"),
        ),
        SensorKind(
            SensorName.PAGE_FAULTS,
            ("page_faults",),
            "page faults of user space",
            plain=("plain_page_faults",),
            timed=False,
        ),
    )
}


@dataclass(frozen=True)
class Reading:
    """Everything since the sensor was opened. `busiest`: events on the CPU that had most."""

    tally: Tally
    busiest: float


class Sensor:
    """One loaded sensor. Several of a kind may be open, each with a filter of its own."""

    def __init__(self, kind: SensorKind, way: Way = Way.TP_BTF) -> None:
        """Loads, and attaches for a moment to see whether that works."""
        self.kind = kind
        self.way = way
        self.note = ""
        """What a reader should know: a fallback and why, programs left out."""
        self._links: list[Link] = []
        self._only = (0, 0)
        self._object, self._programs = self._loaded()
        try:
            self._counts = self._object.map(self._map_name)
            self._link()
            self._unlink()
        except BaseException:
            self._object.close()
            raise

    @property
    def attached(self) -> bool:
        """Whether it counts just now."""
        return bool(self._links)

    def choose(self, *, cgroup: int = 0, device: int = 0) -> None:
        """Count only what belongs to a cgroup2 group (by its id) and below, or to a disk
        (major << 20 | minor). 0: everything. Holds from the next `attach` on."""
        if cgroup and (self.way is Way.TRACEPOINT or not self.kind.of_workload):
            raise BpfError(errno.ENOTSUP, f"{self.kind.name} by {self.way} has no cgroups")
        self._only = (cgroup, device)

    def attach(self) -> None:
        """Begin to count what begins now; nothing where it does already."""
        if not self._links:
            self._link()
            self._open_gate(time.monotonic_ns())

    def detach(self) -> None:
        """Stop counting: no cost is left."""
        if self._links:
            self._open_gate(0)
        self._unlink()

    def read(self) -> Reading:
        """The sums over the CPUs. What is counted meanwhile may be in one number and not yet in
        another."""
        values = self._counts.lookup_each_cpu(_KEY)
        each = [struct.unpack(f"{len(value) // 8}Q", value) for value in values]
        timed = self.kind.timed
        busiest = max(sum(numbers[1:]) if timed else numbers[0] for numbers in each)
        together = [sum(column) for column in zip(*each, strict=True)]
        return Reading(of_numbers(together, timed=timed), float(busiest))

    def close(self) -> None:
        """Detach and free. A second call does nothing."""
        self.detach()
        self._object.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _link(self) -> None:
        try:
            for program in self._programs:
                self._links.append(self._object.attach(program))
        except BpfError:
            self._unlink()
            raise

    def _unlink(self) -> None:
        while self._links:
            self._links.pop().close()

    def _open_gate(self, from_ns: int) -> None:
        self._object.map("choice").update(_KEY, struct.pack("QQQ", from_ns, *self._only))

    @property
    def _map_name(self) -> str:
        return "events" if self.way is Way.TRACEPOINT and not self.kind.timed else "counts"

    def _loaded(self) -> tuple[BpfObject, tuple[str, ...]]:
        kind = self.kind
        if self.way is Way.TP_BTF:
            return self._load(kind.object, kind.programs, kind.optional)
        if not kind.plain:
            raise BpfError(errno.ENOTSUP, f"{kind.name} has no classic tracepoint")
        if not tracefs_mounted():
            raise BpfError(
                errno.ENOENT, "no tracefs is mounted: mount -t tracefs tracefs /sys/kernel/tracing"
            )
        return self._load(_PLAIN, kind.plain, kind.plain_optional)

    def _load(
        self, name: str, needed: Sequence[str], optional: Sequence[str]
    ) -> tuple[BpfObject, tuple[str, ...]]:
        try:
            return _load(name, (*needed, *optional))
        except BpfError as error:
            if not optional or error.errno in _DENIED:
                raise
            self.note = f"without {', '.join(optional)}: {error.why}"
            return _load(name, needed)


def _load(name: str, programs: Sequence[str]) -> tuple[BpfObject, tuple[str, ...]]:
    opened = open_object(name)
    try:
        opened.choose(*programs)
        opened.load()
    except BaseException:
        opened.close()
        raise
    return opened, tuple(programs)


def open_sensor(name: SensorName, *, of_workload: bool = False) -> Sensor:
    """Load it by the better way, else by the other one, which its `note` then says.

    Raises BpfError with the reasons of both.
    """
    kind = KINDS[name]
    if of_workload and not kind.of_workload:
        raise BpfError(errno.ENOTSUP, f"{name} can't tell whose they are")
    try:
        return Sensor(kind)
    except BpfError as error:
        first = error
    if first.errno in _DENIED and os.geteuid() != 0:
        raise BpfError(
            first.errno or errno.EPERM,
            f"needs root (or CAP_BPF and CAP_PERFMON); this is uid {os.geteuid()}",
        ) from first
    if of_workload:
        raise BpfError(
            first.errno or errno.ENOTSUP,
            f"tp_btf: {first.why}; classic tracepoints do not know whose they are",
        ) from first
    try:
        plain = Sensor(kind, Way.TRACEPOINT)
    except BpfError as second:
        raise BpfError(
            second.errno or errno.EIO, f"tp_btf: {first.why}; tracepoint: {second.why}"
        ) from first
    said = [f"by the classic tracepoint, which costs more, since tp_btf: {first.why}", plain.note]
    plain.note = "; ".join(filter(None, said))
    return plain

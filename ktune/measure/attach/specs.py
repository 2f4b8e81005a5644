"""What to watch, as plain frozen data. Times in seconds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ktune.measure.sensing import SensorNumber
from ktune.profile.urls import MetricsUrl


class MissingData(Exception):
    """A window's data is not there (source gone, frozen, unreadable): the window is void."""


class TargetKind(StrEnum):
    """How a service is named."""

    UNIT = "unit"
    PID = "pid"
    CGROUP = "cgroup"
    PROCESS = "process"


@dataclass(frozen=True)
class TargetSpec:
    """`name`: a unit, a process id in digits, a cgroup's folder, or a process name."""

    kind: TargetKind
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


class Reduction(StrEnum):
    """What becomes of the samples of a window."""

    RATE = "rate"
    VALUE = "value"
    MEDIAN = "median"
    P99 = "p99"
    TOTAL = "total"


@dataclass(frozen=True)
class ProcField:
    """A field of a file under /proc: `io`, `stat`, `net/netstat`, `vmstat`..."""

    file: str
    field: str


@dataclass(frozen=True)
class PressureShare:
    """Share of the time stalled; of the machine, or of the service's cgroup."""

    resource: str
    line: str
    of_service: bool


@dataclass(frozen=True)
class CgroupField:
    """A number of a file of the service's cgroup; `field` empty: the file is one number."""

    file: str
    field: str


@dataclass(frozen=True)
class PrometheusSeries:
    """Series of a page: by name and labels, perhaps one quantile of them."""

    url: MetricsUrl
    name: str
    labels: tuple[tuple[str, str], ...] = ()
    quantile: float | None = None


@dataclass(frozen=True)
class LogLines:
    """Lines appended to a log that match; the group `value` holds the number."""

    path: str
    pattern: str


@dataclass(frozen=True)
class PrintedNumber:
    """A number that a program prints."""

    argv: tuple[str, ...]
    json: bool
    field: str
    timeout_s: float


@dataclass(frozen=True)
class Energy:
    """Energy of the machine's processors, or one counter by its name."""

    counter: str = ""


@dataclass(frozen=True)
class Ratio:
    """One metric by another."""

    of: str
    per: str


Origin = (
    Energy
    | Ratio
    | ProcField
    | PressureShare
    | CgroupField
    | PrometheusSeries
    | LogLines
    | PrintedNumber
    | SensorNumber
)


@dataclass(frozen=True)
class LiveMetric:
    """One metric. `how` None: the page of a Prometheus series says what it is."""

    name: str
    origin: Origin
    how: Reduction | None
    unit: str = ""
    plausible: tuple[float, float] = (0.0, float("inf"))


@dataclass(frozen=True)
class AttachSpec:
    """One window over a service: `for_s` long, sampled every `every_s`."""

    target: TargetSpec
    metrics: tuple[LiveMetric, ...]
    for_s: float
    every_s: float
    settle_s: float = 0.0
    user: str | None = None

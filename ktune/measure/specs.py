"""What to measure, as plain frozen data: workload, metrics, resets, link.

The profile's model is turned into these by `from_profile`; nothing below it knows the profile.
Times are in seconds, sizes in bytes, rates in bits per second.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ktune.measure.sensing import SensorNumber


class MetricSource(StrEnum):
    """Where the number comes from."""

    KEY_VALUE = "key_value"
    """A line `field=number` or `field: number` of the standard output; the last one counts."""
    JSON = "json"
    """A dotted path (`jobs.0.read.iops`) into the JSON document that the standard output is, or
    into its last line that is a JSON object."""
    DURATION = "duration"
    """The run time of the command in seconds; needs no output."""
    ENERGY = "energy"
    """Joules while the command ran; `field` names one counter."""
    POWER = "power"
    """... by its run time: watts."""
    SENSOR = "sensor"
    """What the kernel did while the command ran: `sensor` says what."""
    RATIO = "ratio"
    """One metric by another: `field` is `OF/PER`."""
    TOOL = "tool"
    """A field of a load generator's report, read by the adapter `tool`."""
    REGEX = "regex"
    """The last line of the standard output that matches `pattern`."""
    CSV = "csv"
    """A column of the table on the standard output: `table` says which."""
    PAGE = "page"
    """A series of the Prometheus text on the standard output: `field` with `labels`."""


@dataclass(frozen=True)
class TableNumber:
    """One number of a table. `column` and the keys of `where` are names of the header, or numbers
    from 0; `how` is a word or a percentile (`p99`)."""

    column: str | int
    where: tuple[tuple[str, str], ...] = ()
    how: str = "last"
    header: bool = True
    separator: str = ","


@dataclass(frozen=True)
class MetricSpec:
    """One metric. `plausible` is the closed range outside which the window is a failure."""

    name: str
    source: MetricSource = MetricSource.KEY_VALUE
    field: str = ""
    unit: str = ""
    plausible: tuple[float, float] | None = None
    sensor: SensorNumber | None = None
    tool: str = ""
    pattern: str = ""
    table: TableNumber | None = None
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class FlushTcpMetrics:
    """Forget what TCP remembers of its peers (ssthresh, RTT: tcp_metrics(8)), in the scope."""


@dataclass(frozen=True)
class DropPageCache:
    """Write back and drop the page cache of these files (folders: the files below them)."""

    paths: tuple[str, ...]


@dataclass(frozen=True)
class ResetCommand:
    """Run a command, as the workload's user and in its scope; it must exit with 0."""

    argv: tuple[str, ...]
    timeout_s: float = 60.0


@dataclass(frozen=True)
class ServiceStep:
    """Do something to a service of the run: `checkpoint`, `restart` or `restore`."""

    action: str
    service: str


Reset = FlushTcpMetrics | DropPageCache | ResetCommand | ServiceStep


@dataclass(frozen=True)
class WorkloadSpec:
    """One load generator, run once per window.

    `argv` is executed without a shell. With `bundled` (a module below
    `ktune.measure.workloads`) argv holds only the arguments of that module's `main`, which runs
    in a fork without another interpreter start. `user` None means an unprivileged one: the
    caller itself, or as root the user behind sudo, else `nobody`. `cpus`: where it may run;
    empty: anywhere. `warm_up` is the number of units that an adapter leaves out of the numbers.
    `realtime`: it may take real-time priorities.
    """

    argv: tuple[str, ...]
    metrics: tuple[MetricSpec, ...]
    bundled: str | None = None
    user: str | None = None
    resets: tuple[Reset, ...] = ()
    settle_s: float = 0.0
    timeout_s: float = 60.0
    environment: tuple[tuple[str, str], ...] = ()
    cpus: tuple[int, ...] = ()
    output_limit: int = 256 * 1024
    warm_up: int = 0
    realtime: bool = False


@dataclass(frozen=True)
class LinkSpec:
    """The emulated long link. `rate_bit_s` 0 means as fast as the processor carries.

    `queue_bytes` is the bottleneck's queue (tail drop) and matters only with a rate.
    """

    rtt_s: float = 0.02
    rate_bit_s: float = 0.0
    queue_bytes: int = 64 << 20
    mtu: int = 1500
    port: int = 5001

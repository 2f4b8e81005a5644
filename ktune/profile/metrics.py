"""Model of metrics: numbers of a service that runs, and those that commands have as well.

Everything here is hostile input: names are checked for their form here, and what they may reach
(files, hosts, programs) where they are used.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, field_validator, model_validator

from ktune.adapters.registry import ToolName
from ktune.profile.errors import did_you_mean, shown
from ktune.profile.fields import AbsolutePath, Duration, Name, Number, Text, wrong
from ktune.profile.metric_base import MetricBase, MetricSource
from ktune.profile.output_metrics import (
    LABEL_NAME,
    MAX_PATTERN,
    SERIES_NAME,
    CsvMetric,
    OutputMetric,
    PageMetric,
    RegexMetric,
    ToolMetric,
)
from ktune.profile.sensor_metric import SensorMetric
from ktune.profile.urls import parse_metrics_url


class RateOrValue(StrEnum):
    """What becomes of the samples of a window."""

    RATE = "rate"
    """Difference between the ends of the window, per second."""
    VALUE = "value"
    """Mean of the samples."""


class ProcMetric(MetricBase):
    """A field of a file under /proc."""

    tags: ClassVar[frozenset[str]] = frozenset({"from /proc"})

    source: Literal[MetricSource.PROC] = Field(
        alias="from", description="A file under /proc.", examples=["proc"]
    )
    file: Literal[
        "io", "stat", "status", "schedstat", "net/netstat", "net/snmp", "vmstat", "diskstats"
    ] = Field(
        description="File: of each process of the service (io, stat, status, schedstat: added "
        "up), of its network namespace (net/...), or of the machine (vmstat, diskstats).",
        examples=["io"],
    )
    field: Text = Field(
        pattern=r"^[A-Za-z0-9_.:()-]{1,64}$",
        description="Field: `read_bytes`; for net/... `TcpExt.ListenDrops`; for diskstats "
        "`vda.reads`.",
        examples=["read_bytes", "TcpExt.ListenDrops"],
    )
    how: RateOrValue = Field(
        default=RateOrValue.RATE,
        alias="as",
        description="rate: difference per second; value: mean of the samples.",
        examples=["rate"],
    )


class PsiMetric(MetricBase):
    """Share of the window in which tasks stalled, 0 to 1."""

    tags: ClassVar[frozenset[str]] = frozenset({"from psi"})

    source: Literal[MetricSource.PSI] = Field(
        alias="from", description="Pressure stall information.", examples=["psi"]
    )
    resource: Literal["cpu", "memory", "io"] = Field(
        description="What tasks waited for.", examples=["memory"]
    )
    line: Literal["some", "full"] = Field(
        default="some", description="Some tasks stalled, or all of them.", examples=["some"]
    )
    of: Literal["machine", "service"] = Field(
        default="machine",
        description="Of the whole machine, or of the service's cgroup (version 2 only).",
        examples=["service"],
    )


class CgroupMetric(MetricBase):
    """A number of the service's cgroup, version 2 or 1."""

    tags: ClassVar[frozenset[str]] = frozenset({"from the cgroup"})

    source: Literal[MetricSource.CGROUP] = Field(
        alias="from", description="A file of the service's cgroup.", examples=["cgroup"]
    )
    file: Text = Field(
        pattern=r"^[a-z0-9_]{1,32}(\.[A-Za-z0-9_]{1,48}){1,3}$",
        description="Name of the file in the service's cgroup.",
        examples=["cpu.stat", "cpuacct.usage"],
    )
    field: Text | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9_]{1,64}$",
        description="Key in the file (for `io.stat` the sum over the devices); none for a file "
        "that is one number.",
        examples=["usage_usec"],
    )
    how: RateOrValue = Field(
        default=RateOrValue.RATE,
        alias="as",
        description="rate: difference per second; value: mean of the samples.",
        examples=["value"],
    )


class PrometheusMetric(MetricBase):
    """A series of a page in the Prometheus text format."""

    tags: ClassVar[frozenset[str]] = frozenset({"from prometheus"})

    source: Literal[MetricSource.PROMETHEUS] = Field(
        alias="from", description="A page in the Prometheus text format.", examples=["prometheus"]
    )
    url: Text = Field(
        max_length=1024,
        description="The page: http on this machine's loopback; another host needs the "
        "administrator's word. Redirects are not followed.",
        examples=["http://127.0.0.1:9121/metrics"],
    )
    name: Text = Field(
        pattern=SERIES_NAME,
        max_length=256,
        description="Name of the series as the page has it (of a histogram or summary the name "
        "without `_bucket`).",
        examples=["redis_commands_processed_total"],
    )
    labels: dict[Text, Text] = Field(
        default_factory=dict,
        max_length=16,
        description="Labels that a series must have; several matching counters are added up.",
        examples=[{"method": "GET"}],
    )
    quantile: Number | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Quantile of a histogram (of what the window added) or of a summary.",
        examples=[0.99],
    )
    how: RateOrValue | None = Field(
        default=None,
        alias="as",
        description="Where the page does not say whether the series is a counter or a gauge.",
        examples=["rate"],
    )

    @field_validator("url")
    @classmethod
    def _form(cls, value: str) -> str:
        try:
            parse_metrics_url(value)
        except ValueError as error:
            raise wrong(str(error)) from None
        return value

    @model_validator(mode="after")
    def _consistent(self) -> PrometheusMetric:
        for label in self.labels:
            if not LABEL_NAME.match(label):
                raise wrong(f"{shown(label)} can't name a label", at=("labels", label), key=True)
        if self.quantile is not None and self.how is not None:
            raise wrong("a quantile takes no `as`", at=("as",))
        return self


class LogReduction(StrEnum):
    """What becomes of the lines of a window."""

    RATE = "rate"
    """Matching lines per second."""
    MEAN = "mean"
    MEDIAN = "median"
    P99 = "p99"


class LogMetric(MetricBase):
    """Lines that were appended to a log during the window."""

    tags: ClassVar[frozenset[str]] = frozenset({"from a log"})

    source: Literal[MetricSource.LOG] = Field(
        alias="from", description="Lines appended to a log.", examples=["log"]
    )
    path: AbsolutePath = Field(
        description="The log: a regular file; rotation is followed.",
        examples=["/var/log/nginx/access.log"],
    )
    pattern: Text = Field(
        min_length=1,
        max_length=MAX_PATTERN,
        description="Regular expression (Python) with the group `value` around the number.",
        examples=[r"request_time=(?P<value>[0-9.]+)"],
    )
    how: LogReduction = Field(
        default=LogReduction.RATE,
        alias="as",
        description="Matching lines per second, or a statistic of the captured numbers.",
        examples=["p99"],
    )

    @model_validator(mode="after")
    def _consistent(self) -> LogMetric:
        try:
            groups = re.compile(self.pattern).groupindex
        except (re.error, OverflowError, RecursionError) as error:
            raise wrong(f"no regular expression: {error}", at=("pattern",)) from None
        if "value" not in groups and self.how is not LogReduction.RATE:
            raise wrong(
                f"`as: {self.how.value}` needs a group named value, such as (?P<value>[0-9.]+)",
                at=("pattern",),
            )
        return self


class CommandMetric(MetricBase):
    """A number that a program prints, run once for each sample as the workload's user."""

    tags: ClassVar[frozenset[str]] = frozenset({"from a program"})

    source: Literal[MetricSource.COMMAND] = Field(
        alias="from", description="A program that prints numbers.", examples=["command"]
    )
    command: tuple[Text, ...] = Field(
        min_length=1,
        description="Program and arguments; no shell. Run as the unprivileged user.",
        examples=[["redis-cli", "info", "stats"]],
    )
    format: Literal["key_value", "json"] = Field(
        default="key_value", description="What it prints.", examples=["key_value"]
    )
    field: Text | None = Field(
        default=None,
        description="Name in the output or dotted path; the metric's own name where not given.",
        examples=["total_commands_processed"],
    )
    how: RateOrValue = Field(
        default=RateOrValue.VALUE,
        alias="as",
        description="rate: difference per second; value: mean of the samples.",
        examples=["rate"],
    )
    timeout: Duration = Field(
        default=5.0,
        gt=0,
        le=60,
        description="A program that runs longer voids the window.",
        examples=["5s"],
    )

    @model_validator(mode="after")
    def _consistent(self) -> CommandMetric:
        if any("\0" in word for word in self.command) or not self.command[0]:
            raise wrong("the command needs a program and can't hold a NUL", at=("command",))
        return self


class EnergyMetric(MetricBase):
    """Energy of a window; of a command and of an attached service."""

    tags: ClassVar[frozenset[str]] = frozenset({"from energy"})

    source: Literal[MetricSource.ENERGY] = Field(
        alias="from", description="RAPL, else hwmon.", examples=["energy"]
    )
    counter: Text = Field(
        default="",
        max_length=64,
        description="One counter by its name (package-0, psys, dram, a hwmon label); all packages "
        "where not given.",
        examples=["package-0"],
    )
    how: Literal["total", "rate"] = Field(
        default="total",
        alias="as",
        description="total: joules of the window; rate: watts.",
        examples=["rate"],
    )


class RatioMetric(MetricBase):
    """One metric by another: work per joule."""

    tags: ClassVar[frozenset[str]] = frozenset({"from two metrics"})

    source: Literal[MetricSource.RATIO] = Field(
        alias="from", description="One metric by another.", examples=["ratio"]
    )
    of: Name = Field(description="The metric above the line.", examples=["requests"])
    per: Name = Field(description="The metric below the line.", examples=["joules"])


_MEMBERS: dict[str, type[MetricBase]] = {
    **dict.fromkeys(ToolName, ToolMetric),
    MetricSource.KEY_VALUE: OutputMetric,
    MetricSource.JSON: OutputMetric,
    MetricSource.DURATION: OutputMetric,
    MetricSource.REGEX: RegexMetric,
    MetricSource.CSV: CsvMetric,
    MetricSource.PROMETHEUS_TEXT: PageMetric,
    MetricSource.PROC: ProcMetric,
    MetricSource.PSI: PsiMetric,
    MetricSource.CGROUP: CgroupMetric,
    MetricSource.PROMETHEUS: PrometheusMetric,
    MetricSource.LOG: LogMetric,
    MetricSource.COMMAND: CommandMetric,
    MetricSource.ENERGY: EnergyMetric,
    MetricSource.SENSOR: SensorMetric,
    MetricSource.RATIO: RatioMetric,
}


def _tag(value: Any) -> str | None:
    if isinstance(value, MetricBase):
        return next(iter(type(value).tags))
    source = value.get("from") if isinstance(value, dict) else None
    member = _MEMBERS.get(source) if isinstance(source, str) else None
    return next(iter(member.tags)) if member else None


def _known_source(value: object) -> object:
    if isinstance(value, MetricBase):
        return value
    if not isinstance(value, dict):
        raise wrong("expected a mapping of keys to values")
    if "from" not in value:
        raise wrong("from is missing")
    if _tag(value) is None:
        known = [source.value for source in (*MetricSource, *ToolName)]
        raise wrong(
            f"expected one of {', '.join(known)}, found {shown(value['from'])}"
            f"{did_you_mean(str(value['from']), known)}",
            at=("from",),
        )
    return value


SharedMetric = EnergyMetric | SensorMetric | RatioMetric
"""A metric that commands and attached services have alike."""

LiveMetric = ProcMetric | PsiMetric | CgroupMetric | PrometheusMetric | LogMetric | CommandMetric
"""A metric of a service that runs."""

Metric = Annotated[
    Annotated[OutputMetric, Tag("from the output")]
    | Annotated[ToolMetric, Tag("from a load generator")]
    | Annotated[RegexMetric, Tag("from a pattern")]
    | Annotated[CsvMetric, Tag("from a table")]
    | Annotated[PageMetric, Tag("from a printed page")]
    | Annotated[ProcMetric, Tag("from /proc")]
    | Annotated[PsiMetric, Tag("from psi")]
    | Annotated[CgroupMetric, Tag("from the cgroup")]
    | Annotated[PrometheusMetric, Tag("from prometheus")]
    | Annotated[LogMetric, Tag("from a log")]
    | Annotated[CommandMetric, Tag("from a program")]
    | Annotated[EnergyMetric, Tag("from energy")]
    | Annotated[SensorMetric, Tag("from a sensor")]
    | Annotated[RatioMetric, Tag("from two metrics")],
    Discriminator(_tag),
    BeforeValidator(_known_source),
]
"""One number of a window."""

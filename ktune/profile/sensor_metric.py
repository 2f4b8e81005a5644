"""Model of a metric that a BPF sensor takes while a window is measured."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from ktune.kernel.bpf.histogram import SensorStatistic
from ktune.kernel.bpf.sensors import KINDS, SensorName
from ktune.profile.fields import Text, wrong
from ktune.profile.metric_base import MetricBase, MetricSource

TIME_UNITS_NS = {"s": 1e9, "ms": 1e6, "us": 1e3, "ns": 1.0}
"""Units in which a time may be given, in nanoseconds."""


class SensorMetric(MetricBase):
    """A statistic of what the kernel did in a window; of a command and of an attached service."""

    tags: ClassVar[frozenset[str]] = frozenset({"from a sensor"})

    source: Literal[MetricSource.SENSOR] = Field(
        alias="from", description="A BPF program in the kernel (needs root).", examples=["sensor"]
    )
    sensor: SensorName = Field(
        description="What is sensed: run-queue, block or direct-reclaim latency, TCP's smoothed "
        "round-trip time and retransmitted segments, page faults of user space.",
        examples=["runqueue_latency"],
    )
    how: SensorStatistic = Field(
        alias="as",
        description="Percentile (to 12.5 %), mean, total, count, or rate per second; of "
        "retransmits and page faults only count and rate.",
        examples=["p99", "rate"],
    )
    of: Literal["machine", "workload"] = Field(
        default="machine",
        description="Of everything on the machine, or of the workload alone (cgroup version 2; "
        "not of disk requests, which have no owner).",
        examples=["workload"],
    )
    device: Text = Field(
        default="",
        pattern=r"^([A-Za-z0-9_!-]{1,32})?$",
        description="One disk's requests (block_latency); every disk's where not given.",
        examples=["vda"],
    )

    @model_validator(mode="after")
    def _consistent(self) -> SensorMetric:
        kind = KINDS[self.sensor]
        if self.how.is_time and not kind.timed:
            raise wrong(f"{self.sensor} has no durations: `as: count` or `as: rate`", at=("as",))
        if self.how.is_time and self.unit not in TIME_UNITS_NS:
            raise wrong(
                f"a time is given in the unit that the metric names: {', '.join(TIME_UNITS_NS)}",
                at=("unit",),
            )
        if self.of == "workload" and not kind.of_workload:
            raise wrong(
                f"{self.sensor} can't tell whose requests they are: `of: machine`, perhaps with "
                "`device`",
                at=("of",),
            )
        if self.device and not kind.of_device:
            raise wrong(f"{self.sensor} has no devices", at=("device",))
        return self

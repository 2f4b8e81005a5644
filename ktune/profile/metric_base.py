"""What every metric of a profile has. The kinds are in `metrics.py` and `sensor_metric.py`."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

from pydantic import Field, model_validator

from ktune.profile.fields import Model, Number, Text, wrong


class MetricSource(StrEnum):
    """Where a metric's number comes from."""

    KEY_VALUE = "key_value"
    """A line `field=number` or `field: number` of the command's output (the last one counts)."""
    JSON = "json"
    """A dotted path into the JSON document that the command prints: `jobs.0.read.iops`."""
    DURATION = "duration"
    """Seconds that the command ran (monotonic clock)."""
    REGEX = "regex"
    """A number in the last line of the command's output that matches."""
    CSV = "csv"
    """A column of the table that the command prints."""
    PROMETHEUS_TEXT = "prometheus_text"
    """A series of the page in the Prometheus text format that the command prints."""
    PROC = "proc"
    """A field of a file of the service's processes, or of the machine, under /proc."""
    PSI = "psi"
    """Pressure stall information of the machine or of the service's cgroup."""
    CGROUP = "cgroup"
    """A field of a file of the service's cgroup."""
    PROMETHEUS = "prometheus"
    """A series of a Prometheus text page."""
    LOG = "log"
    """Lines appended to a log."""
    COMMAND = "command"
    """A number that a program prints, run once for each sample."""
    ENERGY = "energy"
    """Energy that the processors took (RAPL or hwmon)."""
    SENSOR = "sensor"
    """What the kernel did meanwhile, by a BPF program."""
    RATIO = "ratio"
    """One metric by another."""


class MetricBase(Model):
    """What every metric has: a unit, and the limits within which it is believed."""

    tags: ClassVar[frozenset[str]] = frozenset()
    """Names of the union's member that pydantic puts into the path of an error."""

    unit: Text = Field(
        default="",
        max_length=32,
        description="Unit, for people; a time or `.../s` also tells which direction is better.",
        examples=["1/s", "ms"],
    )
    plausible: tuple[Number, Number] = Field(
        description="Smallest and largest believable value; outside, the window is invalid.",
        examples=[[10, 200000]],
    )

    @model_validator(mode="after")
    def _ordered(self) -> MetricBase:
        low, high = self.plausible
        if low >= high:
            raise wrong(f"plausible: {low:g} is not below {high:g}", at=("plausible",))
        return self

"""Model of what is measured: services, the workload's command, what each window resets, metrics."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from ktune.profile.errors import did_you_mean, shown
from ktune.profile.fields import (
    AbsolutePath,
    Duration,
    LinkRate,
    Model,
    Name,
    Number,
    Size,
    Text,
    UniqueNames,
    Whole,
    wrong,
)


class LinkService(Model):
    """An emulated long network link between the two namespaces of an ephemeral scope."""

    kind: Literal["link"] = Field(
        description="An emulated network link with a round-trip time, a rate and a queue.",
        examples=["link"],
    )
    rtt: Duration = Field(
        description="Round-trip time of the link, both directions together.", examples=["20ms"]
    )
    rate: LinkRate = Field(
        default=None,
        description="Rate in each direction in decimal bits per second; `unlimited` sets none.",
        examples=["unlimited", "1Gbit"],
    )
    queue: Size = Field(
        default=16 * 1024**2,
        gt=0,
        description="Bytes that the link holds in each direction before it drops.",
        examples=["16M"],
    )
    mtu: Whole = Field(
        default=1500,
        ge=576,
        le=65535,
        description="Largest packet of the link in bytes.",
        examples=[1500],
    )


SERVICE_KINDS = ("link",)


def _known_kind(value: object) -> object:
    if not isinstance(value, dict):
        raise wrong("expected a mapping with `kind`")
    kind = value.get("kind")
    if kind not in SERVICE_KINDS:
        raise wrong(
            f"unknown kind of service {shown(kind)}; known: {', '.join(SERVICE_KINDS)}"
            + did_you_mean(str(kind), SERVICE_KINDS),
            at=("kind",),
        )
    return value


Service = Annotated[LinkService, BeforeValidator(_known_kind)]
"""One kind so far; more kinds make this a union discriminated by `kind`."""


class Renewal(StrEnum):
    """What a window makes anew, and so what may take effect within it."""

    NEW_SOCKET = "new_socket"
    NEW_OPEN = "new_open"
    NEW_PROCESS = "new_process"
    REMOUNT = "remount"


class DropPageCache(Model):
    """Drop the page cache of files (posix_fadvise), never of the whole machine."""

    drop_page_cache: AbsolutePath = Field(
        description="File, or folder whose files, are dropped from the page cache.",
        examples=["${state_dir}/data.bin"],
    )


class ResetCommand(Model):
    """Run a command before each window."""

    command: tuple[Text, ...] = Field(
        min_length=1,
        description="Program and arguments; no shell.",
        examples=[["rm", "-f", "/tmp/workload.db"]],
    )


class ResetWord(StrEnum):
    """Resets without an argument."""

    FLUSH_TCP_METRICS = "flush_tcp_metrics"
    """Forget what the kernel learned about destinations (tcp_metrics): it outlives sockets."""


_RESETS = "flush_tcp_metrics, {drop_page_cache: PATH}, {command: [...]}"


def _reset_tag(value: Any) -> str | None:
    if isinstance(value, DropPageCache | ResetCommand):
        return "command" if isinstance(value, ResetCommand) else "drop_page_cache"
    if isinstance(value, str):
        return "word" if value in set(ResetWord) else None
    if isinstance(value, dict) and len(value) == 1:
        return next((key for key in ("drop_page_cache", "command") if key in value), None)
    return None


def _known_reset(value: object) -> object:
    if _reset_tag(value) is None:
        near = did_you_mean(str(value), [word.value for word in ResetWord])
        raise wrong(f"unknown reset {shown(value)}{near} (known: {_RESETS})")
    return value


Reset = Annotated[
    Annotated[ResetWord, Tag("word")]
    | Annotated[DropPageCache, Tag("drop_page_cache")]
    | Annotated[ResetCommand, Tag("command")],
    Discriminator(_reset_tag),
    BeforeValidator(_known_reset),
]


class Amount(Model):
    """So many whole units of work (never a slice of time)."""

    count: Size = Field(
        ge=0, description="How many units; sizes such as 48M are allowed.", examples=[16000, "48M"]
    )
    unit: Name = Field(
        description="What is counted: bytes, transactions, requests.", examples=["transactions"]
    )


class MetricSource(StrEnum):
    """Where a metric's number comes from."""

    KEY_VALUE = "key_value"
    """A line `field=number` or `field: number` of the command's output (the last one counts)."""
    JSON = "json"
    """A dotted path into the JSON document that the command prints: `jobs.0.read.iops`."""
    DURATION = "duration"
    """Seconds that the command ran (monotonic clock)."""


class Metric(Model):
    """One number of a window, and the limits within which it is believed."""

    source: MetricSource = Field(
        alias="from",
        description="Where the number comes from.",
        examples=["key_value", "json"],
    )
    field: Text | None = Field(
        default=None,
        description="Name in the output (key_value) or dotted path (json); the metric's own "
        "name where it is not given.",
        examples=["throughput", "latency.p99"],
    )
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
    def _consistent(self) -> Metric:
        low, high = self.plausible
        if low >= high:
            raise wrong(f"plausible: {low:g} is not below {high:g}", at=("plausible",))
        if self.field is not None and self.source is MetricSource.DURATION:
            raise wrong(f"`from: {self.source.value}` takes no field", at=("field",))
        return self


class Workload(Model):
    """What one window runs."""

    command: tuple[Text, ...] = Field(
        min_length=1,
        description="Program and arguments; no shell. Must do a fixed amount of work and end.",
        examples=[["pgbench", "-n", "-c", "8", "-t", "2000", "bench"]],
    )
    user: Text | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*\$?$",
        description="Unprivileged user that runs it (needs root); where not given, the caller, and "
        "for root the user behind sudo, else nobody.",
        examples=["postgres"],
    )
    env: dict[str, Text] = Field(
        default_factory=dict,
        description="Environment variables set for the command.",
        examples=[{"LC_ALL": "C"}],
    )
    renews: Annotated[tuple[Renewal, ...], UniqueNames] = Field(
        default=(),
        description="What each window makes anew. A knob that takes effect only on what a "
        "window does not renew is refused.",
        examples=[["new_socket", "new_process"]],
    )
    reset: tuple[Reset, ...] = Field(
        default=(),
        description="Done before each window so that all start from the same state.",
        examples=[["flush_tcp_metrics", {"drop_page_cache": "/var/lib/data.bin"}]],
    )
    settle: Duration = Field(
        default=0.0,
        description="Wait between the writes and the window; a knob's own settle time (catalog) "
        "counts where it is longer.",
        examples=["2s"],
    )
    warm_up: Amount | None = Field(
        default=None,
        description="Work done first in each window that the command leaves out of its numbers; "
        "the command finds the count in KTUNE_WARM_UP.",
        examples=[{"count": 500, "unit": "transactions"}],
    )
    measure: Amount | None = Field(
        default=None,
        description="Work that a window measures: whole units, never a time slice; the command "
        "finds the count in KTUNE_MEASURE.",
        examples=[{"count": 16000, "unit": "transactions"}],
    )
    usual_time: Duration | None = Field(
        default=None,
        gt=0,
        description="About how long one run of the command takes; only `ktune plan` uses it, "
        "to say how long the whole will take.",
        examples=["6s"],
    )
    timeout: Duration = Field(
        default=60.0,
        gt=0,
        description="A window that runs longer is stopped and counts against its candidate.",
        examples=["90s"],
    )
    metrics: dict[Name, Metric] = Field(
        min_length=1,
        description="The numbers of a window, by name.",
        examples=[{"tps": {"from": "key_value", "unit": "1/s", "plausible": [10, 200000]}}],
    )

    @model_validator(mode="after")
    def _consistent(self) -> Workload:
        for name in self.env:
            if not name or "=" in name or "\0" in name:
                raise wrong(
                    f"{shown(name)} can't name an environment variable", at=("env", name), key=True
                )
        if any("\0" in word for word in self.command) or not self.command[0]:
            raise wrong("the command needs a program and can't hold a NUL", at=("command",))
        return self

"""Model of what is measured: services, the workload's command, what each window resets, metrics."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from ktune.profile.attach import Attach, MeasureTime
from ktune.profile.contexts import MAX_PHASES, MIN_PHASES, Phase
from ktune.profile.cpus import CpusOrOthers
from ktune.profile.errors import did_you_mean, shown
from ktune.profile.fields import (
    AbsolutePath,
    Duration,
    Model,
    Name,
    Size,
    Text,
    UniqueNames,
    wrong,
)
from ktune.profile.metrics import Metric, RatioMetric, SharedMetric
from ktune.profile.output_metrics import PrintedMetric
from ktune.profile.sensor_metric import SensorMetric


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


class ServiceAction(StrEnum):
    """What is done to a service before a window."""

    CHECKPOINT = "checkpoint"
    """Write everything back, so that no window pays for the one before."""
    RESTART = "restart"
    """End it in order and start it again, on the same data."""
    RESTORE = "restore"
    """End it, make its data anew from the template, start it."""


class ServiceReset(Model):
    """Bring a service of this profile to its starting state."""

    checkpoint: Name | None = Field(
        default=None, description="The service that makes a checkpoint.", examples=["db"]
    )
    restart: Name | None = Field(
        default=None, description="The service that is restarted.", examples=["db"]
    )
    restore: Name | None = Field(
        default=None,
        description="The service whose data is made anew from its template.",
        examples=["db"],
    )

    @property
    def action(self) -> ServiceAction:
        """What is done."""
        return next(action for action in ServiceAction if getattr(self, action.value) is not None)

    @property
    def service(self) -> str:
        """To which service."""
        return str(getattr(self, self.action.value))


class ResetWord(StrEnum):
    """Resets without an argument."""

    FLUSH_TCP_METRICS = "flush_tcp_metrics"
    """Forget what the kernel learned about destinations (tcp_metrics): it outlives sockets."""


_RESETS = (
    "flush_tcp_metrics, {drop_page_cache: PATH}, {command: [...]}, {checkpoint: SERVICE}, "
    "{restart: SERVICE}, {restore: SERVICE}"
)
_BY_KEY = {
    "drop_page_cache": "drop_page_cache",
    "command": "command",
    **{action.value: "service" for action in ServiceAction},
}


def _reset_tag(value: Any) -> str | None:
    if isinstance(value, DropPageCache | ResetCommand | ServiceReset):
        return next(tag for key, tag in _BY_KEY.items() if hasattr(value, key))
    if isinstance(value, str):
        return "word" if value in set(ResetWord) else None
    if isinstance(value, dict) and len(value) == 1:
        return next((tag for key, tag in _BY_KEY.items() if value.get(key) is not None), None)
    return None


def _known_reset(value: object) -> object:
    if _reset_tag(value) is None:
        near = did_you_mean(str(value), [word.value for word in ResetWord])
        if isinstance(value, dict) and len(value) == 1:
            near = did_you_mean(str(next(iter(value))), _BY_KEY)
        raise wrong(f"unknown reset {shown(value)}{near} (known: {_RESETS})")
    return value


Reset = Annotated[
    Annotated[ResetWord, Tag("word")]
    | Annotated[DropPageCache, Tag("drop_page_cache")]
    | Annotated[ResetCommand, Tag("command")]
    | Annotated[ServiceReset, Tag("service")],
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


def _measure_tag(value: Any) -> str:
    if isinstance(value, Amount | MeasureTime):
        return "an amount" if isinstance(value, Amount) else "a time"
    return "a time" if isinstance(value, dict) and "for" in value else "an amount"


Measure = Annotated[
    Annotated[Amount, Tag("an amount")] | Annotated[MeasureTime, Tag("a time")],
    Discriminator(_measure_tag),
]
"""How much a window measures: whole units of a command, a time of a service."""

_OF_COMMANDS = ("realtime", "env", "cpus", "reset", "warm_up", "usual_time", "timeout", "phases")
"""What says something about a command alone."""


class Workload(Model):
    """What one window runs, or the service that it watches."""

    command: tuple[Text, ...] = Field(
        default=(),
        min_length=1,
        description="Program and arguments; no shell. Must do a fixed amount of work and end.",
        examples=[["pgbench", "-n", "-c", "8", "-t", "2000", "bench"]],
    )
    attach: Attach | None = Field(
        default=None,
        description="A service that runs already, instead of a command.",
        examples=[{"unit": "redis-server.service"}],
    )
    user: Text | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*\$?$",
        description="Unprivileged user that runs it (needs root); where not given, the caller, and "
        "for root the user behind sudo, else nobody.",
        examples=["postgres"],
    )
    realtime: bool = Field(
        default=False,
        description="The command may take real-time priorities although its user is not root "
        "(CAP_SYS_NICE, and no other right; needs root).",
        examples=[True],
    )
    env: dict[str, Text] = Field(
        default_factory=dict,
        description="Environment variables set for the command.",
        examples=[{"LC_ALL": "C"}],
    )
    cpus: CpusOrOthers | None = Field(
        default=None,
        description="CPUs that the command may run on, as [1] or 0-3,8; `others`: those that no "
        "service has.",
        examples=[[1], "others"],
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
    measure: Measure | None = Field(
        default=None,
        description="Work that a window measures: whole units, never a time slice; the command "
        "finds the count in KTUNE_MEASURE. With `attach` a time: {for: 10s}.",
        examples=[{"count": 16000, "unit": "transactions"}, {"for": "10s"}],
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
    phases: dict[Name, Phase] | None = Field(
        default=None,
        min_length=MIN_PHASES,
        max_length=MAX_PHASES,
        description="What the workload does in turn: `ktune tune --contexts` finds settings for "
        "each. Everything else measures the command itself.",
        examples=[{"day": {"env": {"MIX": "oltp"}}, "night": {"env": {"MIX": "scan"}}}],
    )

    @model_validator(mode="after")
    def _consistent(self) -> Workload:
        for name in self.env:
            if not name or "=" in name or "\0" in name:
                raise wrong(
                    f"{shown(name)} can't name an environment variable", at=("env", name), key=True
                )
        self._check_ratios()
        if self.attach is None:
            self._check_command()
        else:
            self._check_attach()
        return self

    @property
    def watch_time(self) -> MeasureTime:
        """The window over an attached service. Raises ValueError for a command."""
        if not isinstance(self.measure, MeasureTime):
            raise ValueError("this workload is a command")
        return self.measure

    def _check_ratios(self) -> None:
        for name, metric in self.metrics.items():
            if not isinstance(metric, RatioMetric):
                continue
            for key in ("of", "per"):
                part = getattr(metric, key)
                if part not in self.metrics:
                    near = did_you_mean(part, self.metrics)
                    raise wrong(f"unknown metric {shown(part)}{near}", at=("metrics", name, key))
                if isinstance(self.metrics[part], RatioMetric):
                    raise wrong("a ratio of a ratio", at=("metrics", name, key))

    def _check_command(self) -> None:
        if not self.command:
            raise wrong("give a command to run, or attach to a service")
        if any("\0" in word for word in self.command) or not self.command[0]:
            raise wrong("the command needs a program and can't hold a NUL", at=("command",))
        if isinstance(self.measure, MeasureTime):
            raise wrong(
                "a command does whole units of work, never a slice of time: {count: ..., unit: "
                "...}; a time is for `attach`",
                at=("measure",),
            )
        for name, metric in self.metrics.items():
            if not isinstance(metric, PrintedMetric | SharedMetric):
                raise wrong(
                    f"`from: {metric.source.value}` is for a workload with `attach`",
                    at=("metrics", name, "from"),
                )

    def _check_attach(self) -> None:
        if self.command:
            raise wrong("give either a command or attach, not both", at=("attach",), key=True)
        for name in _OF_COMMANDS:
            if name in self.model_fields_set:
                raise wrong(
                    f"{name} is for a command: a service that runs is only watched",
                    at=(name,),
                    key=True,
                )
        if not isinstance(self.measure, MeasureTime):
            raise wrong(
                "a service that runs has no whole units: measure: {for: 10s}",
                at=("attach",) if self.measure is None else ("measure",),
                key=True,
            )
        for name, metric in self.metrics.items():
            if isinstance(metric, PrintedMetric):
                raise wrong(
                    f"`from: {metric.source.value}` reads a command's output; an attached "
                    "service has proc, psi, cgroup, prometheus, log or command",
                    at=("metrics", name, "from"),
                )
            if isinstance(metric, SensorMetric) and metric.of == "workload":
                self._check_owned(name)

    def _check_owned(self, name: str) -> None:
        """A sensor tells a service's work by its cgroup; that of a process is others' too."""
        if self.attach is not None and not (self.attach.unit or self.attach.cgroup):
            raise wrong(
                "`of: workload` needs a service that is named by its unit or cgroup",
                at=("metrics", name, "of"),
            )

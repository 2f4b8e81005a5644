"""Model of the guardrails: `safety:` of a profile."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Strict, model_validator

from ktune.profile.fields import (
    Duration,
    Flag,
    Model,
    OneOrMany,
    Percent,
    UniqueNames,
    Whole,
    wrong,
)
from ktune.profile.guards import DeviceKind, KillsOf, Trouble

_SHORTEST_WINDOW_S, _LONGEST_WINDOW_S = 0.5, 10.0
"""Of a PSI trigger (WINDOW_MIN_US, WINDOW_MAX_US in kernel/sched/psi.c)."""

DevicePattern = Annotated[str, Strict(), Field(pattern=r"^[A-Za-z0-9*?._!:-]{1,64}$")]


class Guard(Model):
    """What every guardrail has."""

    optional: Flag = Field(
        default=False,
        description="Go on without it where it can't be watched (else exit 4).",
        examples=[False],
    )


class PressureGuard(Guard):
    """Pressure stall information (Documentation/accounting/psi.rst): an average that stays high, or
    a stall within a short time, which the kernel tells at once."""

    resource: Literal["cpu", "memory", "io"] = Field(
        description="File under /proc/pressure.", examples=["memory"]
    )
    line: Literal["some", "full"] = Field(
        default="full", description="Some tasks stalled, or all of them.", examples=["full"]
    )
    avg10_above: Percent | None = Field(
        default=None,
        gt=0,
        le=1,
        description="Crossed when the share of time stalled, averaged over 10 s, is above this.",
        examples=["20%"],
    )
    lasting: Duration = Field(
        default=0.0,
        alias="for",
        description="... and stays above it for so long.",
        examples=["4s"],
    )
    stalled: Duration | None = Field(
        default=None,
        gt=0,
        description="Instead of avg10_above: crossed when so much time was stalled ...",
        examples=["200ms"],
    )
    within: Duration = Field(
        default=2.0,
        ge=_SHORTEST_WINDOW_S,
        le=_LONGEST_WINDOW_S,
        description="... within so long (500ms to 10s; without CAP_SYS_RESOURCE the kernel wakes "
        "us only for multiples of 2s, other times are polled).",
        examples=["2s"],
    )

    @model_validator(mode="after")
    def _one_limit(self) -> PressureGuard:
        if (self.avg10_above is None) == (self.stalled is None):
            raise wrong("give one of avg10_above (with for), stalled (with within)")
        if self.stalled is not None and "lasting" in self.model_fields_set:
            raise wrong("`for` belongs to avg10_above; stalled has `within`", at=("for",))
        if self.stalled is None and "within" in self.model_fields_set:
            raise wrong("`within` belongs to stalled; avg10_above has `for`", at=("within",))
        if self.stalled is not None and self.stalled > self.within:
            raise wrong("`stalled` can't be longer than `within`", at=("stalled",))
        if self.resource == "cpu" and self.line == "full":
            raise wrong(
                "`full` is always 0 for the CPU of a machine (psi.rst): write line: some",
                at=("line",) if "line" in self.model_fields_set else ("resource",),
            )
        return self


class OomGuard(Guard):
    """OOM kills during a window."""

    above: Whole = Field(
        default=0, ge=0, description="Crossed when there are more than these.", examples=[0]
    )
    of: KillsOf = Field(
        default=KillsOf.MACHINE,
        description="machine: for want of the machine's memory, or in the workload's cgroup; "
        "workload: in its cgroup only; any: other cgroups at their own limits too.",
        examples=["machine"],
    )


class KernelGuard(Guard):
    """Trouble that the kernel reports about itself: its log, and the bits of kernel.tainted."""

    of: Annotated[tuple[Trouble, ...], OneOrMany, UniqueNames] = Field(
        default=(
            Trouble.OOPS,
            Trouble.BUG,
            Trouble.WARNING,
            Trouble.LOCKUP,
            Trouble.HUNG_TASK,
            Trouble.RCU_STALL,
        ),
        min_length=1,
        description="Which lines of the kernel log count.",
        examples=[["oops", "bug", "lockup", "io_error"]],
    )
    taint: Flag = Field(
        default=True,
        description="Also new bits of kernel.tainted that mean trouble.",
        examples=[True],
    )


class DeviceGuard(Guard):
    """Error counters: SCSI, NVMe's PCI function, md, ext4, btrfs, network interfaces."""

    of: Annotated[tuple[DeviceKind, ...], OneOrMany, UniqueNames] = Field(
        default=(DeviceKind.DISK, DeviceKind.FILESYSTEM, DeviceKind.RAID),
        min_length=1,
        description="What is looked at.",
        examples=[["disk", "filesystem"]],
    )
    devices: Annotated[tuple[DevicePattern, ...], OneOrMany, UniqueNames] = Field(
        default=(),
        max_length=64,
        description="Only these names (`sd*`); all where not given.",
        examples=[["sda", "nvme*"]],
    )
    above: Whole = Field(
        default=0,
        ge=0,
        description="Crossed when one counter grows by more than this.",
        examples=[0],
    )


class HealthGuard(Guard):
    """`smartctl -H` (smartmontools): a disk that passed its own health check now fails it."""

    every: Duration = Field(
        default=600.0, ge=60, description="How often disks are asked.", examples=["10m"]
    )
    devices: Annotated[tuple[DevicePattern, ...], OneOrMany, UniqueNames] = Field(
        default=(),
        max_length=64,
        description="Only these names (`sd*`); all where not given.",
        examples=[["sda", "nvme*"]],
    )

"""What guardrails can look at, in the words of a profile. Standard library only."""

from __future__ import annotations

from enum import StrEnum


class Trouble(StrEnum):
    """What a line of the kernel log reports."""

    OOPS = "oops"
    BUG = "bug"
    WARNING = "warning"
    LOCKUP = "lockup"
    HUNG_TASK = "hung_task"
    RCU_STALL = "rcu_stall"
    HARDWARE = "hardware"
    IO_ERROR = "io_error"
    ALLOCATION = "allocation"


class KillsOf(StrEnum):
    """Which OOM kills count."""

    MACHINE = "machine"
    """For want of the machine's memory, and in the workload's cgroup for any reason."""
    WORKLOAD = "workload"
    """In the workload's cgroup."""
    ANY = "any"
    """Anywhere, for any reason."""


class DeviceKind(StrEnum):
    """What counts errors."""

    DISK = "disk"
    FILESYSTEM = "filesystem"
    RAID = "raid"
    NETWORK = "network"

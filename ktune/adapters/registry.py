"""Adapters by name. A tool's module is imported when a profile names it."""

from __future__ import annotations

import importlib
from enum import StrEnum

from ktune.adapters.model import Adapter


class ToolName(StrEnum):
    """`from:` of a metric that a load generator's own report gives."""

    FIO = "fio"
    PGBENCH = "pgbench"
    SYSBENCH = "sysbench"
    REDIS_BENCHMARK = "redis-benchmark"
    WRK = "wrk"
    IPERF3 = "iperf3"
    STRESS_NG = "stress-ng"
    HACKBENCH = "hackbench"
    CYCLICTEST = "cyclictest"
    KTUNE_LOAD = "ktune-load"


_MODULES = {name: f"ktune.adapters.{name.value.replace('-', '_')}" for name in ToolName}


def adapter(name: str) -> Adapter:
    """The adapter of that name. Raises ValueError."""
    found = importlib.import_module(_MODULES[ToolName(name)]).ADAPTER
    if not isinstance(found, Adapter):
        raise TypeError(f"{name} has no adapter")
    return found

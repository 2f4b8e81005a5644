"""Windows over a service, short."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ktune.measure.attach.source import AttachSource
from ktune.measure.attach.specs import (
    AttachSpec,
    LiveMetric,
    Origin,
    PrometheusSeries,
    Reduction,
    TargetKind,
    TargetSpec,
)
from ktune.measure.window import WindowResult
from ktune.profile.urls import parse_metrics_url
from tests.measure.helpers import nothing

ANYTHING = (-1e18, 1e18)


@dataclass(frozen=True)
class Service:
    """The process of tests/measure/attach/service.py."""

    pid: int
    port: int

    @property
    def target(self) -> TargetSpec:
        return TargetSpec(TargetKind.PID, str(self.pid))

    def series(self, name: str, page: str = "metrics", **more: Any) -> PrometheusSeries:
        url = parse_metrics_url(f"http://127.0.0.1:{self.port}/{page}")
        return PrometheusSeries(url, name, **more)


def metric(
    name: str, origin: Origin, how: Reduction | None = Reduction.RATE, **more: Any
) -> LiveMetric:
    return LiveMetric(name, origin, how, **{"plausible": ANYTHING, **more})


def spec(target: TargetSpec, *metrics: LiveMetric, **more: Any) -> AttachSpec:
    return AttachSpec(target, metrics, **{"for_s": 0.3, "every_s": 0.1, **more})


def watch(target: TargetSpec, *metrics: LiveMetric, **more: Any) -> WindowResult:
    """One window."""
    with AttachSource(spec(target, *metrics, **more)) as source:
        return source.run(nothing)

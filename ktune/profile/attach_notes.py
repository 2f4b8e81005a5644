"""What a plan says of an attached service: the profile's reader sees everything that it reaches."""

from __future__ import annotations

from collections.abc import Iterator

from ktune.profile.metrics import CommandMetric, LogMetric, PrometheusMetric
from ktune.profile.workload import Workload


def attach_notes(workload: Workload | None) -> Iterator[str]:
    """Lines for people; none for a command."""
    if workload is None or workload.attach is None:
        return
    window = workload.watch_time
    kind, name = next(iter(workload.attach.model_dump(exclude_none=True).items()))
    yield (
        f"watches {kind} {name} as it runs, {window.lasting:g} s a window: a time, not whole units "
        "of work, so only windows side by side compare"
    )
    reached = [_reached(metric) for metric in workload.metrics.values()]
    yield from dict.fromkeys(filter(None, reached))


def _reached(metric: object) -> str:
    match metric:
        case PrometheusMetric():
            return f"fetches {metric.url}"
        case LogMetric():
            return f"reads new lines of {metric.path}"
        case CommandMetric():
            return f"runs, once a sample and unprivileged: {' '.join(metric.command)}"
    return ""

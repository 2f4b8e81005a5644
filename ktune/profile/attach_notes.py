"""What a plan says of a service or of phases: the reader sees everything that they reach."""

from __future__ import annotations

from collections.abc import Iterator

from ktune.profile.metrics import CommandMetric, LogMetric, PrometheusMetric
from ktune.profile.workload import Workload


def attach_notes(workload: Workload | None) -> Iterator[str]:
    """Lines for people; none for a command without phases."""
    if workload is None:
        return
    for name, phase in (workload.phases or {}).items():
        words = [f"{key}={value}" for key, value in phase.env.items()]
        words += phase.command or workload.command
        yield f"phase {name} (tune --contexts) runs: {' '.join(words)}"
    if workload.attach is None:
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

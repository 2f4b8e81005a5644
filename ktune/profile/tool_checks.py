"""Metrics from load generators, held against what the tool can say; loops and traps for the plan.

Nothing is run: commands are looked at as the tool itself would read them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ktune.adapters.model import Adapter, Loop, Pace
from ktune.adapters.registry import adapter
from ktune.adapters.units import alike, dimension
from ktune.kernel.programs import WORKLOAD_PATH, is_there
from ktune.profile.errors import Problem, did_you_mean, shown
from ktune.profile.model import Profile
from ktune.profile.output_metrics import ToolMetric
from ktune.profile.workload import Amount, Workload

_SHOWN_FIELDS = 24


@dataclass(frozen=True)
class MetricLoop:
    """How the load of a latency metric was offered."""

    loop: Loop
    rate: str
    text: str


def tool_problems(profile: Profile) -> Iterator[Problem]:
    """Unknown fields, units of another dimension, commands whose output can't be read."""
    workload = profile.workload
    if workload is None:
        return
    for name, metric in _tool_metrics(workload):
        yield from _wrong_field(profile, name, metric)
    for tool, fields in _by_tool(workload).items():
        yield from _wrong_command(profile, workload, tool, fields)


def missing_tools(profile: Profile) -> Iterator[Problem]:
    """Load generators that this host does not have."""
    workload = profile.workload
    if workload is None:
        return
    path = workload.env.get("PATH", WORKLOAD_PATH)
    for tool in _by_tool(workload):
        for at, command in _commands(workload):
            program = (tool.argv_of(command) or ("",))[0]
            if program and not program.startswith("ktune-") and not is_there(program, path):
                yield Problem(
                    profile.where("workload", *at),
                    f"{program} is not installed here: apt-get install {tool.package}",
                )


def metric_loops(workload: Workload | None) -> dict[str, MetricLoop]:
    """By the name of each latency metric of a load generator, how its load is offered."""
    found: dict[str, MetricLoop] = {}
    for name, metric in _tool_metrics(workload) if workload else ():
        tool, spec = adapter(metric.source), metric.spec(name)
        if spec is not None and spec.latency:
            pace = _pace(tool, workload)
            if pace.text:
                found[name] = MetricLoop(pace.loop, pace.rate, pace.text)
    return found


def tool_notes(workload: Workload | None) -> Iterator[str]:
    """What a reader of the plan should know."""
    if workload is None:
        return
    by_text: dict[str, list[str]] = {}
    for name, loop in metric_loops(workload).items():
        by_text.setdefault(loop.text, []).append(name)
    for text, names in by_text.items():
        yield f"{', '.join(names)}: {text}"
    for tool in _by_tool(workload):
        for _, command in _commands(workload):
            argv = tool.argv_of(command)
            if argv is None:
                yield (
                    f"{tool.title} is not seen in the command {shown(' '.join(command[:4]))}: its "
                    "options are not checked, its loop is taken for closed"
                )
            else:
                yield from tool.notes(argv)


def _pace(tool: Adapter, workload: Workload | None) -> Pace:
    argv = tool.argv_of(workload.command) if workload else None
    return tool.pace(argv or (tool.programs[0],))


def _tool_metrics(workload: Workload) -> Iterator[tuple[str, ToolMetric]]:
    for name, metric in workload.metrics.items():
        if isinstance(metric, ToolMetric):
            yield name, metric


def _by_tool(workload: Workload) -> Mapping[Adapter, list[str]]:
    """The wanted fields that the tool knows, by its adapter."""
    found: dict[str, list[str]] = {}
    for name, metric in _tool_metrics(workload):
        fields = found.setdefault(metric.source, [])
        if metric.spec(name) is not None:
            fields.append(metric.field or name)
    return {adapter(tool): fields for tool, fields in found.items()}


def _commands(workload: Workload) -> Iterator[tuple[tuple[str | int, ...], tuple[str, ...]]]:
    """Every command that a run may use, with its place."""
    yield ("command",), workload.command
    for name, phase in (workload.phases or {}).items():
        if phase.command:
            yield ("phases", name, "command"), phase.command


def _wrong_field(profile: Profile, name: str, metric: ToolMetric) -> Iterator[Problem]:
    tool, field = adapter(metric.source), metric.field or name
    at = ("workload", "metrics", name)
    spec = metric.spec(name)
    if spec is None:
        known = tool.known()
        mark = profile.where(*at, "field") if metric.field else profile.where(*at)
        near, listed = did_you_mean(field, known), ", ".join(known[:_SHOWN_FIELDS])
        yield Problem(mark, f"{tool.title} has no field {shown(field)}{near} (known: {listed})")
        return
    if metric.unit and metric.unit not in alike(spec.unit):
        what = dimension(metric.unit)
        is_what = f"is {what}" if what else "is unknown here"
        allowed = ", ".join(unit for unit in alike(spec.unit) if unit) or "no unit"
        yield Problem(
            profile.where(*at, "unit"),
            f"{field} of {tool.title} is {dimension(spec.unit)} ({allowed}); {shown(metric.unit)} "
            f"{is_what}",
        )


def _wrong_command(
    profile: Profile, workload: Workload, tool: Adapter, fields: list[str]
) -> Iterator[Problem]:
    warm_up = workload.warm_up.count if isinstance(workload.warm_up, Amount) else 0
    if warm_up and not tool.cuts_warm_up:
        yield Problem(
            profile.where_key("workload", "warm_up"),
            f"{tool.title} has no units that ktune could leave out of its report: use its own "
            "options for a warm-up, or a reset that warms up",
        )
    for at, command in _commands(workload):
        argv = tool.argv_of(command)
        for problem in tool.problems(argv, fields, warm_up) if argv else ():
            yield Problem(profile.where("workload", *at), problem)

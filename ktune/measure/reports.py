"""Numbers out of what a command left, beyond its lines: reports of tools, patterns, pages.

A load generator's report is read by its adapter, here. A pattern can be made to run for ever, and a
page to cost any amount of memory, so both are handled by the child without rights that attached
services use (`attach/helper.py`): killed after 2 s, 512 MiB at most, and given no more than the
output's end (4 MiB).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ktune.adapters.folder import Folder
from ktune.adapters.model import AdapterError, ToolOutput
from ktune.adapters.registry import adapter
from ktune.adapters.units import converted
from ktune.measure.attach.helper_client import Helper
from ktune.measure.attach.specs import MissingData
from ktune.measure.job import Outcome
from ktune.measure.metrics import MetricError, number
from ktune.measure.specs import MetricSource, MetricSpec, WorkloadSpec
from ktune.measure.window import Poll

_WITHIN_S = 2.0


def tool_output(workload: WorkloadSpec, outcome: Outcome, tool: str) -> ToolOutput:
    """What a tool's adapter gets of a window."""
    argv = adapter(tool).argv_of(workload.argv) or workload.argv
    wanted = frozenset(metric.field for metric in workload.metrics if metric.tool == tool)
    folder = Folder(outcome.folder) if outcome.folder else None
    return ToolOutput(argv, outcome.stdout, outcome.stderr, folder, workload.warm_up, wanted)


def complaint(workload: WorkloadSpec, outcome: Outcome) -> str:
    """The error that a load generator itself reports; empty: none."""
    for tool in _tools(workload):
        said = adapter(tool).complaint(tool_output(workload, outcome, tool))
        if said:
            return said
    return ""


def tool_numbers(workload: WorkloadSpec, outcome: Outcome) -> dict[str, float]:
    """By metric what the reports of load generators say, in the metrics' units.

    Raises:
        MetricError: a report reports an error, or lacks a number.
    """
    if said := complaint(workload, outcome):
        raise MetricError(said)
    found: dict[str, float] = {}
    for tool in _tools(workload):
        try:
            numbers = adapter(tool).read(tool_output(workload, outcome, tool))
        except AdapterError as error:
            raise MetricError(str(error)) from None
        for metric in workload.metrics:
            if metric.tool == tool:
                said_number = numbers[metric.field]
                found[metric.name] = converted(said_number.value, said_number.unit, metric.unit)
    return found


def helped_numbers(
    metrics: Iterable[MetricSpec], stdout: str, helper: Helper, poll: Poll
) -> dict[str, float]:
    """By metric what patterns and pages give.

    Raises:
        MetricError: nothing matches, or what matches is no number.
        MissingData: the helper did not finish: no word about the candidate.
    """
    metrics = tuple(metrics)
    found = {
        metric.name: _matched(metric, stdout, helper, poll)
        for metric in metrics
        if metric.source is MetricSource.REGEX
    }
    pages = [metric for metric in metrics if metric.source is MetricSource.PAGE]
    if pages:
        names = list(dict.fromkeys(metric.field for metric in pages))
        answer = helper.ask(
            {"op": "page", "text": stdout, "names": names}, within_s=_WITHIN_S, poll=poll
        )
        if "bad_page" in answer:
            raise MetricError(f"the output is no page of metrics: {answer['bad_page']}")
        by_name = dict(zip(names, answer["series"], strict=True))
        found.update({metric.name: _of_page(metric, by_name[metric.field]) for metric in pages})
    return found


def needs_helper(metrics: Iterable[MetricSpec]) -> bool:
    """Whether any number needs the child."""
    return any(metric.source in (MetricSource.REGEX, MetricSource.PAGE) for metric in metrics)


def _tools(workload: WorkloadSpec) -> list[str]:
    return list(dict.fromkeys(metric.tool for metric in workload.metrics if metric.tool))


def _matched(metric: MetricSpec, stdout: str, helper: Helper, poll: Poll) -> float:
    request = {"op": "match", "pattern": metric.pattern, "lines": stdout.splitlines()}
    try:
        values = helper.ask(request, within_s=_WITHIN_S, poll=poll)["values"]
    except MissingData as missing:
        raise MissingData(f"metric {metric.name}: its pattern gave no result: {missing}") from None
    if not values:
        raise MetricError(f"metric {metric.name}: no line of the output matches its pattern")
    if values[-1] is None:
        raise MetricError(f"metric {metric.name}: the group `value` took no part in the last match")
    return number(metric, values[-1])


def _of_page(metric: MetricSpec, series: Mapping[str, object]) -> float:
    samples = series["samples"]
    assert isinstance(samples, list)
    wanted = dict(metric.labels).items()
    matching = [
        value
        for name, labels, value, _ in samples
        if name in (metric.field, f"{metric.field}_total") and wanted <= labels.items()
    ]
    if len(matching) != 1:
        said = "no series" if not matching else f"{len(matching)} series"
        with_labels = "".join(f" {key}={value}" for key, value in metric.labels)
        raise MetricError(
            f"metric {metric.name}: {said} {metric.field}{with_labels} in the output, not one"
        )
    return number(metric, str(matching[0]))

"""From the profile's model to the plain data that the measuring layer takes. Thin on purpose."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from ktune.errors import RefusedError, UsageError
from ktune.measure import child
from ktune.measure.sensing import SensorNumber, SensorSpec
from ktune.measure.specs import (
    DropPageCache,
    FlushTcpMetrics,
    LinkSpec,
    MetricSource,
    MetricSpec,
    Reset,
    ResetCommand,
    ServiceStep,
    TableNumber,
    WorkloadSpec,
)
from ktune.profile import workload as model
from ktune.profile.errors import did_you_mean
from ktune.profile.metrics import EnergyMetric, RatioMetric, SharedMetric
from ktune.profile.output_metrics import (
    CsvMetric,
    OutputMetric,
    PageMetric,
    PrintedMetric,
    RegexMetric,
    ToolMetric,
)
from ktune.profile.sensor_metric import TIME_UNITS_NS, SensorMetric
from ktune.profile.services.link import LinkService

_BUNDLED_PREFIX = "ktune-"
_WHOLE_REPORT = 4 << 20
"""Bytes of output that are kept where a metric needs all of it: fio reports a page a job."""
BUNDLED = {
    "ktune-transfer": "ktune.measure.workloads.transfer",
    "ktune-mmap-read": "ktune.measure.workloads.mmap_read",
    "ktune-scan-read": "ktune.measure.workloads.scan_read",
    "ktune-http-load": "ktune.measure.workloads.http_load",
    "ktune-resp-load": "ktune.measure.workloads.resp_load",
    "ktune-memcached-load": "ktune.measure.workloads.memcached_load",
    "ktune-memory-touch": "ktune.measure.workloads.memory_touch",
    "ktune-pointer-chase": "ktune.measure.workloads.pointer_chase",
    "ktune-small-files": "ktune.measure.workloads.small_files",
    "ktune-log-append": "ktune.measure.workloads.log_append",
    "ktune-cold-memory": "ktune.measure.workloads.cold_memory",
    "ktune-overwrite": "ktune.measure.workloads.overwrite",
    "ktune-compile": "ktune.measure.workloads.compile_c",
}
"""Program names that stand for our own load generators, wherever ktune is installed."""
INSTALLED = {"ktune-inference": ("ktune.measure.workloads.inference", "onnxruntime", "inference")}
"""... that need a package: the module, the package, ktune's extra. An interpreter runs each window,
since the process that forks the bundled ones knows nothing but the standard library."""


def workload_spec(workload: model.Workload, *, cpus: tuple[int, ...] = ()) -> WorkloadSpec:
    """The workload of a profile, on these CPUs (none: anywhere).

    Raises UsageError for an unknown bundled program, RefusedError for one whose package is missing.
    """
    program, *arguments = workload.command
    bundled, command = BUNDLED.get(program), workload.command
    if program in INSTALLED:
        command = _installed(program, arguments)
    elif bundled is None and program.startswith(_BUNDLED_PREFIX):
        known = [*BUNDLED, *INSTALLED]
        raise UsageError(
            f"no bundled workload {program}{did_you_mean(program, known)}",
            hint=f"bundled: {', '.join(known)}",
        )
    return WorkloadSpec(
        argv=tuple(arguments) if bundled else command,
        metrics=tuple(
            _metric(name, metric)
            for name, metric in workload.metrics.items()
            if isinstance(metric, PrintedMetric | SharedMetric)
        ),
        bundled=bundled,
        user=workload.user,
        resets=tuple(_reset(reset) for reset in workload.reset),
        settle_s=workload.settle,
        timeout_s=workload.timeout,
        environment=(*_amounts(workload), *workload.env.items()),
        cpus=cpus,
        output_limit=_output_limit(workload),
        warm_up=workload.warm_up.count if workload.warm_up else 0,
        realtime=workload.realtime,
    )


def _installed(program: str, arguments: Sequence[str]) -> tuple[str, ...]:
    module, package, extra = INSTALLED[program]
    if find_spec(package) is None:
        raise RefusedError(
            f"{program} needs {package}, which is not installed here",
            hint=f"pip install 'ktune[{extra}]'",
        )
    return tuple(child.program(module, *arguments, site=True))


def link_spec(service: LinkService) -> LinkSpec:
    """An emulated link of a profile."""
    return LinkSpec(
        rtt_s=service.rtt,
        rate_bit_s=float(service.rate or 0),
        queue_bytes=service.queue,
        mtu=service.mtu,
    )


def sensor_number(metric: SensorMetric) -> SensorNumber:
    """What a sensor is asked for."""
    spec = SensorSpec(metric.sensor, metric.of == "workload", metric.device)
    return SensorNumber(spec, metric.how, TIME_UNITS_NS.get(metric.unit, 1.0))


def _metric(name: str, metric: PrintedMetric | SharedMetric) -> MetricSpec:
    if isinstance(metric, SensorMetric):
        number = sensor_number(metric)
        kind = MetricSource.SENSOR
        return MetricSpec(name, kind, "", metric.unit, metric.plausible, number)
    if isinstance(metric, EnergyMetric):
        energy = MetricSource.ENERGY if metric.how == "total" else MetricSource.POWER
        return MetricSpec(name, energy, metric.counter, metric.unit, metric.plausible)
    if isinstance(metric, RatioMetric):
        parts = f"{metric.of}/{metric.per}"
        return MetricSpec(name, MetricSource.RATIO, parts, metric.unit, metric.plausible)
    if isinstance(metric, OutputMetric):
        source = MetricSource(metric.source.value)
        return MetricSpec(name, source, metric.field or name, metric.unit, metric.plausible)
    return _of_report(name, metric)


def _of_report(name: str, metric: ToolMetric | RegexMetric | CsvMetric | PageMetric) -> MetricSpec:
    unit, plausible = metric.unit, metric.plausible
    match metric:
        case ToolMetric():
            spec = metric.spec(name)
            unit = unit or (spec.unit if spec else "")
            field = metric.field or name
            return MetricSpec(
                name, MetricSource.TOOL, field, unit, plausible, tool=metric.source.value
            )
        case RegexMetric():
            return MetricSpec(name, MetricSource.REGEX, "", unit, plausible, pattern=metric.pattern)
        case CsvMetric():
            where = tuple(metric.where.items())
            table = TableNumber(metric.column, where, metric.how, metric.header, metric.separator)
            return MetricSpec(name, MetricSource.CSV, "", unit, plausible, table=table)
        case PageMetric():
            labels = tuple(sorted(metric.labels.items()))
            return MetricSpec(name, MetricSource.PAGE, metric.name, unit, plausible, labels=labels)


def _output_limit(workload: model.Workload) -> int:
    whole = any(
        isinstance(metric, PrintedMetric) and not isinstance(metric, OutputMetric)
        for metric in workload.metrics.values()
    )
    return _WHOLE_REPORT if whole else WorkloadSpec.output_limit


def _reset(reset: model.Reset) -> Reset:
    match reset:
        case model.ResetWord.FLUSH_TCP_METRICS:
            return FlushTcpMetrics()
        case model.DropPageCache(drop_page_cache=path):
            return DropPageCache((path,))
        case model.ResetCommand(command=command):
            return ResetCommand(command)
        case model.ServiceReset():
            return ServiceStep(reset.action.value, reset.service)
    raise UsageError(f"unknown reset {reset!r}")


def _amounts(workload: model.Workload) -> list[tuple[str, str]]:
    """What the profile says about amounts, for commands that would rather not repeat it."""
    amounts = {"KTUNE_WARM_UP": workload.warm_up, "KTUNE_MEASURE": workload.measure}
    return [
        (name, str(amount.count))
        for name, amount in amounts.items()
        if isinstance(amount, model.Amount)
    ]

"""From the profile's model of an attached service to what is watched. Thin on purpose."""

from __future__ import annotations

from ktune.measure.attach.specs import (
    AttachSpec,
    CgroupField,
    Energy,
    LiveMetric,
    LogLines,
    Origin,
    PressureShare,
    PrintedNumber,
    ProcField,
    PrometheusSeries,
    Ratio,
    Reduction,
    TargetKind,
    TargetSpec,
)
from ktune.measure.from_profile import sensor_number
from ktune.profile import metrics as model
from ktune.profile.attach import Attach
from ktune.profile.output_metrics import PrintedMetric
from ktune.profile.sensor_metric import SensorMetric
from ktune.profile.urls import parse_metrics_url
from ktune.profile.workload import Workload

_REDUCTIONS = {"mean": Reduction.VALUE}
"""Words of a profile that mean what another does."""

_OWN_REDUCTION = (model.PsiMetric, model.RatioMetric, SensorMetric)
"""Metrics whose origin says what becomes of the samples."""


def attach_spec(workload: Workload) -> AttachSpec:
    """The watched service of a profile. Raises ValueError for a workload that is a command."""
    if workload.attach is None:
        raise ValueError("this workload is a command")
    window = workload.watch_time
    return AttachSpec(
        target=_target(workload.attach),
        metrics=tuple(
            _metric(name, metric)
            for name, metric in workload.metrics.items()
            if not isinstance(metric, PrintedMetric)
        ),
        for_s=window.lasting,
        every_s=min(window.every, window.lasting),
        settle_s=workload.settle,
        user=workload.user,
    )


def _target(attach: Attach) -> TargetSpec:
    named = ((kind, getattr(attach, kind.value)) for kind in TargetKind)
    return next(TargetSpec(kind, str(name)) for kind, name in named if name is not None)


def _metric(name: str, metric: model.LiveMetric | model.SharedMetric) -> LiveMetric:
    how: Reduction | None = None
    if isinstance(metric, model.EnergyMetric):
        how = Reduction(metric.how)
    elif not isinstance(metric, _OWN_REDUCTION) and metric.how is not None:
        how = _REDUCTIONS.get(metric.how.value) or Reduction(metric.how.value)
    return LiveMetric(name, _origin(name, metric), how, metric.unit, metric.plausible)


def _origin(name: str, metric: model.LiveMetric | model.SharedMetric) -> Origin:
    match metric:
        case model.EnergyMetric():
            return Energy(metric.counter)
        case model.RatioMetric():
            return Ratio(metric.of, metric.per)
        case SensorMetric():
            return sensor_number(metric)
        case model.ProcMetric():
            return ProcField(metric.file, metric.field)
        case model.PsiMetric():
            return PressureShare(metric.resource, metric.line, metric.of == "service")
        case model.CgroupMetric():
            return CgroupField(metric.file, metric.field or "")
        case model.PrometheusMetric():
            labels = tuple(sorted(metric.labels.items()))
            url = parse_metrics_url(metric.url)
            return PrometheusSeries(url, metric.name, labels, metric.quantile)
        case model.LogMetric():
            return LogLines(metric.path, metric.pattern)
        case model.CommandMetric():
            as_json = metric.format == "json"
            return PrintedNumber(metric.command, as_json, metric.field or name, metric.timeout)

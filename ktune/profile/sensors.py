"""Whether this host has the sensors that a profile's metrics need: each is loaded for a moment."""

from __future__ import annotations

import os
from collections.abc import Iterator

from ktune.kernel.bpf.library import BpfError
from ktune.kernel.bpf.sensors import SensorName, open_sensor
from ktune.kernel.cgroup2 import cgroup2_root
from ktune.profile.errors import Problem
from ktune.profile.model import Profile
from ktune.profile.sensor_metric import SensorMetric


def without_sensors(profile: Profile) -> Iterator[Problem]:
    """Metrics that can't be had here, by name."""
    tried: dict[tuple[SensorName, bool], str] = {}
    for name, metric in _sensor_metrics(profile):
        key = (metric.sensor, metric.of == "workload")
        if key not in tried:
            tried[key] = _why_not(*key)
        reason = tried[key] or _no_device(metric.device)
        if reason:
            yield Problem(
                profile.where("workload", "metrics", name, "from"),
                f"{name} needs the sensor {metric.sensor}, which this host does not have: {reason}",
            )


def sensor_notes(profile: Profile) -> Iterator[str]:
    """What a plan says of sensors, for people. Raises nothing: those that are missing are
    refused before."""
    metrics = dict(_sensor_metrics(profile))
    if not metrics:
        return
    yield (
        f"{', '.join(metrics)}: by BPF programs in the kernel while a window is measured; they "
        "need root and read, but change nothing"
    )
    for sensor in dict.fromkeys(metric.sensor for metric in metrics.values()):
        try:
            with open_sensor(sensor) as opened:
                if opened.note:
                    yield f"sensor {sensor}: {opened.note}"
        except BpfError as error:
            yield f"sensor {sensor}: {error.why}"


def _sensor_metrics(profile: Profile) -> Iterator[tuple[str, SensorMetric]]:
    for name, metric in profile.workload.metrics.items() if profile.workload else ():
        if isinstance(metric, SensorMetric):
            yield name, metric


def _why_not(sensor: SensorName, of_workload: bool) -> str:
    if of_workload and cgroup2_root() is None:
        return "`of: workload` needs cgroup version 2, which is not mounted"
    try:
        open_sensor(sensor, of_workload=of_workload).close()
    except BpfError as error:
        return error.why
    return ""


def _no_device(device: str) -> str:
    if device and not os.path.exists(f"/sys/block/{device}"):
        return f"there is no disk {device}"
    return ""

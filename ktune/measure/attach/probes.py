"""One look at a kernel file for one metric. Thin: paths here, meaning in `fields` and `observe`."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from ktune.errors import RefusedError
from ktune.measure.attach.fields import (
    NoSuchField,
    cgroup_field,
    pressure_total_s,
    proc_field,
    start_ticks,
)
from ktune.measure.attach.files import read_kernel_file
from ktune.measure.attach.observe import Counted, Level, Observation
from ktune.measure.attach.specs import (
    CgroupField,
    LiveMetric,
    MissingData,
    PressureShare,
    ProcField,
    Reduction,
)
from ktune.measure.attach.target import ServiceProcess, Target

_OF_PROCESSES = frozenset({"io", "stat", "status", "schedstat"})


def look_at_kernel(
    metric: LiveMetric, target: Target, processes: Sequence[ServiceProcess]
) -> Observation:
    """Raises MissingData; RefusedError where this kernel or the profile never will give it."""
    try:
        match metric.origin:
            case ProcField(file, field):
                return _proc(metric, file, field, processes)
            case PressureShare():
                return _pressure(metric.origin, target, processes[0])
            case CgroupField(file, field):
                folder = target.folder_with(file, processes[0])
                text = read_kernel_file(os.path.join(folder, file))
                return _single(metric, cgroup_field(text, field))
    except NoSuchField as error:
        raise RefusedError(
            f"metric {metric.name}: {error}", hint="see `metrics:` in the profile"
        ) from None
    except PermissionError as error:
        raise RefusedError(
            f"metric {metric.name}: {error.filename} may not be read by this user",
            hint="run it as root, or as the service's user",
        ) from error
    except OSError as error:
        raise MissingData(f"{error.filename}: {error.strerror}") from error
    raise AssertionError(metric.origin)


def _proc(
    metric: LiveMetric, file: str, field: str, processes: Sequence[ServiceProcess]
) -> Observation:
    if file not in _OF_PROCESSES:
        # net/ is the namespace of the service, whatever ours is
        path = f"/proc/{processes[0].pid}/{file}" if file.startswith("net/") else f"/proc/{file}"
        return _single(metric, proc_field(file, field, read_kernel_file(path)))
    values: dict[str, float] = {}
    for process in processes:
        text = _of_process(process, file)
        if text is not None:
            values[process.key] = proc_field(file, field, text)
    if not values:
        raise MissingData("every process of the service ended")
    now_s = time.monotonic()
    if metric.how is Reduction.VALUE:
        return Level(now_s, sum(values.values()))
    return Counted(now_s, values, may_end=True)


def _of_process(process: ServiceProcess, file: str) -> str | None:
    """None when it is gone. Through one descriptor of its folder: its number may be used again."""
    try:
        folder = os.open(f"/proc/{process.pid}", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        if start_ticks(read_kernel_file("stat", dir_fd=folder)) != process.start_ticks:
            return None
        return read_kernel_file(file, dir_fd=folder)
    except (FileNotFoundError, ProcessLookupError):
        return None
    finally:
        os.close(folder)


def _pressure(origin: PressureShare, target: Target, main: ServiceProcess) -> Observation:
    if origin.of_service:
        file = f"{origin.resource}.pressure"
        path = os.path.join(target.folder_with(file, main), file)
    else:
        path = f"/proc/pressure/{origin.resource}"
    stalled_s = pressure_total_s(read_kernel_file(path), origin.line)
    return Counted(time.monotonic(), {"stalled": stalled_s})


def _single(metric: LiveMetric, value: float) -> Observation:
    now_s = time.monotonic()
    if metric.how is Reduction.VALUE:
        return Level(now_s, value)
    return Counted(now_s, {"": value})

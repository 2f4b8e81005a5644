"""fio's JSON report (`--output-format=json`), fio 3 or newer.

fio(1), "Output Interpretation": `lat` counts from when fio makes a request to its end, `clat` from
its submission. Percentiles of `lat` exist only with `--lat_percentiles=1`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from ktune.adapters.model import (
    Adapter,
    AdapterError,
    Better,
    FieldSpec,
    Loop,
    Number,
    Pace,
    Percentiles,
    ToolOutput,
)
from ktune.adapters.options import has, number_of, per_second, value_of

_DIRECTIONS = ("mixed", "read", "write", "trim")
_PARTS = ("read", "write", "trim", "sync")
_ASYNC = frozenset({"libaio", "io_uring", "io_uring_cmd", "posixaio"})
_LAT, _CLAT = "latency_p", "clat_p"
_FIELDS = {
    "iops": FieldSpec("1/s", Better.MORE, "requests per second"),
    "bandwidth": FieldSpec("B/s", Better.MORE, "bytes per second"),
    "bytes": FieldSpec("B", Better.NEITHER, "bytes done"),
    "ios": FieldSpec("", Better.NEITHER, "requests done"),
    "runtime": FieldSpec("ms", Better.LESS, "time that the longest job took"),
    "latency_min": FieldSpec("ns", Better.LESS, "shortest latency of a request", True),
    "latency_mean": FieldSpec("ns", Better.LESS, "mean latency of a request", True),
    "latency_stddev": FieldSpec("ns", Better.LESS, "its standard deviation (one job)", True),
    "latency_max": FieldSpec("ns", Better.LESS, "longest latency of a request", True),
}
_LATENCIES = {
    "latency_min": "min",
    "latency_mean": "mean",
    "latency_stddev": "stddev",
    "latency_max": "max",
}
_COUNTS = {"iops": "iops", "bandwidth": "bw_bytes", "bytes": "io_bytes", "ios": "total_ios"}
_PERCENTILES = (
    Percentiles(_LAT, "ns", "latency of a request"),
    Percentiles(_CLAT, "ns", "latency from submission"),
)

Side = Mapping[str, Any]
"""One direction of one job, as fio reports it."""


def read(output: ToolOutput) -> dict[str, Number]:
    """The wanted fields. Raises AdapterError."""
    report = _report(output.stdout)
    return {
        name: Number(_value(report, name), ADAPTER.fields.get(_bare(name), _ANY).unit)
        for name in output.wanted
    }


_ANY = FieldSpec("ns", Better.LESS, "a percentile")


def complaint(output: ToolOutput) -> str:
    """A job's error, which fio may report with exit code 0 (`continue_on_error`)."""
    try:
        report = _report(output.stdout)
    except AdapterError:
        return ""
    for job in report["jobs"]:
        name = str(job.get("jobname", "?"))[:40]
        for code in (job.get("error", 0), job.get("first_error", 0)):
            if isinstance(code, int) and code:
                count = job.get("total_err", 0)
                times = f" ({count} in total)" if isinstance(count, int) and count > 1 else ""
                return f"fio: job {name} failed{times}: {os.strerror(abs(code))} (error {code})"
    return ""


def _report(stdout: str) -> dict[str, Any]:
    """fio prints notes before the document, and with `json,normal` a text behind it."""
    start = 0 if stdout.startswith("{") else stdout.find("\n{") + 1
    if not stdout.startswith("{", start):
        said = stdout.strip().splitlines()
        begins = f" (it begins with {said[0][:60]!r})" if said else ""
        raise AdapterError(f"fio printed no JSON report{begins}: add --output-format=json")
    try:
        report, _ = json.JSONDecoder().raw_decode(stdout, start)
    except (ValueError, RecursionError) as error:
        raise AdapterError(f"fio's JSON report is damaged: {error}") from None
    jobs = report.get("jobs")
    if not isinstance(jobs, list) or not jobs or not all(isinstance(job, dict) for job in jobs):
        raise AdapterError("fio's report has no jobs: it measured nothing")
    return dict(report)


def _bare(name: str) -> str:
    part, dot, rest = name.partition(".")
    return rest if dot and part in _PARTS else name


def _value(report: Mapping[str, Any], name: str) -> float:
    bare = _bare(name)
    part = name.removesuffix(bare).rstrip(".")
    if bare == "runtime":
        return max(_number(job, "job_runtime", name) for job in report["jobs"])
    sides = [side for job in report["jobs"] for side in _sides(job, part)]
    if not sides:
        raise AdapterError(f"fio's report has no {part or 'request'}s, which {name} is about")
    if bare in _COUNTS:
        return sum(_number(side, _COUNTS[bare], name) for side in sides)
    if bare in _LATENCIES:
        return _latency(report, sides, bare, name)
    return _percentile(report, sides, bare, name)


def _sides(job: Mapping[str, Any], part: str) -> Iterator[Side]:
    for key in (part,) if part else _DIRECTIONS:
        side = job.get(key)
        if key == "sync" and isinstance(side, dict) and isinstance(side.get("lat_ns"), dict):
            # fio 3.33 counts no fdatasync(2) in total_ios, though it measures each.
            side = {**side, "total_ios": side["lat_ns"].get("N")}
        if isinstance(side, dict) and side.get("total_ios"):
            yield side


def _latency(report: Mapping[str, Any], sides: Sequence[Side], bare: str, name: str) -> float:
    all_of = [_times(report, side, "lat_ns", name) for side in sides]
    values = [_number(times, _LATENCIES[bare], name) for times in all_of]
    if bare == "latency_mean":
        weights = [_number(times, "N", name) for times in all_of]
        if sum(weights) <= 0:
            raise AdapterError(f"fio measured no latencies, which {name} is about")
        pairs = zip(values, weights, strict=True)
        return sum(value * weight for value, weight in pairs) / sum(weights)
    if bare == "latency_stddev":
        if len(values) > 1:
            raise AdapterError(_several(name, len(values)))
        return values[0]
    return min(values) if bare == "latency_min" else max(values)


def _percentile(report: Mapping[str, Any], sides: Sequence[Side], bare: str, name: str) -> float:
    if len(sides) > 1:
        raise AdapterError(_several(name, len(sides)))
    key = "clat_ns" if bare.startswith(_CLAT) else "lat_ns"
    family = next(item for item in _PERCENTILES if bare.startswith(item.prefix))
    level = family.level(bare)
    found = _times(report, sides[0], key, name).get("percentile")
    if not isinstance(found, dict):
        wanted = "lat" if key == "lat_ns" else "clat"
        raise AdapterError(
            f"fio reports no such percentiles: {name} needs --{wanted}_percentiles=1"
        )
    value = found.get(f"{level:.6f}")
    if value is None:
        raise AdapterError(f"fio reports no percentile {level:g}: add --percentile_list={level:g}")
    return float(value)


def _times(report: Mapping[str, Any], side: Side, key: str, name: str) -> Mapping[str, Any]:
    times = side.get(key)
    if not isinstance(times, dict):
        version = str(report.get("fio version", "unknown"))[:20]
        raise AdapterError(f"{name} needs {key}, which fio 3 or newer reports; this is {version}")
    return times


def _number(times: Mapping[str, Any], key: str, name: str) -> float:
    value = times.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise AdapterError(f"fio's report has no number {key}, which {name} needs")
    return float(value)


def _several(name: str, count: int) -> str:
    return (
        f"{name} can't be put together from {count} parts of a report: add --group_reporting, and "
        "for reads beside writes --unified_rw_reporting=1 or a field such as read.latency_p99"
    )


def pace(argv: Sequence[str]) -> Pace:
    """By the options; those of a job file are not seen."""
    iops = number_of(argv, "--rate_iops")
    data = value_of(argv, "--rate")
    rate = per_second(iops) if iops else f"{data}B/s" if data else ""
    engine = (value_of(argv, "--ioengine") or "psync").partition(":")[0]
    deep = (number_of(argv, "--iodepth") or 1) > 1
    return Pace(Loop.OPEN if rate and deep and engine in _ASYNC else Loop.CLOSED, rate)


def problems(argv: Sequence[str], wanted: Collection[str], _warm_up: int) -> Iterator[str]:
    """Options without which the report can't be read."""
    formats = [word.strip() for word in (value_of(argv, "--output-format") or "").split(",")]
    if not {"json", "json+"} & set(formats):
        yield "fio must report by JSON: add --output-format=json"
    if value_of(argv, "--output") is not None:
        yield "fio must print its report: leave out --output"
    if value_of(argv, "--status-interval") is not None:
        yield "fio must print one report: leave out --status-interval"
    names = [_bare(name) for name in wanted]
    of_lat = any(name.startswith(_LAT) for name in names) and not _files(argv)
    if of_lat and (value_of(argv, "--lat_percentiles") or "0") == "0":
        yield "latency_p... needs --lat_percentiles=1 (clat_p..., from submission on, does not)"


def notes(argv: Sequence[str]) -> Iterator[str]:
    """What ends by time, and what can't be seen."""
    if has(argv, "--time_based") or value_of(argv, "--runtime") is not None:
        yield "fio ends by time (--runtime, --time_based): its windows do different amounts of work"
    if _files(argv):
        yield f"the options in {', '.join(_files(argv))} are not seen: the loop is taken for closed"


def _files(argv: Sequence[str]) -> list[str]:
    return [word for word in argv[1:] if word.endswith((".fio", ".job", ".ini"))]


ADAPTER = Adapter(
    name="fio",
    title="fio",
    programs=("fio",),
    package="fio",
    fields=_FIELDS,
    percentiles=_PERCENTILES,
    parts=_PARTS,
    read=read,
    complaint=complaint,
    pace=pace,
    problems=problems,
    notes=notes,
)

"""cyclictest's summary (`--quiet`) and histogram (`--histogram=US`), rt-tests 1.0 or newer.

A thread is to wake at fixed times; its latency is how much later it does. The histogram counts
whole microseconds (nanoseconds with `--nsecs`); what lies beyond its last one is only counted.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence

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

_FLAGS = "FMmNnqRSuVv"
_FIELDS = {
    "latency_min": FieldSpec("us", Better.LESS, "earliest wake-up after its time", True),
    "latency_mean": FieldSpec("us", Better.LESS, "mean time from when a thread was due", True),
    "latency_max": FieldSpec("us", Better.LESS, "latest wake-up after its time", True),
    "cycles": FieldSpec("", Better.NEITHER, "wake-ups of all threads"),
}
_PERCENTILES = Percentiles("latency_p", "us", "time from when a thread was due, by the histogram")
_THREAD = re.compile(
    r"^T: *[0-9]+ .*C: *(?P<cycles>[0-9]+) Min: *(?P<low>-?[0-9]+) Act: *-?[0-9]+ "
    r"Avg: *(?P<mean>-?[0-9]+) Max: *(?P<high>-?[0-9]+)",
    re.M,
)
_BUCKET = re.compile(r"^([0-9]{6,})((?:[ \t][0-9]{6,})+)$", re.M)
_OVERFLOWS = re.compile(r"^# Histogram Overflows:((?: [0-9]+)+)$", re.M)
_SUMMARY = re.compile(r"^# (?P<what>Min|Avg|Max) Latencies:(?P<values>(?: [0-9]+)+)$", re.M)
_TOTAL = re.compile(r"^# Total:((?: [0-9]+)+)$", re.M)
_USUAL_INTERVAL_US = 1000


def read(output: ToolOutput) -> dict[str, Number]:
    """The wanted fields. Raises AdapterError."""
    unit = "ns" if has(output.argv, "--nsecs", "-N", bundled=_FLAGS) else "us"
    found = {}
    for name in output.wanted:
        level = _PERCENTILES.level(name)
        value = _summary(output.stdout, name) if level is None else _level(output.stdout, level)
        found[name] = Number(value, unit if name != "cycles" else "")
    return found


def complaint(output: ToolOutput) -> str:
    """What it says of missing rights and full machines; it may go on without real-time priority."""
    for line in (*output.stderr.splitlines(), *output.stdout.splitlines()):
        if line.startswith(("ERROR: ", "FATAL: ")) or "Unable to change scheduling policy" in line:
            return f"cyclictest: {line.strip()[:200]}"
    return ""


def _summary(text: str, name: str) -> float:
    threads = [
        (int(item["cycles"]), int(item["low"]), int(item["mean"]), int(item["high"]))
        for item in _THREAD.finditer(text)
    ] or _threads_of_histogram(text)
    cycles = sum(item[0] for item in threads)
    if not cycles:
        begins = text.strip().partition("\n")[0][:60]
        raise AdapterError(f"cyclictest printed no cycles (it begins with {begins!r})")
    match name:
        case "latency_min":
            return min(item[1] for item in threads)
        case "latency_max":
            return max(item[3] for item in threads)
        case "latency_mean":
            return sum(item[0] * item[2] for item in threads) / cycles
    return cycles


def _threads_of_histogram(text: str) -> list[tuple[int, int, int, int]]:
    """With a histogram the summary comes behind it, a column a thread; its total leaves out what
    lies beyond the histogram."""
    columns = {item["what"]: item["values"].split() for item in _SUMMARY.finditer(text)}
    total, beyond = _TOTAL.search(text), _OVERFLOWS.search(text)
    if total is None or beyond is None or set(columns) != {"Min", "Avg", "Max"}:
        return []
    rows = (total[1].split(), beyond[1].split(), columns["Min"], columns["Avg"], columns["Max"])
    return [
        (int(counted) + int(over), int(low), int(mean), int(high))
        for counted, over, low, mean, high in zip(*rows, strict=False)
    ]


def _level(text: str, level: float) -> float:
    buckets = [
        (int(row[1]), sum(int(count) for count in row[2].split())) for row in _BUCKET.finditer(text)
    ]
    overflows = _OVERFLOWS.search(text)
    if not buckets or overflows is None:
        raise AdapterError(f"percentile {level:g} needs cyclictest --histogram=US")
    beyond = sum(int(count) for count in overflows[1].split())
    total = sum(count for _, count in buckets) + beyond
    wanted = total * level / 100
    if total * (100 - level) < 100:
        raise AdapterError(f"{total} cycles are too few for percentile {level:g}")
    seen = 0
    for value, count in buckets:
        seen += count
        if seen >= wanted:
            return value
    raise AdapterError(
        f"percentile {level:g} lies beyond the histogram's end: {beyond} of {total} wake-ups do"
    )


def pace(argv: Sequence[str]) -> Pace:
    """A timer does not wait for the thread that it wakes."""
    interval = number_of(argv, "--interval", "-i") or _USUAL_INTERVAL_US
    return Pace(Loop.OPEN, per_second(round(1e6 / interval, 3)))


def problems(argv: Sequence[str], wanted: Collection[str], _warm_up: int) -> Iterator[str]:
    """Options without which there is no end, or no histogram."""
    if not has(argv, "--quiet", "-q", bundled=_FLAGS):
        yield "cyclictest must print a summary only: add --quiet"
    if value_of(argv, "--loops", "-l") is None and value_of(argv, "--duration", "-D") is None:
        yield "cyclictest must end: add --loops=N"
    asked = [name for name in sorted(wanted) if _PERCENTILES.level(name) is not None]
    histogram = (("--histogram", "-h"), ("--histofall", "-H"))
    if asked and not any(value_of(argv, *names) for names in histogram):
        yield f"{asked[0]} needs cyclictest --histogram=US"


def notes(argv: Sequence[str]) -> Iterator[str]:
    """What ends by time, the rights it needs, and that it keeps CPUs awake."""
    yield "cyclictest needs real-time priorities, even for --policy=other: `realtime: true`"
    if not has(argv, "--laptop") and value_of(argv, "--latency", "-e") is None:
        yield "cyclictest as root keeps CPUs from deep idle states, but not with --laptop"
    if value_of(argv, "--duration", "-D") is not None:
        yield "cyclictest ends by time (--duration): for a fixed amount of work --loops=N"


ADAPTER = Adapter(
    name="cyclictest",
    title="cyclictest",
    programs=("cyclictest",),
    package="rt-tests",
    fields=_FIELDS,
    percentiles=(_PERCENTILES,),
    read=read,
    complaint=complaint,
    pace=pace,
    problems=problems,
    notes=notes,
)

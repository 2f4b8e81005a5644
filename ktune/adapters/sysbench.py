"""sysbench's report, sysbench 1.0 (src/sb_report.c): oltp_*, cpu, memory, fileio, threads."""

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
    amount,
)
from ktune.adapters.options import number_of, per_second, value_of

_N = r"([0-9.]+)"
_FIELDS = {
    "events": FieldSpec("", Better.NEITHER, "events done"),
    "time": FieldSpec("s", Better.LESS, "time that they took"),
    "events_per_s": FieldSpec("1/s", Better.MORE, "events per second"),
    "tps": FieldSpec("1/s", Better.MORE, "transactions per second (oltp_*)"),
    "queries_per_s": FieldSpec("1/s", Better.MORE, "queries per second (oltp_*)"),
    "ignored_errors": FieldSpec("", Better.LESS, "errors that it went on after (oltp_*)"),
    "reconnects": FieldSpec("", Better.LESS, "lost connections (oltp_*)"),
    "bandwidth": FieldSpec("MiB/s", Better.MORE, "data moved per second (memory)"),
    "reads_per_s": FieldSpec("1/s", Better.MORE, "reads per second (fileio)"),
    "writes_per_s": FieldSpec("1/s", Better.MORE, "writes per second (fileio)"),
    "fsyncs_per_s": FieldSpec("1/s", Better.MORE, "fsyncs per second (fileio)"),
    "read_bandwidth": FieldSpec("MiB/s", Better.MORE, "data read per second (fileio)"),
    "write_bandwidth": FieldSpec("MiB/s", Better.MORE, "data written per second (fileio)"),
    "latency_min": FieldSpec("ms", Better.LESS, "shortest event", True),
    "latency_mean": FieldSpec("ms", Better.LESS, "mean time of an event", True),
    "latency_max": FieldSpec("ms", Better.LESS, "longest event", True),
}
_PERCENTILES = Percentiles("latency_p", "ms", "time of an event (--percentile)")
_LINES = {
    "events": rf"total number of events: +{_N}$",
    "time": rf"total time: +{_N}s$",
    "tps": rf"transactions: +[0-9]+ +\({_N} per sec\.\)$",
    "queries_per_s": rf"queries: +[0-9]+ +\({_N} per sec\.\)$",
    "ignored_errors": rf"ignored errors: +{_N} ",
    "reconnects": rf"reconnects: +{_N} ",
    "bandwidth": rf"{_N} MiB transferred \({_N} MiB/sec\)$",
    "reads_per_s": rf"reads/s: +{_N}$",
    "writes_per_s": rf"writes/s: +{_N}$",
    "fsyncs_per_s": rf"fsyncs/s: +{_N}$",
    "read_bandwidth": rf"read, MiB/s: +{_N}$",
    "write_bandwidth": rf"written, MiB/s: +{_N}$",
    "latency_min": rf"min: +{_N}$",
    "latency_mean": rf"avg: +{_N}$",
    "latency_max": rf"max: +{_N}$",
}
_USUAL_PERCENTILE = 95


def read(output: ToolOutput) -> dict[str, Number]:
    """The wanted fields. Raises AdapterError."""
    text = output.stdout
    if "General statistics:" not in text:
        begins = text.strip().partition("\n")[0][:60]
        raise AdapterError(f"sysbench 1.0 printed no report (it begins with {begins!r})")
    return {
        name: Number(_value(text, name), (ADAPTER.spec(name) or _FIELDS["events"]).unit)
        for name in output.wanted
    }


def complaint(output: ToolOutput) -> str:
    """What sysbench calls fatal."""
    for line in (*output.stdout.splitlines(), *output.stderr.splitlines()):
        if line.startswith("FATAL: "):
            return f"sysbench: {line.removeprefix('FATAL: ').strip()[:200]}"
    return ""


def _value(text: str, name: str) -> float:
    if name == "events_per_s":
        time = _line(text, "time")
        if time <= 0:
            raise AdapterError("sysbench's events took no time")
        return _line(text, "events") / time
    return _line(text, name)


def _line(text: str, name: str) -> float:
    level = _PERCENTILES.level(name)
    pattern = _LINES[name] if level is None else rf"{level:g}th percentile: +{_N}$"
    found = re.search(rf"^ *{pattern}", text, re.M)
    if found is None:
        more = f": it needs --percentile={level:g}" if level is not None else ""
        raise AdapterError(f"sysbench's report of this test has no {name}{more}")
    return amount(found[found.lastindex or 1], name)


def pace(argv: Sequence[str]) -> Pace:
    """Open with `--rate`: an event waits in a queue from when it was due, and that counts (seen:
    events of 10 ms at 200/s last 231 ms on average within the first second)."""
    rate = number_of(argv, "--rate")
    return Pace(Loop.OPEN, per_second(rate)) if rate else Pace(Loop.CLOSED)


def problems(argv: Sequence[str], wanted: Collection[str], _warm_up: int) -> Iterator[str]:
    """sysbench reports a single percentile."""
    given = number_of(argv, "--percentile")
    level = _USUAL_PERCENTILE if given is None else given
    for name in sorted(wanted):
        asked = _PERCENTILES.level(name)
        if asked is not None and asked != level:
            yield f"{name} needs --percentile={asked:g} (sysbench reports one, here {level:g})"


def notes(argv: Sequence[str]) -> Iterator[str]:
    """What ends by time: 10 s are its default."""
    time = number_of(argv, "--time")
    if time != 0 or value_of(argv, "--events") is None:
        yield (
            "sysbench ends by time (10 s where not given): for a fixed amount of work --events=N "
            "--time=0"
        )


ADAPTER = Adapter(
    name="sysbench",
    title="sysbench",
    programs=("sysbench",),
    package="sysbench",
    fields=_FIELDS,
    percentiles=(_PERCENTILES,),
    read=read,
    complaint=complaint,
    pace=pace,
    problems=problems,
    notes=notes,
)

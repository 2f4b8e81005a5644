"""wrk's report, wrk 4 (src/wrk.c, src/units.c: sizes count 1024, other numbers 1000)."""

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
from ktune.adapters.options import has

_PERCENTILES = Percentiles("latency_p", "us", "latency of a request", ("50", "75", "90", "99"))
_FIELDS = {
    "rps": FieldSpec("1/s", Better.MORE, "requests per second"),
    "requests": FieldSpec("", Better.NEITHER, "requests answered"),
    "bandwidth": FieldSpec("B/s", Better.MORE, "bytes received per second"),
    "latency_mean": FieldSpec("us", Better.LESS, "mean latency of a request", True),
    "latency_stddev": FieldSpec("us", Better.LESS, "its standard deviation", True),
    "latency_max": FieldSpec("us", Better.LESS, "longest latency of a request", True),
}
_TIMES = {"us": 1.0, "ms": 1e3, "s": 1e6, "m": 60e6, "h": 3600e6}
_SIZES = {"B": 1.0, "KB": 1024.0, "MB": 1024.0**2, "GB": 1024.0**3, "TB": 1024.0**4}
_WORD = re.compile(r"([0-9.]+)([A-Za-z]*)\Z")
_THREADS = re.compile(r"^ +Latency +(\S+) +(\S+) +(\S+) +\S+$", re.M)
_OF_THREADS = ("latency_mean", "latency_stddev", "latency_max")
_ERRORS = re.compile(r"^ +Socket errors: (.+)$", re.M)
_STATUS = re.compile(r"^ +Non-2xx or 3xx responses: ([0-9]+)$", re.M)


def read(output: ToolOutput) -> dict[str, Number]:
    """The wanted fields. Raises AdapterError."""
    text = output.stdout
    if "\nRequests/sec:" not in text:
        begins = text.strip().partition("\n")[0][:60]
        raise AdapterError(f"wrk printed no report (it begins with {begins!r})")
    return {
        name: Number(_value(text, name), (ADAPTER.spec(name) or _FIELDS["rps"]).unit)
        for name in output.wanted
    }


def complaint(output: ToolOutput) -> str:
    """Failed requests, which wrk counts and goes on."""
    if found := _ERRORS.search(output.stdout):
        return f"wrk: socket errors: {found[1].strip()[:200]}"
    if found := _STATUS.search(output.stdout):
        return f"wrk: {found[1]} answers were no success (neither 2xx nor 3xx)"
    return ""


def _value(text: str, name: str) -> float:
    if name == "rps":
        return _match(text, r"^Requests/sec: +([0-9.]+)$", name, {"": 1.0})
    if name == "requests":
        return _match(text, r"^ +([0-9]+) requests in ", name, {"": 1.0})
    if name == "bandwidth":
        return _match(text, r"^Transfer/sec: +(\S+)$", name, _SIZES)
    if name in _OF_THREADS:
        found = _THREADS.search(text)
        if found is None:
            raise AdapterError(f"wrk's report has no line of latencies, which {name} needs")
        return _quantity(found[_OF_THREADS.index(name) + 1], name, _TIMES)
    level = _PERCENTILES.level(name)
    if "Latency Distribution" not in text:
        raise AdapterError(f"{name} needs wrk --latency")
    return _match(text, rf"^ +{level:g}% +(\S+)$", name, _TIMES)


def _match(text: str, pattern: str, name: str, units: dict[str, float]) -> float:
    found = re.search(pattern, text, re.M)
    if found is None:
        raise AdapterError(f"wrk's report has no {name}")
    return _quantity(found[1], name, units)


def _quantity(word: str, name: str, units: dict[str, float]) -> float:
    found = _WORD.match(word)
    if found is None or found[2] not in units or found[1].count(".") > 1:
        raise AdapterError(f"wrk's {name} is {word[:20]!r}, which is no number with a unit")
    return float(found[1]) * units[found[2]]


def pace(_argv: Sequence[str]) -> Pace:
    """Each connection waits for its answer."""
    return Pace(Loop.CLOSED)


def problems(argv: Sequence[str], wanted: Collection[str], _warm_up: int) -> Iterator[str]:
    """Percentiles are an option."""
    asked = [name for name in sorted(wanted) if _PERCENTILES.level(name) is not None]
    if asked and not has(argv, "--latency", "-L"):
        yield f"{asked[0]} needs wrk --latency"


def notes(_argv: Sequence[str]) -> Iterator[str]:
    """It always ends by time."""
    yield "wrk ends by time (--duration): its windows do different amounts of work"


ADAPTER = Adapter(
    name="wrk",
    title="wrk",
    programs=("wrk",),
    package="wrk",
    fields=_FIELDS,
    percentiles=(_PERCENTILES,),
    read=read,
    complaint=complaint,
    pace=pace,
    problems=problems,
    notes=notes,
)

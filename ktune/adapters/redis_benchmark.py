"""redis-benchmark's table (`--csv`), Redis 6.2 or newer (src/redis-benchmark.c, showLatencyReport).

One row a test: `get.rps` names the test in lower case, up to its first blank.
"""

from __future__ import annotations

import csv
import io
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
from ktune.adapters.options import has, value_of

_PERCENTILES = Percentiles("latency_p", "ms", "latency of a request", ("50", "95", "99"))
_FIELDS = {
    "rps": FieldSpec("1/s", Better.MORE, "requests per second"),
    "latency_min": FieldSpec("ms", Better.LESS, "shortest latency of a request", True),
    "latency_mean": FieldSpec("ms", Better.LESS, "mean latency of a request", True),
    "latency_max": FieldSpec("ms", Better.LESS, "longest latency of a request", True),
}
_COLUMNS = {
    "rps": "rps",
    "latency_min": "min_latency_ms",
    "latency_mean": "avg_latency_ms",
    "latency_max": "max_latency_ms",
    **{f"latency_p{level}": f"p{level}_latency_ms" for level in ("50", "95", "99")},
}
_ERRORS = (
    "Error from server: ",
    "ERROR: ",
    "Could not connect to ",
    "Error: ",
    "-ERR ",
    "-NOAUTH ",
)


def read(output: ToolOutput) -> dict[str, Number]:
    """The wanted fields. Raises AdapterError."""
    tests = _tests(output.stdout)
    found = {}
    for name in output.wanted:
        test, dot, field = name.partition(".")
        if not dot:
            test, field = "", name
            if len(tests) > 1:
                raise AdapterError(f"{len(tests)} tests ran: say {next(iter(tests))}.{name}")
        row = tests.get(test) if test else next(iter(tests.values()))
        if row is None:
            raise AdapterError(f"no test {test!r} ran (there are: {', '.join(tests)})")
        column = _COLUMNS[field]
        if column not in row:
            raise AdapterError(f"redis-benchmark 6.2 or newer has {field}, this one has not")
        found[name] = Number(amount(row[column], name), (ADAPTER.spec(name) or _FIELDS["rps"]).unit)
    return found


def complaint(output: ToolOutput) -> str:
    """Errors of the server, which it prints and may go on after."""
    for line in (*output.stdout.splitlines(), *output.stderr.splitlines()):
        if line.startswith(_ERRORS):
            return f"redis-benchmark: {line.strip()[:200]}"
    return ""


def _tests(stdout: str) -> dict[str, dict[str, str]]:
    lines = [line for line in stdout.splitlines() if line.startswith('"')]
    try:
        rows = list(csv.DictReader(io.StringIO("\n".join(lines))))
    except csv.Error as error:
        raise AdapterError(f"redis-benchmark's table is damaged: {error}") from None
    if not rows or "test" not in rows[0]:
        said = stdout.strip().partition("\n")[0][:60]
        begins = f" (it begins with {said!r})" if said else ""
        raise AdapterError(f"redis-benchmark printed no table{begins}: add --csv")
    return {row["test"].partition(" ")[0].lower(): row for row in rows}


def pace(_argv: Sequence[str]) -> Pace:
    """Each connection waits for its answers."""
    return Pace(Loop.CLOSED)


def problems(argv: Sequence[str], _wanted: Collection[str], _warm_up: int) -> Iterator[str]:
    """Options without which there is no table."""
    if not has(argv, "--csv"):
        yield "redis-benchmark must print a table: add --csv"
    if has(argv, "-l"):
        yield "redis-benchmark must end: leave out -l"


def notes(argv: Sequence[str]) -> Iterator[str]:
    """All of its tests, if none is named."""
    if value_of(argv, "-t") is None and not any(word.isalpha() for word in argv[-1:]):
        yield "redis-benchmark runs all of its tests: name the ones that are wanted with -t"


ADAPTER = Adapter(
    name="redis-benchmark",
    title="redis-benchmark",
    programs=("redis-benchmark",),
    package="redis-tools",
    fields=_FIELDS,
    percentiles=(_PERCENTILES,),
    parts=None,
    read=read,
    complaint=complaint,
    pace=pace,
    problems=problems,
    notes=notes,
)

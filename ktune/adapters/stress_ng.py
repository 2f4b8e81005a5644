"""stress-ng's metrics (`--metrics`, `--metrics-brief`), as it prints them or in a file of `--yaml`.

One row a stressor: `vm.bogo_ops_per_s` names it. stress-ng(1): bogus operations are not comparable
between stressors or versions.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence

from ktune.adapters.folder import UnreadableError
from ktune.adapters.model import (
    Adapter,
    AdapterError,
    Better,
    FieldSpec,
    Loop,
    Number,
    Pace,
    ToolOutput,
    amount,
)
from ktune.adapters.options import has, value_of

_FIELDS = {
    "bogo_ops": FieldSpec("", Better.NEITHER, "operations done"),
    "bogo_ops_per_s": FieldSpec("1/s", Better.MORE, "operations per second"),
    "bogo_ops_per_cpu_s": FieldSpec("1/s", Better.MORE, "operations per second of CPU time"),
    "real_time": FieldSpec("s", Better.LESS, "time that they took"),
    "user_time": FieldSpec("s", Better.LESS, "CPU time in user space"),
    "system_time": FieldSpec("s", Better.LESS, "CPU time in the kernel"),
}
_COLUMNS = ("bogo_ops", "real_time", "user_time", "system_time", "bogo_ops_per_s")
"""Of a printed row, after the stressor's name; then `bogo_ops_per_cpu_s`."""
_KEYS = {
    "bogo-ops": "bogo_ops",
    "wall-clock-time": "real_time",
    "user-time": "user_time",
    "system-time": "system_time",
    "bogo-ops-per-second-real-time": "bogo_ops_per_s",
    "bogo-ops-per-second-usr-sys-time": "bogo_ops_per_cpu_s",
}
_LINE = re.compile(r"^stress-ng: +(?P<kind>[a-z]+): +\[[0-9]+\] (?P<text>.*)$", re.M)
_ROW = re.compile(r"(?P<name>[a-z][a-z0-9-]*) +(?P<numbers>[0-9]+( +[0-9.]+){5,})")

Row = Mapping[str, str]


def read(output: ToolOutput) -> dict[str, Number]:
    """The wanted fields. Raises AdapterError."""
    rows = _of_file(output) if value_of(output.argv, "--yaml", "-Y") else _printed(output)
    if not rows:
        said = _skipped(output)
        because = f": {said}" if said else ": add --metrics"
        raise AdapterError(f"stress-ng printed no metrics{because}")
    found = {}
    for name in output.wanted:
        stressor, dot, field = name.partition(".")
        if not dot:
            stressor, field = next(iter(rows)), name
            if len(rows) > 1:
                raise AdapterError(f"{len(rows)} stressors ran: say {stressor}.{name}")
        if stressor not in rows:
            said = _skipped(output) or f"there are: {', '.join(rows)}"
            raise AdapterError(f"no stressor {stressor!r} ran ({said})")
        if field not in rows[stressor]:
            raise AdapterError(f"stress-ng's metrics of {stressor} have no {field}")
        found[name] = Number(amount(rows[stressor][field], name), _FIELDS[field].unit)
    return found


def complaint(output: ToolOutput) -> str:
    """Stressors that failed."""
    for line in _lines(output):
        if line["kind"] in ("fail", "error"):
            return f"stress-ng: {line['text'][:200]}"
        if line["text"].startswith("unsuccessful run completed"):
            return f"stress-ng: {line['text']}"
    return ""


def _lines(output: ToolOutput) -> Iterator[re.Match[str]]:
    yield from _LINE.finditer(output.stdout)
    yield from _LINE.finditer(output.stderr)


def _skipped(output: ToolOutput) -> str:
    """stress-ng skips what it has no right or no room for, and exits with 0."""
    return next((line["text"][:160] for line in _lines(output) if "skipp" in line["text"]), "")


def _printed(output: ToolOutput) -> Mapping[str, Row]:
    rows: dict[str, Row] = {}
    for line in _lines(output):
        found = _ROW.match(line["text"])
        if found and line["kind"] in ("info", "metrc"):
            rows[found["name"]] = dict(
                zip((*_COLUMNS, "bogo_ops_per_cpu_s"), found["numbers"].split(), strict=False)
            )
    return rows


def _of_file(output: ToolOutput) -> Mapping[str, Row]:
    """`--yaml NAME`: a list of mappings with one `key: value` a line; stress-ng writes no other."""
    name = value_of(output.argv, "--yaml", "-Y") or ""
    if output.folder is None:
        raise AdapterError("there is no folder with stress-ng's metrics")
    try:
        text = output.folder.texts(name).get(name)
    except UnreadableError as error:
        raise AdapterError(f"stress-ng's metrics: {error}") from None
    if text is None:
        raise AdapterError(f"stress-ng left no {name!r} in the window's folder")
    rows: dict[str, dict[str, str]] = {}
    row: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, value = line.strip().removeprefix("- ").partition(": ")
        if colon and key == "stressor":
            row = rows.setdefault(value.strip(), {})
        elif colon and key in _KEYS:
            row[_KEYS[key]] = value.strip()
    return rows


def pace(_argv: Sequence[str]) -> Pace:
    """It sends no requests."""
    return Pace(Loop.NONE)


def problems(argv: Sequence[str], _wanted: Collection[str], _warm_up: int) -> Iterator[str]:
    """Options without which there are no numbers."""
    file = value_of(argv, "--yaml", "-Y")
    if file is None and not has(argv, "--metrics", "--metrics-brief", "-M"):
        yield "stress-ng must report: add --metrics"
    if file is not None and "/" in file:
        yield "stress-ng's metrics must lie in the window's folder: leave the path out of --yaml"
    if has(argv, "--quiet", "-q") and file is None:
        yield "stress-ng must report: leave out --quiet"


def notes(argv: Sequence[str]) -> Iterator[str]:
    """What ends by time: a day is its default."""
    if not any(word.startswith("--") and word.partition("=")[0].endswith("-ops") for word in argv):
        yield "stress-ng ends by time: for a fixed amount of work name --STRESSOR-ops N"


ADAPTER = Adapter(
    name="stress-ng",
    title="stress-ng",
    programs=("stress-ng",),
    package="stress-ng",
    fields=_FIELDS,
    parts=None,
    read=read,
    complaint=complaint,
    pace=pace,
    problems=problems,
    notes=notes,
)

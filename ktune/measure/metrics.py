"""Numbers out of a workload's output: pure functions.

Reports of load generators are read by `reports.py`. Patterns and pages that a shared profile names
are no matter for this process: a child without rights handles them (`reports.py`, too).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ktune.measure.specs import MetricSource, MetricSpec, TableNumber
from ktune.measure.tables import TableError, cells, reduced

_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?\Z")
_PAIR = re.compile(r"\s*(?P<key>[^\s=:]+)\s*[=:]\s*(?P<value>.*?)\s*\Z")
_NOT_FINITE = frozenset({"nan", "inf", "infinity"})


class MetricError(ValueError):
    """A metric is missing, no number, or outside its plausible range."""


def extract(
    specs: Iterable[MetricSpec],
    stdout: str,
    duration_s: float,
    joules: Mapping[str, float] | None = None,
    others: Mapping[str, float] | None = None,
) -> dict[str, float]:
    """All metrics of one window; `joules` by the name of the counter. `others` has, by the name of
    the metric, what is no matter of reading `stdout` here: of sensors, reports, patterns, pages.

    Raises:
        MetricError: the first one that can't be used, and why.
    """
    document: Any = None
    pairs: Mapping[str, str] | None = None
    found: dict[str, float] = {}
    for spec in sorted(specs, key=lambda item: item.source is MetricSource.RATIO):
        name = spec.field or spec.name
        match spec.source:
            case MetricSource.DURATION:
                value = duration_s
            case MetricSource.ENERGY:
                value = _joules(spec, joules)
            case MetricSource.POWER:
                value = _joules(spec, joules) / duration_s
            case MetricSource.SENSOR | MetricSource.TOOL | MetricSource.REGEX | MetricSource.PAGE:
                value = _other(spec, others or {})
            case MetricSource.CSV:
                value = table_number(spec, stdout)
            case MetricSource.RATIO:
                value = ratio(spec, found)
            case MetricSource.KEY_VALUE:
                pairs = key_values(stdout) if pairs is None else pairs
                if name not in pairs:
                    raise MetricError(_missing(spec, name, stdout))
                value = number(spec, pairs[name])
            case MetricSource.JSON:
                document = _document(spec, stdout) if document is None else document
                value = _json_number(spec, walk(spec, document, name))
        found[spec.name] = plausible(spec, value)
    return found


def table_number(spec: MetricSpec, stdout: str) -> float:
    """A number of a table, reduced as the metric says. Raises MetricError."""
    wanted = spec.table or TableNumber(0)
    try:
        values = [number(spec, cell) for cell in cells(stdout, wanted)]
        return reduced(values, wanted.how)
    except TableError as error:
        raise MetricError(f"metric {spec.name}: {error}") from None


def ratio(spec: MetricSpec, found: Mapping[str, float]) -> float:
    """One metric by another. Raises MetricError where one is missing or the lower one is 0."""
    of, _, per = spec.field.partition("/")
    if of not in found or per not in found:
        raise MetricError(f"metric {spec.name}: {of} or {per} is missing")
    if found[per] == 0:
        raise MetricError(f"metric {spec.name}: {per} is 0")
    return found[of] / found[per]


def _other(spec: MetricSpec, others: Mapping[str, float]) -> float:
    if spec.name not in others:
        raise MetricError(f"metric {spec.name}: no {spec.source.value} was read")
    return others[spec.name]


def _joules(spec: MetricSpec, joules: Mapping[str, float] | None) -> float:
    if joules is None or spec.field not in joules:
        raise MetricError(f"metric {spec.name}: no energy was read")
    return joules[spec.field]


def key_values(text: str) -> dict[str, str]:
    """The lines `key=value` and `key: value`; of a key that comes twice the last one counts.

    Other lines are ignored. A key holds no blank, `=` or `:`.
    """
    found = (_PAIR.match(line) for line in text.splitlines())
    return {pair["key"]: pair["value"] for pair in found if pair}


def number(spec: MetricSpec, text: str) -> float:
    """A finite decimal number. Raises MetricError."""
    if text.lower().lstrip("+-") in _NOT_FINITE:
        raise MetricError(f"metric {spec.name} is {text}")
    if not _NUMBER.match(text):
        raise MetricError(f"metric {spec.name}: {text[:60]!r} is no number")
    return _finite(spec, float(text))


def plausible(spec: MetricSpec, value: float) -> float:
    """The value when it is inside its plausible range. Raises MetricError."""
    value = _finite(spec, value)
    if spec.plausible is not None:
        refuse_implausible(spec.name, value, spec.plausible, spec.unit)
    return value


def refuse_implausible(
    name: str, value: float, plausible: tuple[float, float], unit: str | None
) -> None:
    """Raises MetricError: the value lies outside the limits that its metric declares."""
    low, high = plausible
    if not low <= value <= high:
        said = f" {unit}" if unit else ""
        raise MetricError(
            f"metric {name} = {value:g}{said} is not plausible (expected {low:g} to {high:g}{said})"
        )


def walk(spec: MetricSpec, document: Any, path: str) -> Any:
    """Follow a dotted path; a part of digits indexes a list. Raises MetricError."""
    here = document
    for part in path.split("."):
        if isinstance(here, Mapping) and part in here:
            here = here[part]
        elif isinstance(here, list) and part.isdecimal() and int(part) < len(here):
            here = here[int(part)]
        else:
            raise MetricError(
                f"metric {spec.name}: the output has no {path!r} (stopped at {part!r})"
            )
    return here


def _document(spec: MetricSpec, stdout: str) -> Any:
    if not stdout.strip():
        raise MetricError(_missing(spec, spec.field or spec.name, stdout))
    try:
        return json.loads(stdout)
    except (ValueError, RecursionError) as error:
        problem = error
    for line in reversed(stdout.splitlines()):
        if line.lstrip().startswith("{"):
            try:
                return json.loads(line)
            except (ValueError, RecursionError):
                continue
    raise MetricError(f"metric {spec.name}: the output holds no JSON ({problem})")


def _json_number(spec: MetricSpec, value: Any) -> float:
    if isinstance(value, str):
        return number(spec, value.strip())
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise MetricError(f"metric {spec.name}: found {type(value).__name__}, expected a number")
    try:
        return _finite(spec, float(value))
    except OverflowError as error:
        raise MetricError(f"metric {spec.name} is too large") from error


def _finite(spec: MetricSpec, value: float) -> float:
    if not math.isfinite(value):
        raise MetricError(f"metric {spec.name} is {value}")
    return value


def _missing(spec: MetricSpec, field: str, stdout: str) -> str:
    if not stdout.strip():
        return f"the workload printed nothing; metric {spec.name} expects {field!r}"
    return f"the output has no {field!r}, which metric {spec.name} expects"

"""A number out of a table with separators (RFC 4180): pure, and bounded by the output's length."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Sequence

from ktune.adapters.model import AdapterError, nearest_rank
from ktune.measure.specs import TableNumber

_SHOWN = 8


class TableError(ValueError):
    """The table lacks what is wanted; the text is for people."""


def cells(text: str, wanted: TableNumber) -> list[str]:
    """The wanted column of all rows that match. Raises TableError."""
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=wanted.separator)
        rows = [row for row in reader if row]
    except csv.Error as error:
        raise TableError(f"the output is no table: {error}") from None
    if not rows:
        raise TableError("the workload printed no table")
    header = [name.strip() for name in rows.pop(0)] if wanted.header else []
    column = _index(header, wanted.column)
    where = [(_index(header, name), word) for name, word in wanted.where]
    found = []
    for row in rows:
        if all(index < len(row) and row[index].strip() == word for index, word in where):
            if column >= len(row):
                raise TableError(f"a row has {len(row)} columns, not {column + 1}: {row[:3]}")
            found.append(row[column].strip())
    if not found:
        asked = ", ".join(f"{name}={word}" for name, word in wanted.where)
        raise TableError(f"the table has no row{f' with {asked}' if asked else 's'}")
    return found


def reduced(values: Sequence[float], how: str) -> float:
    """One number. Raises TableError."""
    match how:
        case "last":
            return values[-1]
        case "first":
            return values[0]
        case "only":
            if len(values) > 1:
                raise TableError(f"`as: only` wants one row, and {len(values)} match")
            return values[0]
        case "mean":
            return statistics.fmean(values)
        case "median":
            return statistics.median(values)
        case "min":
            return min(values)
        case "max":
            return max(values)
        case "sum":
            return sum(values)
    try:
        return nearest_rank(sorted(values), float(how.removeprefix("p")), "rows")
    except AdapterError as error:
        raise TableError(str(error)) from None


def _index(header: Sequence[str], column: str | int) -> int:
    if isinstance(column, int):
        return column
    if column in header:
        return header.index(column)
    if column.isdecimal():
        return int(column)
    listed = ", ".join(header[:_SHOWN])
    raise TableError(f"the table has no column {column[:40]!r} (it has: {listed})")

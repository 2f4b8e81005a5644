"""A surface on disk: JSON lines, so that each window is there as soon as it is measured.

The first line says what is measured and how; each sitting adds one that says when and on what kind
of machine; every window is `[point, repeat, seconds since the beginning, value]`, point -1 for the
reference. A window without a value (the candidate failed) has a reason in its fifth place.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ktune.kernel.values import Value
from ktune.search.space import Axis, Number

RECORDED = Path(__file__).resolve().parent / "recorded"
REFERENCE = -1
FORMAT = 1
TINY = 50
"""Recordings of fewer points try the programs out; what they say of searches means nothing."""


@dataclass(frozen=True)
class Head:
    """What is measured: as recorded, with nothing that names the machine."""

    surface: str
    metric: str
    unit: str
    direction: str
    amount: int
    window_s: float
    repeats: int
    reference_every: int
    seed: int
    axes: tuple[Mapping[str, Any], ...]
    relations: tuple[str, ...]
    reference: tuple[Value, ...]
    points: tuple[tuple[Value, ...], ...]
    probes: int
    """The first so many points are probes, the others Sobol's."""
    kernel: str
    ktune: str
    format: int = FORMAT

    @property
    def windows(self) -> int:
        """Of the points, without the reference's."""
        return len(self.points) * self.repeats


@dataclass(frozen=True)
class Window:
    """One window; `value` None: the candidate failed, for `reason`."""

    point: int
    repeat: int
    at_s: float
    value: float | None
    reason: str = ""


@dataclass(frozen=True)
class Recording:
    """All of a file, in the order of measuring."""

    head: Head
    sittings: tuple[str, ...] = ()
    windows: tuple[Window, ...] = field(default=())

    @property
    def of_points(self) -> list[Window]:
        return [window for window in self.windows if window.point != REFERENCE]

    @property
    def of_reference(self) -> list[Window]:
        return [window for window in self.windows if window.point == REFERENCE]

    @property
    def complete(self) -> bool:
        """Whether every repeat of every point is there."""
        return len(self.of_points) >= self.head.windows

    @property
    def text(self) -> str:
        """How much of it there is, for a table."""
        kind = "whole" if self.complete else "part of a recording"
        if len(self.head.points) < TINY:
            kind = f"TINY, {len(self.head.points)} points only"
        return f"{kind}: {len(self.of_points)} of {self.head.windows} windows"


def axis_record(axis: Axis) -> dict[str, Any]:
    """An axis as plain data."""
    return {
        "key": axis.key,
        "element": axis.element,
        "number": asdict(axis.number) if axis.number else None,
        "choices": list(axis.choices),
    }


def axis_of(record: Mapping[str, Any]) -> Axis:
    """And back."""
    number = Number(**record["number"]) if record["number"] else None
    return Axis(record["key"], record["element"], number, tuple(record["choices"]))


class Writer:
    """Appends; each line is on disk when `add` returns."""

    def __init__(self, path: Path, head: Head, sitting: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = not path.exists()
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        if fresh:
            self._write(asdict(head))
        self._write({"sitting": sitting})

    def add(self, window: Window) -> None:
        """One more window."""
        value = None if window.value is None else float(f"{window.value:.5g}")
        line: list[Any] = [window.point, window.repeat, round(window.at_s, 1), value]
        self._write([*line, window.reason] if window.reason else line)
        os.fdatasync(self._fd)

    def close(self) -> None:
        os.close(self._fd)

    def _write(self, item: object) -> None:
        os.write(self._fd, (json.dumps(item, separators=(",", ":")) + "\n").encode())


def read(path: Path) -> Recording:
    """What is there; half a line at the end (a power cut) is taken off the file.

    Raises SystemExit for a file that is none of these."""
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole != len(data):
        os.truncate(path, whole)
    lines = [json.loads(line) for line in data[:whole].splitlines()]
    if not lines or not isinstance(lines[0], dict) or lines[0].get("format") != FORMAT:
        raise SystemExit(f"{path} is no recorded surface of format {FORMAT}")
    return Recording(
        _head(lines[0]),
        tuple(line["sitting"] for line in lines if isinstance(line, dict) and "sitting" in line),
        tuple(Window(*line) for line in lines if isinstance(line, list)),
    )


def _head(record: dict[str, Any]) -> Head:
    points = tuple(_values(point) for point in record["points"])
    return Head(
        **{
            **record,
            "axes": tuple(record["axes"]),
            "relations": tuple(record["relations"]),
            "reference": _values(record["reference"]),
            "points": points,
        }
    )


def _values(items: Sequence[Any]) -> tuple[Value, ...]:
    return tuple(tuple(item) if isinstance(item, list) else item for item in items)

"""What an adapter is: the fields of a tool's output, their units, and how to read them.

An adapter is pure: it gets what the tool printed and the files that it left in the window's folder,
and never runs anything. A profile is checked against it when it is loaded (`problems`), so that a
missing option is told before the first window.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from ktune.adapters.folder import Folder


class AdapterError(ValueError):
    """The tool reported an error, or its output lacks what is wanted; the text is for people."""


class Better(StrEnum):
    """Which way a field gets better."""

    MORE = "more"
    LESS = "less"
    NEITHER = "neither"


class Loop(StrEnum):
    """When a load generator sends its next request."""

    CLOSED = "closed"
    """When the answer to the last has come: while the server stalls nothing is sent, so that
    few requests see the stall (coordinated omission)."""
    OPEN = "open"
    """At its time, whatever the server does; latency counts from that time."""
    NONE = "none"
    """It sends no requests."""


@dataclass(frozen=True)
class Pace:
    """The loop, and the rate as people read it (`2000/s`; empty: as fast as it goes)."""

    loop: Loop
    rate: str = ""

    @property
    def text(self) -> str:
        """What a reader of a latency has to know; empty where nobody waits for anything."""
        if self.loop is Loop.CLOSED:
            paced = f" at {self.rate} at most" if self.rate else ""
            return f"closed loop{paced}: understates waiting"
        if self.loop is Loop.OPEN:
            return f"open loop, rate {self.rate}" if self.rate else "open loop"
        return ""


@dataclass(frozen=True)
class Number:
    """A number and its unit (`units.py` knows it; empty: a count)."""

    value: float
    unit: str = ""


@dataclass(frozen=True)
class FieldSpec:
    """A number that a tool reports. `latency`: how long somebody waited, so the loop matters."""

    unit: str
    better: Better
    meaning: str
    latency: bool = False


@dataclass(frozen=True)
class Percentiles:
    """The family of fields `latency_p50`, `latency_p99.9`... of an output.

    `only`: the ones that the tool can say; empty: any.
    """

    prefix: str
    unit: str
    meaning: str
    only: tuple[str, ...] = ()

    def spec(self, name: str) -> FieldSpec | None:
        """The field of that name, if it is one of the family."""
        level = self.level(name)
        if level is None or (self.only and f"{level:g}" not in self.only):
            return None
        return FieldSpec(self.unit, Better.LESS, f"{self.meaning}: percentile {level:g}", True)

    def level(self, name: str) -> float | None:
        """99.9 for `latency_p99.9`; None for other names."""
        match = _LEVEL.fullmatch(name.removeprefix(self.prefix))
        if match is None or not name.startswith(self.prefix):
            return None
        level = float(match[0])
        return level if 0 < level < 100 else None


_LEVEL = re.compile(r"[1-9][0-9]?(\.[0-9]{1,4})?|0\.[0-9]{1,4}")


@dataclass(frozen=True)
class ToolOutput:
    """What one run left: its output, the window's folder, and what the profile wants of it.

    `warm_up` is the number of units to leave out from the start; `wanted` the fields.
    """

    argv: tuple[str, ...]
    stdout: str
    stderr: str = ""
    folder: Folder | None = None
    warm_up: int = 0
    wanted: frozenset[str] = frozenset()


def _nothing(_: object) -> str:
    return ""


def _no_problems(_argv: Sequence[str], _wanted: Collection[str], _warm_up: int) -> Iterable[str]:
    return ()


def _no_notes(_argv: Sequence[str]) -> Iterable[str]:
    return ()


@dataclass(frozen=True, eq=False)
class Adapter:
    """One tool. `programs`: base names of the program; `package`: Debian's.

    `read` gives at least the wanted fields, in the adapter's units, or raises AdapterError.
    `complaint` is the error that the tool itself reports, also with exit code 0; empty: none.
    `problems` are reasons why the output of a command, with these fields and a warm-up of so many
    units, can't be read; `notes` what a reader of the plan should know of a command. `parts`: a
    field may be that of one part of the run, written `PART.FIELD`; None: of any part.
    `cuts_warm_up`: a warm-up counted in units is left out, by the tool itself or when reading.
    """

    name: str
    title: str
    programs: tuple[str, ...]
    package: str
    fields: Mapping[str, FieldSpec]
    read: Callable[[ToolOutput], Mapping[str, Number]]
    pace: Callable[[Sequence[str]], Pace]
    percentiles: tuple[Percentiles, ...] = ()
    complaint: Callable[[ToolOutput], str] = _nothing
    problems: Callable[[Sequence[str], Collection[str], int], Iterable[str]] = _no_problems
    notes: Callable[[Sequence[str]], Iterable[str]] = _no_notes
    parts: tuple[str, ...] | None = ()
    cuts_warm_up: bool = False

    def spec(self, name: str) -> FieldSpec | None:
        """The field of that name."""
        part, dot, rest = name.partition(".")
        if dot and (part in self.parts if self.parts is not None else bool(part)):
            return self._own_spec(name) or self._own_spec(rest)
        return self._own_spec(name)

    def known(self) -> list[str]:
        """Names of all fields, for people."""
        families = [
            f"{family.prefix}{level}"
            for family in self.percentiles
            for level in (family.only or ("50", "99", "99.9"))
        ]
        return [*self.fields, *families]

    def argv_of(self, command: Sequence[str]) -> tuple[str, ...] | None:
        """The tool's own program and arguments in a command that may wrap it (`taskset -c 1 fio
        job.fio`); None where none of its words is the tool."""
        for index, word in enumerate(command):
            if word.rpartition("/")[2] in self.programs:
                return tuple(command[index:])
        return None

    def _own_spec(self, name: str) -> FieldSpec | None:
        family = (found for item in self.percentiles if (found := item.spec(name)))
        return self.fields.get(name) or next(family, None)


def nearest_rank(values: Sequence[float], level: float, what: str) -> float:
    """The percentile of sorted values by nearest rank: the smallest value with at least that share
    of all at or below it.

    Raises:
        AdapterError: there are too few to have one beyond it: 1000 for p99.9.
    """
    needed = math.ceil(round(100 / (100 - level), 6))
    if len(values) < needed:
        raise AdapterError(
            f"percentile {level:g} needs {needed} {what}, and {len(values)} were measured"
        )
    return values[math.ceil(round(len(values) * level / 100, 9)) - 1]


def amount(text: str, what: str) -> float:
    """A finite decimal number out of an output. Raises AdapterError."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise AdapterError(f"{what} is {text[:40]!r}, which is no number")
    return value

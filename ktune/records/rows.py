"""Settings and what they were worth, to pass on: `ktune-rows-1`, plain JSON. Standard library only.

A file of rows is hostile input: it comes from other people. It is read as JSON and nothing else,
within limits on size, count and text; what its values mean here is for others to check against
today's plan (`ktune.search.warm`), and a score in it is a hint of what to measure, never evidence.
"""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ktune.errors import UsageError
from ktune.kernel.values import Value
from ktune.records.codec import RecordError, decode

FORMAT = "ktune-rows-1"
MAX_BYTES = 4 << 20
MAX_ROWS = 5000
MAX_KNOBS = 1000
MAX_TEXT = 256
MAX_NUMBER = 2**64


@dataclass(frozen=True)
class SharedGoal:
    """An objective that the scores are about."""

    metric: str
    direction: str
    weight: float = 1.0


@dataclass(frozen=True)
class SharedRow:
    """One assignment and the mean of its scores."""

    assignment: Mapping[str, Value]
    score: float
    """Log ratio to the baseline there, above 0 better."""
    measured: int = 1


@dataclass(frozen=True)
class SharedRows:
    """A `ktune-rows-1` file."""

    format: str
    profile: str
    objectives: tuple[SharedGoal, ...]
    rows: tuple[SharedRow, ...]
    study: str = ""
    kernel: str = ""


def read_rows(path: Path) -> SharedRows:
    """Read a file that anybody may have written.

    Raises:
        UsageError: it can't be read, is too large, or is not what its format says.
    """
    try:
        raw = json.loads(_bytes(path), parse_constant=_no_constant)
        if not isinstance(raw, dict) or raw.get("format") != FORMAT:
            raise UsageError(
                f"{path}: not a file of rows ({FORMAT})",
                hint="`ktune studies export STUDY --rows -o FILE` writes one",
            )
        shared = decode(SharedRows, raw, str(path))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: not JSON as a file of rows is ({error})") from None
    except RecordError as error:
        raise UsageError(error.message) from None
    problem = _problem(shared)
    if problem:
        raise UsageError(f"{path}: {problem}")
    return shared


def _bytes(path: Path) -> bytes:
    """The content of a regular file; a FIFO or device would block or never end."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise UsageError(f"{path}: not a regular file")
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise UsageError(f"{path}: larger than {MAX_BYTES >> 20} MiB")
    return data


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _problem(shared: SharedRows) -> str:
    """What is beyond the limits; empty when nothing is."""
    if len(shared.rows) > MAX_ROWS:
        return f"{len(shared.rows)} rows, at most {MAX_ROWS}"
    texts = [shared.profile, shared.study, shared.kernel]
    for goal in shared.objectives:
        texts += [goal.metric, goal.direction]
    if any(len(text) > MAX_TEXT for text in texts):
        return f"a name is longer than {MAX_TEXT} characters"
    for number, row in enumerate(shared.rows):
        if not math.isfinite(row.score) or row.measured < 1:
            return f"rows[{number}]: a score is a finite number of at least one measurement"
        if len(row.assignment) > MAX_KNOBS:
            return f"rows[{number}]: more than {MAX_KNOBS} knobs"
        for key, value in row.assignment.items():
            if len(key) > MAX_TEXT or not _bounded(value):
                return f"rows[{number}]: a knob or value is longer than any kernel's"
    return ""


def _bounded(value: Value) -> bool:
    if isinstance(value, str):
        return len(value) <= MAX_TEXT
    numbers = value if isinstance(value, tuple) else (value,)
    return len(numbers) <= MAX_TEXT and all(abs(number) < MAX_NUMBER for number in numbers)

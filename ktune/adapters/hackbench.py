"""hackbench's only number (rt-tests): how long all groups took to pass their messages."""

from __future__ import annotations

import re
from collections.abc import Sequence

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

_FIELDS = {"time": FieldSpec("s", Better.LESS, "time until all messages were passed on")}
_TIME = re.compile(r"^Time: ([0-9.]+)$", re.M)


def read(output: ToolOutput) -> dict[str, Number]:
    """The wanted fields. Raises AdapterError."""
    found = _TIME.search(output.stdout)
    if found is None:
        begins = output.stdout.strip().partition("\n")[0][:60]
        raise AdapterError(f"hackbench printed no time (it begins with {begins!r})")
    return {name: Number(amount(found[1], name), _FIELDS[name].unit) for name in output.wanted}


def complaint(output: ToolOutput) -> str:
    """A group that could not be made."""
    for line in (*output.stderr.splitlines(), *output.stdout.splitlines()):
        if "(error: " in line or line.startswith("SENDER: "):
            return f"hackbench: {line.strip()[:200]}"
    return ""


def pace(_argv: Sequence[str]) -> Pace:
    """It sends no requests: messages go one way."""
    return Pace(Loop.NONE)


ADAPTER = Adapter(
    name="hackbench",
    title="hackbench",
    programs=("hackbench",),
    package="rt-tests",
    fields=_FIELDS,
    read=read,
    complaint=complaint,
    pace=pace,
)

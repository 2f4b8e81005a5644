"""Runs `ktune` with clocks around its parts: python instrumented.py REPORT STARTED_S ARGUMENTS...

Only this process is changed, never the program: functions are replaced by timed ones before the
command runs, and the guardian is started through `guardian_clock.py`, which does the same there.
STARTED_S is CLOCK_MONOTONIC when this process was started.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_TOTALS: dict[str, float] = {}
_MARKS: dict[str, float] = {}
_COUNTS: dict[str, int] = {}


def _clock(owner: Any, name: str, part: str) -> None:
    """Time every call of `owner.name` as `part`."""
    inner: Callable[..., Any] = getattr(owner, name)

    def timed(*arguments: Any, **named: Any) -> Any:
        started_s = time.monotonic()
        try:
            return inner(*arguments, **named)
        finally:
            ended_s = time.monotonic()
            _TOTALS[part] = _TOTALS.get(part, 0.0) + ended_s - started_s
            _COUNTS[part] = _COUNTS.get(part, 0) + 1
            _MARKS.setdefault(f"first {part}", started_s)
            _MARKS[f"last {part}"] = ended_s

    setattr(owner, name, timed)


def main() -> int:
    """Run the command and write the report."""
    report, started_s, *arguments = sys.argv[1:]
    _MARKS["started"] = float(started_s)
    _MARKS["interpreter ready"] = time.monotonic()
    from ktune.cli.main import main as ktune

    _MARKS["command line ready"] = time.monotonic()
    from ktune.measure.runner import CommandSource
    from ktune.modes import prepare
    from ktune.modes import run as whole
    from ktune.modes.bench import Bench
    from ktune.modes.search_setup import SearchSetup
    from ktune.proxy import launch
    from ktune.proxy.client import Lease
    from ktune.records.study import Study
    from ktune.search.study import Search

    _MARKS["modules loaded"] = time.monotonic()
    launch._BOOT = (
        f"import sys; sys.path[:0] = [sys.argv.pop(1), {str(Path(__file__).parent)!r}]; "
        f"import guardian_clock; sys.exit(guardian_clock.main({report + '.guardian'!r}))"
    )
    for owner, name, part in (
        (whole, "load_profile", "profile"),
        (prepare, "load_catalog", "catalog"),
        (prepare, "resolve", "plan"),
        (SearchSetup, "open", "open the search"),
        (Search, "ask", "ask"),
        (Search, "tell", "tell"),
        (Search, "revise", "revise"),
        (Lease, "apply", "apply"),
        (Lease, "check", "check"),
        (CommandSource, "run", "window"),
        (Study, "append_window", "record"),
        (Bench, "measure", "measure"),
    ):
        _clock(owner, name, part)
    code = ktune(arguments)
    _MARKS["ended"] = time.monotonic()
    Path(report).write_text(
        json.dumps({"totals": _TOTALS, "marks": _MARKS, "counts": _COUNTS}), encoding="utf-8"
    )
    return code


if __name__ == "__main__":
    sys.exit(main())

"""The guardian with clocks around its parts; see instrumented.py. Standard library only."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from ktune.proxy.actuator import KnobFiles
from ktune.proxy.guardian import main as program

_TOTALS = dict.fromkeys(("kernel", "journal"), 0.0)


def _clock(owner: type, name: str, part: str) -> None:
    inner = getattr(owner, name)

    def timed(*arguments: Any, **named: Any) -> Any:
        started_s = time.monotonic()
        try:
            return inner(*arguments, **named)
        finally:
            _TOTALS[part] += time.monotonic() - started_s

    setattr(owner, name, timed)


def main(report: str) -> int:
    """Run the guardian, then write how long its parts took."""
    _clock(KnobFiles, "read", "kernel")
    _clock(KnobFiles, "write", "kernel")
    _clock(program.Guardian, "_wait_durable", "journal")
    try:
        return program.main(sys.argv[1:])
    finally:
        Path(report).write_text(json.dumps(_TOTALS), encoding="utf-8")

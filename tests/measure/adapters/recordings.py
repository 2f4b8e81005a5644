"""The recordings as what an adapter gets."""

from __future__ import annotations

import shlex
from pathlib import Path

from ktune.adapters.folder import Folder
from ktune.adapters.model import ToolOutput
from ktune.adapters.registry import adapter
from tests.measure.adapters.runs import Run

RECORDED = Path(__file__).parent / "recorded"


def about(run: Run) -> dict[str, str]:
    """What the recording says of itself: tool, version, command, exit."""
    lines = (RECORDED / run.name / "about").read_text().splitlines()
    return dict(line.split(": ", 1) for line in lines)


def output_of(run: Run) -> ToolOutput:
    """The recorded output."""
    folder = RECORDED / run.name
    argv = adapter(run.tool).argv_of(shlex.split(about(run)["command"]))
    assert argv is not None
    return ToolOutput(
        argv=argv,
        stdout=(folder / "stdout").read_text(),
        stderr=(folder / "stderr").read_text(),
        folder=Folder(str(folder)),
        warm_up=run.warm_up,
        wanted=run.wanted,
    )

"""What a person sees while a run goes on: a progress bar on a terminal, plain lines elsewhere.

Text of profiles and workloads is shown as text: rich never sees it as markup, and control
characters are made visible before.
"""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from ktune.kernel.tunable import Assignment
from ktune.records.gains import log_gain_text
from ktune.records.types import Phase
from ktune.report.progress import BestSoFar, Note, PairDone, PhaseStarted, Progress, WindowDone
from ktune.report.text import clean, value_text

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

_TITLES = {
    Phase.LEARNING: "Learning",
    Phase.FINALISTS: "Re-measuring the best",
    Phase.DECISION: "Proof",
    Phase.AFTER: "Gain",
    Phase.CALIBRATION: "Calibration",
    Phase.SWITCHING: "Switching",
}


class View(Protocol):
    """Receives progress; a context manager."""

    def __call__(self, progress: Progress) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


def open_view(*, quiet: bool = False) -> View:
    """The view for standard error: bars on a terminal, else lines; `quiet` shows notes only."""
    if not quiet and sys.stderr.isatty():
        return BarView()
    return LineView(quiet=quiet)


class LineView:
    """One line for each phase, pair, better candidate and note."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        sys.stderr.flush()

    def __call__(self, progress: Progress) -> None:
        line = line_of(progress)
        if line and (isinstance(progress, Note) or not self._quiet):
            sys.stderr.write(clean(line) + "\n")
            sys.stderr.flush()


class BarView:
    """rich's progress bar; notes and results scroll above it."""

    def __init__(self) -> None:
        self._bars: Bars | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            TextColumn,
            TimeElapsedColumn,
        )
        from rich.progress import Progress as RichProgress

        self._bars = RichProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[state]}", markup=False),
            console=Console(stderr=True, highlight=False),
        )
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def __call__(self, progress: Progress) -> None:
        bars = self._bars
        if bars is None:
            return
        if isinstance(progress, PhaseStarted):
            if self._task is not None:
                bars.stop_task(self._task)
            self._task = bars.add_task(
                _TITLES[progress.phase], total=progress.total, state=clean(progress.detail)
            )
        elif self._task is not None:
            self._update(bars, self._task, progress)
        if isinstance(progress, (Note, BestSoFar)):
            bars.console.print(clean(line_of(progress)), markup=False, highlight=False)

    def _update(self, bars: Bars, task: TaskID, progress: Progress) -> None:
        match progress:
            case PairDone():
                bars.update(task, completed=progress.number, state=clean(_pair_state(progress)))
            case WindowDone():
                bars.update(task, completed=progress.number, state=clean(_window_state(progress)))


def line_of(progress: Progress) -> str:
    """One line, empty when this kind of progress is not worth one."""
    match progress:
        case PhaseStarted(phase, detail, total, unit):
            return f"{_TITLES[phase]}: {detail}, up to {total} {unit}"
        case BestSoFar(assignment, gain, trial, direction):
            return (
                f"  best unconfirmed: trial {trial}, {log_gain_text(gain, direction)} "
                f"({assignment_text(assignment)})"
            )
        case PairDone(_, number, total):
            return f"  pair {number} of {total}: {_pair_state(progress)}"
        case WindowDone() if progress.validity != "valid":
            return (
                f"  {progress.arm} window {progress.number}: {progress.validity}: {progress.reason}"
            )
        case Note(text):
            return f"  note: {text}"
        case _:
            return ""


def assignment_text(assignment: Assignment) -> str:
    """`knob=value, knob=value`."""
    return ", ".join(f"{key}={value_text(value)}" for key, value in assignment.items())


def _pair_state(progress: PairDone) -> str:
    gain = log_gain_text(progress.gain, progress.direction)
    if progress.phase is Phase.CALIBRATION:  # the baseline against itself: neither is better
        gain = gain.partition(" ")[0]
    return ", ".join(part for part in (gain, progress.summary) if part)


def _window_state(progress: WindowDone) -> str:
    if progress.validity != "valid":
        return f"{progress.arm}: {progress.validity}"
    if progress.gain is None:
        return ""
    return f"{progress.arm} {log_gain_text(progress.gain, progress.direction)}"

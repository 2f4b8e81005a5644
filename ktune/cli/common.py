"""What all commands share: state folders, safe output, JSON, tables, questions.

Imports nothing heavy: every command pays for it. Text that came from a file (a profile's name,
a knob's value, a workload's output) may hold terminal escape sequences; everything printed
through here has its control characters shown instead of obeyed.
"""

from __future__ import annotations

import argparse
import json
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, TypeAlias

from ktune.errors import UsageError
from ktune.kernel.values import Value
from ktune.records.paths import StatePaths
from ktune.report.text import clean, value_text

SubParsers: TypeAlias = "argparse._SubParsersAction[ArgumentParser]"


class Command(Protocol):
    """What a command module offers."""

    def add_parser(self, subparsers: SubParsers) -> ArgumentParser | None:
        """Add its own sub-parser."""

    def run(self, args: Namespace) -> int:
        """Do it; returns the exit code."""


def state_paths(args: Namespace) -> StatePaths:
    """The state folders that the global options ask for; refused where others may write."""
    return StatePaths.resolve(getattr(args, "state_dir", None)).refuse_unsafe()


def say(*lines: object) -> None:
    """Print lines to standard output, cleaned."""
    for line in lines:
        sys.stdout.write(clean(line) + "\n")


def warn(*lines: object) -> None:
    """Print lines to standard error, cleaned."""
    sys.stdout.flush()
    for line in lines:
        sys.stderr.write(clean(line) + "\n")


def print_json(data: Any) -> None:
    """One JSON document on standard output (ASCII: safe on every terminal)."""
    json.dump(data, sys.stdout, indent=2, allow_nan=False)
    sys.stdout.write("\n")


def show(value: Value | None) -> str:
    """A knob's value as a person writes it; `-` when there is none."""
    return "-" if value is None else value_text(value)


def percent(share: float, *, sign: bool = False) -> str:
    """0.061 -> `6.1%`."""
    return f"{share * 100:{'+' if sign else ''}.1f}%"


def table(rows: Iterable[Sequence[object]], *, indent: str = "  ") -> list[str]:
    """Rows as aligned lines; the last column is not padded."""
    cells = [[clean(cell) for cell in row] for row in rows]
    if not cells:
        return []
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    return [
        (
            indent + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]


def confirm(question: str, *, assume_yes: bool) -> bool:
    """Ask on the terminal; without one, `--yes` is required (exit 2), never assumed."""
    if assume_yes:
        return True
    if not sys.stdin.isatty():
        raise UsageError(
            "there is no terminal to ask on", hint="add --yes to go on without a question"
        )
    sys.stdout.write(f"{clean(question)} [y/N] ")
    sys.stdout.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def add_proxy(parser: ArgumentParser) -> None:
    """`--proxy`: by which way writes reach the kernel."""
    from ktune.proxy.backends import ProxyChoice

    parser.add_argument(
        "--proxy",
        choices=[choice.value for choice in ProxyChoice],
        default=ProxyChoice.AUTO.value,
        help="by which way to write: file, bpf (file, with limits and others' writes watched by a "
        "BPF guard in the kernel), module (the kernel module restores by itself; host scope), or "
        "the strongest that works here (auto, the default)",
    )


def whole_number(least: int) -> Callable[[str], int]:
    """An argparse type: an integer that is at least `least`."""

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise ArgumentTypeError(f"{text!r} is no whole number") from None
        if number < least:
            raise ArgumentTypeError(f"{text} is less than {least}")
        return number

    return parse

"""Errors of profile files: each problem names file:line:column, all of a file come together."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from ktune.errors import ExitCode, RefusedError, UsageError

_SHOWN = 20


@dataclass(frozen=True)
class Mark:
    """A place in a text; line and column count from 1."""

    file: str
    line: int = 1
    column: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, and where."""

    mark: Mark
    message: str

    def __str__(self) -> str:
        return f"{self.mark}: {self.message}"


class ProfileError(UsageError):
    """A profile (or policy) that can't be used as written (exit 2)."""

    def __init__(
        self,
        problems: Iterable[Problem],
        *,
        hint: str = "",
        exit_code: ExitCode | None = None,
    ) -> None:
        self.problems = tuple(problems)
        super().__init__(_lines(self.problems), hint=hint, exit_code=exit_code)

    @classmethod
    def at(cls, mark: Mark, message: str, *, hint: str = "") -> ProfileError:
        """The error of a single problem."""
        return cls((Problem(mark, message),), hint=hint)


class PlanRefusedError(RefusedError):
    """A valid profile that must not or cannot be carried out on this host (exit 4)."""

    def __init__(self, problems: Iterable[Problem], *, hint: str = "") -> None:
        self.problems = tuple(problems)
        super().__init__(_lines(self.problems), hint=hint)


def _lines(problems: tuple[Problem, ...]) -> str:
    lines = list(dict.fromkeys(str(problem) for problem in problems))
    if len(lines) > _SHOWN:
        lines[_SHOWN:] = [f"... and {len(lines) - _SHOWN} more"]
    return "\n".join(lines)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the nearest known name, or nothing."""
    near = difflib.get_close_matches(word[:100], list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def shown(value: object) -> str:
    """A value as an error quotes it: short, on one line, printable."""
    text = {True: "true", False: "false"}[value] if isinstance(value, bool) else repr(value)
    text = "null" if value is None else text
    return text if len(text) <= 80 else text[:77] + "..."

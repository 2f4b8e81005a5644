"""Errors for people: what is wrong, where, what to do; each carries its exit code."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of every command (documented in docs/exit-codes.md)."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NO_IMPROVEMENT = 3
    REFUSED = 4
    DRIFT = 5
    BUSY = 6
    UNTRUSTED = 7
    ROLLED_BACK = 8
    HANG_UP = 129
    INTERRUPTED = 130
    TERMINATED = 143


class KtuneError(Exception):
    """A mistake or a fault that a person must hear about, never a traceback.

    `hint` says what to do; `exit_code` is what the command ends with.
    """

    exit_code: ExitCode = ExitCode.FAILED

    def __init__(self, message: str, *, hint: str = "", exit_code: ExitCode | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if exit_code is not None:
            self.exit_code = exit_code

    def __str__(self) -> str:
        return f"{self.message}\n  hint: {self.hint}" if self.hint else self.message


class UsageError(KtuneError):
    """Wrong arguments or an invalid profile or policy (exit 2)."""

    exit_code = ExitCode.USAGE


class RefusedError(KtuneError):
    """Refused as unsafe, or not resolvable on this host (exit 4)."""

    exit_code = ExitCode.REFUSED


class BusyError(KtuneError):
    """Another run holds the scope (exit 6)."""

    exit_code = ExitCode.BUSY

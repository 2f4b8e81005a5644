"""Exit codes of commands that a signal ended."""

from __future__ import annotations

import signal

from ktune.errors import ExitCode
from ktune.kernel.ending import Ended, install

__all__ = ["EXIT_CODES", "exit_code_of", "install"]

EXIT_CODES = {
    signal.SIGINT: ExitCode.INTERRUPTED,
    signal.SIGTERM: ExitCode.TERMINATED,
    signal.SIGHUP: ExitCode.HANG_UP,
}


def exit_code_of(interrupt: KeyboardInterrupt) -> ExitCode:
    """130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP."""
    return EXIT_CODES[interrupt.signum if isinstance(interrupt, Ended) else signal.SIGINT]

"""Signals that end a run become exceptions, so that every `with` block restores on its way out.

The first one unwinds; those of the next seconds are swallowed, because a second Ctrl-C must not cut
a restore short. One that comes later unwinds again: Python loses an exception that a handler raises
in a destructor, and a restore that hangs on a disk may be left to the guardian.
Signals that were ignored when we were started stay ignored (nohup(1), background jobs).
"""

from __future__ import annotations

import signal
import sys
import time
from types import FrameType

from ktune.errors import ExitCode

EXIT_CODES = {
    signal.SIGINT: ExitCode.INTERRUPTED,
    signal.SIGTERM: ExitCode.TERMINATED,
    signal.SIGHUP: ExitCode.HANG_UP,
}


PATIENCE_S = 5.0
"""How long further signals are swallowed after one that unwinds."""


class Ended(KeyboardInterrupt):
    """SIGTERM or SIGHUP; a KeyboardInterrupt so that whoever handles Ctrl-C handles these."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signal.Signals(signum)


def exit_code_of(interrupt: KeyboardInterrupt) -> ExitCode:
    """130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP."""
    return EXIT_CODES[interrupt.signum if isinstance(interrupt, Ended) else signal.SIGINT]


def install() -> None:
    """Take over SIGINT, SIGTERM and SIGHUP. Main thread only."""
    first_s: float | None = None

    def handle(signum: int, frame: FrameType | None) -> None:
        nonlocal first_s
        now_s = time.monotonic()
        if first_s is not None and now_s - first_s < PATIENCE_S:
            sys.stderr.write("ktune: already ending, putting things back\n")
            return
        first_s = now_s
        if signum == signal.SIGINT:
            raise KeyboardInterrupt
        raise Ended(signum)

    for signum in EXIT_CODES:
        if signal.getsignal(signum) is not signal.SIG_IGN:
            signal.signal(signum, handle)

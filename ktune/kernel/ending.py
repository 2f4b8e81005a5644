"""Signals that end a command: raised, so that every `with` block restores, or noted and looked at.

Python runs a handler between any two steps of the main thread. Where these steps belong to a hook
of os.fork(), a destructor or a callback from C, an exception of the handler is printed and lost
(sys.unraisablehook): a signal during a fork is always lost once `logging` is imported, for it has
such a hook. So a lost one is raised again a moment later, and a command that must not be cut short
anywhere (`watch`) has signals noted instead and asks for them where it can end. Standard library
only.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

PATIENCE_S = 5.0
"""How long further signals are swallowed after the first one: a second Ctrl-C must not cut a
restore short. One that comes later is raised at once, wherever we are: a restore that hangs on a
disk may be left to the guardian."""

_AGAIN_S = 0.01
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Ended(KeyboardInterrupt):
    """SIGTERM or SIGHUP; a KeyboardInterrupt so that whoever handles Ctrl-C handles these."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signal.Signals(signum)


class Noted:
    """Signals that came while nobody was to be interrupted; see `noting`.

    `fileno()` is readable once one has come, for poll(2).
    """

    def __init__(self) -> None:
        self._read, self._write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.interrupt: KeyboardInterrupt | None = None

    def fileno(self) -> int:
        """For poll(2)."""
        return self._read

    def check(self) -> None:
        """Raises KeyboardInterrupt (Ended) if a signal came."""
        if self.interrupt is not None:
            raise self.interrupt

    def wait(self, timeout_s: float) -> None:
        """Sleep. Raises KeyboardInterrupt as soon as a signal comes."""
        select.select([self._read], [], [], timeout_s)
        self.check()

    def note(self, interrupt: KeyboardInterrupt) -> None:
        """Called by the handler."""
        self.interrupt = interrupt
        with suppress(BlockingIOError):
            os.write(self._write, b"!")

    def close(self) -> None:
        """Give the pipe back."""
        os.close(self._read)
        os.close(self._write)


class _Handlers:
    """Of this process: signals belong to it as a whole."""

    def __init__(self) -> None:
        self.noted: Noted | None = None
        """Where signals are noted; None: they are raised."""
        self._first_s: float | None = None
        self._lost: KeyboardInterrupt | None = None
        self._told = sys.unraisablehook
        self._alarm: Any = signal.SIG_DFL

    def install(self) -> None:
        self._first_s = None
        if sys.unraisablehook != self._unraisable:
            self._told, sys.unraisablehook = sys.unraisablehook, self._unraisable
        for signum in _SIGNALS:
            if signal.getsignal(signum) is not signal.SIG_IGN:
                signal.signal(signum, self._handle)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        now_s = time.monotonic()
        again = self._first_s is not None
        if self._first_s is not None and now_s - self._first_s < PATIENCE_S:
            with suppress(OSError):  # not sys.stderr: we may be inside of it
                os.write(2, b"ktune: already ending, putting things back\n")
            return
        self._first_s = now_s
        interrupt = KeyboardInterrupt() if signum == signal.SIGINT else Ended(signum)
        if self.noted is None or again:
            raise interrupt
        self.noted.note(interrupt)

    def _unraisable(self, what: sys.UnraisableHookArgs) -> None:
        if not isinstance(what.exc_value, KeyboardInterrupt):
            self._told(what)
            return
        if self._lost is None:
            self._alarm = signal.signal(signal.SIGALRM, self._raise_lost)
        self._lost = what.exc_value.with_traceback(None)
        signal.setitimer(signal.ITIMER_REAL, _AGAIN_S)

    def _raise_lost(self, signum: int, frame: FrameType | None) -> None:
        interrupt, self._lost = self._lost, None
        signal.signal(signal.SIGALRM, self._alarm)
        if interrupt is not None:
            raise interrupt


_handlers = _Handlers()


def install() -> None:
    """Take over SIGINT, SIGTERM and SIGHUP, and exceptions that Python can't raise. Main thread
    only. Signals that were ignored when we were started stay ignored (nohup(1), background jobs).
    """
    _handlers.install()


@contextmanager
def noting(noted: Noted) -> Iterator[None]:
    """Within, the first signal is noted there instead of raised. What nobody asked for in the end
    is forgotten: the work was done. Closes `noted`."""
    before, _handlers.noted = _handlers.noted, noted
    try:
        yield
    finally:
        _handlers.noted = before
        noted.close()


@contextmanager
def raising() -> Iterator[None]:
    """Within, signals are raised at once again, for a wait that nothing else could end.

    Raises KeyboardInterrupt for one that was noted before.
    """
    before, _handlers.noted = _handlers.noted, None
    try:
        if before is not None:
            before.check()
        yield
    finally:
        _handlers.noted = before

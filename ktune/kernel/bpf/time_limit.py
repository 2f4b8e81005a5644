"""A limit for what the kernel's verifier may cost.

How long it takes depends on the kernel: a program that 6.18 judges in 10 ms can keep 6.1, which
tells more states apart, busy for good. It gives up when a signal waits for the process (`do_check`
in kernel/bpf/verifier.c: EAGAIN); libbpf then tries again a few times, so the signals go on.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_AGAIN_S = 0.05


class Limit:
    """`passed`: the time is over, what failed since then failed for that."""

    passed = False

    def heard(self, number: int, frame: FrameType | None) -> None:
        """The signal's handler; that it came is all that counts."""
        self.passed = True


@contextmanager
def load_limit(limit_s: float) -> Iterator[Limit]:
    """Interrupt system calls after `limit_s` seconds, again and again until the context is left.

    Not a timer of CPU time: those expire on the way back to user space, which the verifier does not
    take. Without effect in a thread other than the main one, which may not set handlers, and where
    somebody else uses SIGALRM.
    """
    limit = Limit()
    free = signal.getsignal(signal.SIGALRM) == signal.SIG_DFL
    if not free or threading.current_thread() is not threading.main_thread():
        yield limit
        return
    signal.signal(signal.SIGALRM, limit.heard)
    signal.setitimer(signal.ITIMER_REAL, limit_s, _AGAIN_S)
    try:
        yield limit
    finally:
        if signal.getsignal(signal.SIGALRM) == limit.heard:  # nobody has taken it over meanwhile
            signal.setitimer(signal.ITIMER_REAL, 0.0)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)

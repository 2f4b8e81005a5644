"""The limit on what the kernel's verifier may cost. That it gives up is shown on the kernels that
need it: `tests/guest`."""

from __future__ import annotations

import signal
import threading

import pytest

from ktune.kernel.bpf.time_limit import load_limit

# pytest-timeout has the signal otherwise
pytestmark = pytest.mark.timeout(0)


def test_the_limit_passes_and_leaves_nothing_behind() -> None:
    with load_limit(0.02) as limit:
        while not limit.passed:
            pass
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGALRM) == signal.SIG_DFL


def test_what_is_done_in_time_is_not_disturbed() -> None:
    with load_limit(60.0) as limit:
        pass
    assert not limit.passed
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_another_thread_and_a_signal_that_is_in_use_are_left_alone() -> None:
    def limited() -> None:
        with load_limit(60.0):
            timers.append(signal.getitimer(signal.ITIMER_REAL))

    timers: list[tuple[float, float]] = []
    thread = threading.Thread(target=limited)
    thread.start()
    thread.join()
    before = signal.signal(signal.SIGALRM, signal.SIG_IGN)
    try:
        limited()
        assert signal.getsignal(signal.SIGALRM) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGALRM, before)
    assert timers == [(0.0, 0.0), (0.0, 0.0)]

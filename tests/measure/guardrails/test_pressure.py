"""Pressure: recorded texts, and the real trigger of this kernel."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktune.measure.guardrails.pressure import (
    PressureAverage,
    PressureLimit,
    PressureStall,
    StallLimit,
    StallSamples,
    pressure_field,
)
from ktune.measure.guardrails.source import Unwatchable
from ktune.measure.guardrails.watch import Guardrails, Wanted

PSI = (
    "some avg10={some:.2f} avg60=0.00 avg300=0.00 total=9\nfull avg10={full:.2f} avg60=0 total=1\n"
)
LIMIT = PressureLimit("memory", "full", avg10_above=0.2, lasting_s=4)
SHORT = StallLimit("io", "some", stalled_s=0.2, within_s=2.0)

needs_psi = pytest.mark.skipif(
    not os.path.exists("/proc/pressure/cpu"), reason="the kernel has no PSI"
)


class Host:
    """A clock and the file."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.full = 0.0

    def rails(self) -> Guardrails:
        average = PressureAverage(LIMIT, lambda: PSI.format(some=99, full=self.full).encode())
        rails = Guardrails([Wanted(average)], clock_s=lambda: self.now_s)
        rails.start_window()
        return rails


def test_pressure_crosses_only_when_it_lasts() -> None:
    host = Host()
    rails = host.rails()
    said = []
    for host.now_s, host.full in [(0, 30.0), (2, 30.0), (3, 10.0), (4, 30.0), (7.4, 30.0)]:
        said.append(rails.crossed())
    assert said == [None] * 5
    host.now_s = 8.1
    assert "memory pressure (full avg10) 30% is above 20%" in (rails.crossed() or "")


def test_pressure_that_outlasts_short_windows_crosses() -> None:
    """Windows of one second, a limit of four: it must not begin anew with each window."""
    host = Host()
    rails = host.rails()
    host.full = 30.0
    said = []
    for tick in range(9):
        host.now_s = tick / 2
        if tick % 2 == 0:
            rails.start_window()
        said.append(rails.crossed())
    assert said[:-1] == [None] * 8
    assert "memory pressure" in (said[-1] or "")


def test_looks_ten_seconds_apart_still_see_pressure_that_lasts() -> None:
    host = Host()
    rails = host.rails()
    host.full = 30.0
    assert rails.crossed() is None
    host.now_s = 10.0
    assert "memory pressure" in (rails.crossed() or "")


def test_pressure_is_not_assumed_while_nobody_looked() -> None:
    host = Host()
    rails = host.rails()
    host.full = 30.0
    assert rails.crossed() is None
    host.now_s = 60.0
    rails.start_window()
    assert rails.crossed() is None


def test_quiet_means_below_every_limit_and_forgetting_counts_anew() -> None:
    host = Host()
    rails = host.rails()
    host.full = 30.0
    assert not rails.quiet()
    assert rails.crossed() is None
    rails.forget()
    for host.now_s in (1.5, 3.0, 4.5, 5.4):
        assert rails.crossed() is None
    host.full = 20.0
    assert rails.quiet()


def test_the_other_pressure_line_is_not_looked_at() -> None:
    host = Host()
    rails = host.rails()
    host.now_s = 100.0
    assert rails.crossed() is None


@given(st.text(max_size=200))
def test_hostile_texts_are_errors_or_numbers_never_anything_else(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert isinstance(pressure_field(text, "some", "avg10"), float)


def test_texts_without_the_number_are_errors_not_zeros() -> None:
    with pytest.raises(ValueError):
        pressure_field("some avg10=0.00", "full", "avg10")
    with pytest.raises(ValueError):
        pressure_field("some avg10=0.00", "some", "total")


@given(st.lists(st.tuples(st.floats(0.05, 1.9), st.floats(0.0, 1.0)), min_size=1, max_size=40))
def test_polling_reaches_the_limit_only_when_some_window_was_stalled_so_long(
    steps: list[tuple[float, float]],
) -> None:
    """Any two samples at most 2 s apart that saw 200 ms stalled exist when it is crossed by looks
    inside the window; looks further apart are scaled down."""
    samples = StallSamples(SHORT)
    now_s = total_us = 0.0
    seen = [(0.0, 0.0)]
    samples.add(0.0, 0.0)
    for step_s, share in steps:
        now_s += step_s
        total_us += step_s * share * 1e6
        seen.append((now_s, total_us))
        reached = samples.add(now_s, total_us)
        rates = [
            (total_us - us) / 1e6 * min(1.0, SHORT.within_s / (now_s - at_s))
            for at_s, us in seen
            if at_s < now_s
        ]
        inside = [(total_us - us) / 1e6 for at_s, us in seen if now_s - at_s <= SHORT.within_s]
        if reached:
            assert max(rates) >= SHORT.stalled_s
        elif all(now_s - at_s <= SHORT.within_s for at_s, _ in seen):
            assert max(inside) < SHORT.stalled_s


def test_a_stall_in_a_long_time_without_a_look_is_averaged() -> None:
    samples = StallSamples(SHORT)
    assert not samples.add(0.0, 0.0)
    assert not samples.add(10.0, 0.9e6)
    assert samples.add(20.0, 0.9e6 + 1.1e6)


@needs_psi
def test_the_real_trigger_wakes_and_is_told_once() -> None:
    """Busy processes on every CPU: some task waits for one nearly all the time."""
    limit = StallLimit("cpu", "some", stalled_s=0.05, within_s=2.0)
    stall = PressureStall(limit)
    with Guardrails([Wanted(stall)]) as rails:
        if not stall.triggered:
            pytest.skip("this kernel takes no trigger from us")
        busy = [
            subprocess.Popen([sys.executable, "-c", "while True: pass"])
            for _ in range(2 * (os.cpu_count() or 1))
        ]
        try:
            said = rails.wait(30.0)
        finally:
            for child in busy:
                child.kill()
                child.wait()
        assert said == "cpu pressure: some stalled 50 ms within 2000 ms"
        assert not rails.quiet()


@pytest.mark.full
@needs_psi
def test_somebody_elses_poll_may_wake_too() -> None:
    limit = StallLimit("cpu", "some", stalled_s=0.05, within_s=2.0)
    with Guardrails([Wanted(PressureStall(limit))]) as rails:
        fds = rails.fds()
        if not fds:
            pytest.skip("this kernel takes no trigger from us")
        poll = select.poll()
        for fd, events in fds.items():
            assert events == select.POLLPRI
            poll.register(fd, events)
        busy = [
            subprocess.Popen([sys.executable, "-c", "while True: pass"])
            for _ in range(2 * (os.cpu_count() or 1))
        ]
        try:
            ready = poll.poll(30_000)
        finally:
            for child in busy:
                child.kill()
                child.wait()
        assert ready
        for fd, events in ready:
            rails.woken(fd, events)
        assert "cpu pressure" in (rails.crossed() or "")


@needs_psi
def test_a_window_that_the_kernel_refuses_is_polled_and_said() -> None:
    limit = StallLimit("cpu", "some", stalled_s=0.001, within_s=1.0)
    stall = PressureStall(limit)
    note = stall.open()
    try:
        if stall.triggered:
            pytest.skip("CAP_SYS_RESOURCE: any window will do")
        assert "polled instead" in note
        assert not stall.fds()
        assert stall.crossed(time.monotonic()) is None
        busy = [
            subprocess.Popen([sys.executable, "-c", "while True: pass"])
            for _ in range(2 * (os.cpu_count() or 1))
        ]
        try:
            until_s = time.monotonic() + 30
            while not (said := stall.crossed(time.monotonic())):
                assert time.monotonic() < until_s
                time.sleep(0.05)
        finally:
            for child in busy:
                child.kill()
                child.wait()
        assert "cpu pressure" in said
    finally:
        stall.close()


def test_a_resource_without_a_file_can_not_be_watched() -> None:
    for guardrail in (
        PressureAverage(PressureLimit("nothing", "full", 0.2, 0)),
        PressureStall(StallLimit("nothing", "full", 0.2, 2.0)),
    ):
        with pytest.raises(Unwatchable, match="/proc/pressure/nothing"):
            guardrail.open()

"""Guardrails on recorded /proc texts: crossed when they say so, and only then."""

from __future__ import annotations

import pytest

from ktune.modes.guardrails import Guardrails, PressureLimit, oom_kills, pressure_avg10

PSI = (
    "some avg10={some:.2f} avg60=0.00 avg300=0.00 total=9\nfull avg10={full:.2f} avg60=0 total=1\n"
)


class Host:
    """A clock and the two files."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.full = 0.0
        self.kills = 7

    def read(self, path: str) -> str:
        if path == "/proc/vmstat":
            return f"nr_free_pages 1\noom_kill {self.kills}\n"
        return PSI.format(some=99, full=self.full)

    def rails(self, *limits: PressureLimit, oom: int | None = 0) -> Guardrails:
        rails = Guardrails(limits, oom, clock_s=lambda: self.now_s, read=self.read)
        rails.start_window()
        return rails


LIMIT = PressureLimit("memory", "full", avg10_above=0.2, lasting_s=4)


def test_an_oom_kill_in_the_window_crosses_at_once() -> None:
    host = Host()
    rails = host.rails()
    assert rails.crossed() is None
    host.now_s, host.kills = 1.0, 8
    assert "1 OOM kills" in (rails.crossed() or "")


def test_oom_kills_before_the_window_do_not_count() -> None:
    host = Host()
    rails = host.rails()
    host.kills = 9
    rails.start_window()
    host.now_s = 1.0
    assert rails.crossed() is None


def test_pressure_crosses_only_when_it_lasts() -> None:
    host = Host()
    rails = host.rails(LIMIT)
    said = []
    for host.now_s, host.full in [(0, 30.0), (2, 30.0), (3, 10.0), (4, 30.0), (7.9, 30.0)]:
        said.append(rails.crossed())
    assert said == [None] * 5
    host.now_s = 8.1
    assert "memory pressure (full avg10) 30% is above 20%" in (rails.crossed() or "")


def test_pressure_that_outlasts_short_windows_crosses() -> None:
    """Windows of one second, a limit of four: it must not begin anew with each window."""
    host = Host()
    rails = host.rails(LIMIT)
    host.full = 30.0
    said = []
    for tick in range(9):
        host.now_s = tick / 2
        if tick % 2 == 0:
            rails.start_window()
        said.append(rails.crossed())
    assert said[:-1] == [None] * 8
    assert "memory pressure" in (said[-1] or "")


def test_pressure_is_not_assumed_while_nobody_looked() -> None:
    host = Host()
    rails = host.rails(LIMIT)
    host.full = 30.0
    assert rails.crossed() is None
    host.now_s = 60.0
    rails.start_window()
    assert rails.crossed() is None


def test_quiet_means_below_every_limit_and_forgetting_counts_anew() -> None:
    host = Host()
    rails = host.rails(LIMIT)
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
    rails = host.rails(LIMIT)
    host.now_s = 100.0
    assert rails.crossed() is None


def test_texts_without_the_number_are_errors_not_zeros() -> None:
    with pytest.raises(ValueError):
        oom_kills("nr_free_pages 1\n")
    with pytest.raises(ValueError):
        pressure_avg10("some avg10=0.00", "full")

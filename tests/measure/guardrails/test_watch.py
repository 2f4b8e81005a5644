"""All guardrails together: refused, optional, lost on the way, waited for."""

from __future__ import annotations

import os
import threading
import time

import pytest

from ktune.errors import RefusedError
from ktune.measure.guardrails.from_profile import guardrails_of
from ktune.measure.guardrails.source import Guardrail, Unwatchable
from ktune.measure.guardrails.watch import Guardrails, Wanted
from ktune.profile.goals import Safety

EVERYTHING = Safety.model_validate(
    {
        "psi": [
            {"resource": "memory", "avg10_above": "100%"},
            {"resource": "memory", "line": "full", "stalled": "2s", "within": "2s"},
        ],
        "oom_kills": {"of": "any", "above": 10**6},
        "kernel_warnings": {"of": "oops"},
        "device_errors": {"of": ["filesystem", "network"], "above": 10**6},
    }
)


class Pipe(Guardrail):
    """Crossed by a byte in a pipe."""

    name = "pipe"

    def __init__(self, *, works: bool = True) -> None:
        self._works = works
        self.read_fd = self.write_fd = -1
        self.broken = False

    def open(self) -> str:
        if not self._works:
            raise Unwatchable("no pipe today")
        self.read_fd, self.write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        return "a pipe"

    def crossed(self, now_s: float) -> str | None:
        if self.broken:
            raise OSError(5, "Input/output error", "pipe")
        try:
            os.read(self.read_fd, 1)
        except BlockingIOError:
            return None
        return "a byte came"

    def close(self) -> None:
        for fd in (self.read_fd, self.write_fd):
            if fd >= 0:
                os.close(fd)
        self.read_fd = self.write_fd = -1

    def fds(self) -> dict[int, int]:
        return {self.read_fd: 1}


def open_fds() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def test_a_guardrail_that_can_not_be_watched_is_refused_and_nothing_stays_open() -> None:
    before = open_fds()
    rails = Guardrails([Wanted(Pipe()), Wanted(Pipe(works=False))])
    with pytest.raises(RefusedError, match="can't be watched here: pipe: no pipe today") as caught:
        rails.open()
    assert caught.value.exit_code == 4
    assert open_fds() == before


def test_an_optional_one_is_named_and_done_without() -> None:
    with Guardrails([Wanted(Pipe(works=False), optional=True), Wanted(Pipe())]) as rails:
        found = rails.open()
        assert [item.works for item in found] == [False, True]
        assert found[0].text == "pipe: can't be watched here: no pipe today"
        assert found[1].text == "pipe: watched (a pipe)"
        rails.start_window()
        assert rails.crossed() is None


def test_one_that_is_lost_on_the_way_counts_as_crossed_unless_optional() -> None:
    for optional in (False, True):
        pipe = Pipe()
        with Guardrails([Wanted(pipe, optional)]) as rails:
            rails.start_window()
            pipe.broken = True
            said = rails.crossed()
            assert (said is None) == optional
            if said:
                assert said == "pipe can't be watched any more: pipe: Input/output error"
            rails.start_window()
            assert rails.crossed() is None


def test_waiting_ends_at_once_when_something_is_crossed() -> None:
    pipe = Pipe()
    with Guardrails([Wanted(pipe)]) as rails:
        rails.start_window()
        timer = threading.Timer(0.3, lambda: os.write(pipe.write_fd, b"x"))
        timer.start()
        assert rails.wait(60.0) == "a byte came"
        timer.join()


def test_waiting_ends_with_the_time_or_when_somebody_else_calls() -> None:
    ours, theirs = os.pipe()
    with Guardrails([Wanted(Pipe())]) as rails:
        began_s = time.monotonic()
        assert rails.wait(0.05) is None
        assert time.monotonic() - began_s >= 0.05
        os.write(theirs, b"x")
        assert rails.wait(60.0, also=[ours]) is None
        assert rails.wait(0.05) is None  # `ours` is no longer polled
    os.close(ours)
    os.close(theirs)


def test_everything_together_opens_looks_and_closes() -> None:
    before = open_fds()
    rails = guardrails_of(EVERYTHING)
    try:
        rails.open()
    except RefusedError as error:
        pytest.skip(error.message)
    rails.start_window()
    assert rails.crossed() is None
    assert rails.wait(0.3) is None
    assert len(rails.fds()) >= 1
    rails.close()
    rails.close()
    assert open_fds() == before


def test_a_survey_refuses_nothing_and_leaves_nothing_open() -> None:
    before = open_fds()
    safety = Safety.model_validate(
        {"disk_health": {"devices": ["no-such-disk"]}, "oom_kills": None, "kernel_warnings": None}
    )
    found = guardrails_of(safety).survey()
    assert [(item.name, item.works, item.optional) for item in found] == [
        ("disk_health", False, False)
    ]
    assert open_fds() == before


def test_nothing_wanted_is_never_crossed() -> None:
    with Guardrails([]) as rails:
        rails.start_window()
        assert rails.crossed() is None
        assert rails.wait(0.01) is None
        assert rails.quiet()

"""A command asks a watch for its scope: what both sides see, whoever dies."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ktune.errors import BusyError, ExitCode
from ktune.proxy.pause import PauseDoor, asked_to_pause, pause_socket

from .rig import wait_until

COOKIE = 4711


@pytest.fixture
def runtime(tmp_path: Path) -> Path:
    return tmp_path


@contextmanager
def watch(runtime: Path, answer: Callable[[PauseDoor], None]) -> Iterator[list[str]]:
    """A watch's side in a thread: `answer` is called for each guest."""
    heard: list[str] = []
    over, ready = threading.Event(), threading.Event()

    def run() -> None:
        with PauseDoor(runtime, COOKIE) as door:
            ready.set()
            while not over.wait(0.01):
                who = door.waiting()
                if who is not None:
                    heard.append(who)
                    answer(door)

    thread = threading.Thread(target=run)
    thread.start()
    assert ready.wait(10)
    try:
        yield heard
    finally:
        over.set()
        thread.join()


def until_gone(door: PauseDoor) -> None:
    door.let_in()
    while not door.done(0.05):
        pass


def test_the_pause_lasts_as_long_as_the_guest(runtime: Path) -> None:
    with watch(runtime, until_gone) as heard:
        for name in ("tune a", "tune\nb"):
            with asked_to_pause(runtime, COOKIE, name) as there:
                assert there
    assert heard == ["tune a", "tune b"]


def test_without_a_watch_nobody_is_asked(runtime: Path) -> None:
    with asked_to_pause(runtime, COOKIE, "tune") as there:
        assert not there


def test_the_socket_of_a_dead_watch_is_nobody_and_is_replaced(runtime: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:  # as SIGKILL leaves it: a name, no listener
        dead.bind(str(pause_socket(runtime, COOKIE)))
    with asked_to_pause(runtime, COOKIE, "tune") as there:
        assert not there
    with (
        watch(runtime, until_gone),
        asked_to_pause(runtime, COOKIE, "tune") as there,
    ):
        assert there


def test_a_guest_that_is_refused_hears_why(runtime: Path) -> None:
    with (
        watch(runtime, lambda door: door.refuse("held by a lease " + "x" * 1000)),
        pytest.raises(BusyError, match="held by a lease") as caught,
        asked_to_pause(runtime, COOKIE, "tune"),
    ):
        raise AssertionError("let in")
    assert caught.value.exit_code is ExitCode.BUSY


def test_a_watch_that_ends_instead_of_answering_is_busy(runtime: Path) -> None:
    door = PauseDoor(runtime, COOKIE)

    def end() -> None:
        wait_until(lambda: door.waiting() is not None)
        door.__exit__(None, None, None)

    thread = threading.Thread(target=end)
    thread.start()
    with pytest.raises(BusyError, match="ended"), asked_to_pause(runtime, COOKIE, "tune"):
        raise AssertionError("let in")
    thread.join()


def test_a_guest_that_is_killed_ends_the_pause(runtime: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from ktune.proxy.pause import asked_to_pause\n"
        "with asked_to_pause(Path(sys.argv[1]), int(sys.argv[2]), 'guest'):\n"
        "    print('in', flush=True); time.sleep(60)\n"
    )
    over = threading.Event()

    def lend(door: PauseDoor) -> None:
        until_gone(door)
        over.set()

    with watch(runtime, lend):
        guest = subprocess.Popen(
            [sys.executable, "-c", program, str(runtime), str(COOKIE)], stdout=subprocess.PIPE
        )
        assert guest.stdout is not None
        assert guest.stdout.readline() == b"in\n"
        assert not over.is_set()
        guest.send_signal(signal.SIGKILL)
        guest.wait()
        guest.stdout.close()
        assert over.wait(10)


def test_a_guest_without_a_name_is_not_heard(runtime: Path) -> None:
    with PauseDoor(runtime, COOKIE) as door:
        guest = socket.socket(socket.AF_UNIX)
        guest.connect(str(door.path))
        guest.sendall(b"\n")
        assert door.waiting() is None
        assert guest.recv(10) == b""
        guest.close()


def test_the_folder_may_lie_deeper_than_a_socket_s_name_may_be_long(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    with asked_to_pause(deep, COOKIE, "tune") as there:
        assert not there
    with watch(deep, until_gone) as heard, asked_to_pause(deep, COOKIE, "tune") as there:
        assert there
    assert heard == ["tune"]


def test_a_watch_that_ends_late_leaves_the_next_one_s_socket_alone(runtime: Path) -> None:
    first = PauseDoor(runtime, COOKIE)
    with PauseDoor(runtime, COOKIE) as second:
        first.__exit__(None, None, None)
        assert second.path.exists()
    assert not second.path.exists()


def test_who_can_t_even_knock_is_told_that_it_is_busy(runtime: Path) -> None:
    """A stopped watch answers nobody: after so many the kernel takes no more."""
    with PauseDoor(runtime, COOKIE) as door:
        knocking = []
        while True:
            guest = socket.socket(socket.AF_UNIX)
            guest.setblocking(False)
            knocking.append(guest)
            try:
                guest.connect(str(door.path))
            except BlockingIOError:
                break
        with pytest.raises(BusyError, match="can't be asked"), asked_to_pause(runtime, COOKIE, "x"):
            raise AssertionError("let in")
        for guest in knocking:
            guest.close()

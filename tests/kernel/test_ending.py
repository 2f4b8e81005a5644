"""Signals arrive: wherever Python was when they came, and where nobody may be interrupted."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import textwrap

import pytest

from ktune.kernel import ending

BEGIN = """
import os, signal, sys, time
from ktune.kernel import ending
ending.install()
me = os.getpid()
"""
LOST = {
    "hook-of-fork": """
os.register_at_fork(after_in_parent=lambda: os.kill(me, signal.SIGTERM) or len("a"))
if os.fork() == 0:
    os._exit(0)
""",
    "destructor": """
class Dying:
    def __del__(self):
        os.kill(me, signal.SIGTERM)
        len("a")
Dying()
""",
    "callback-from-c": """
import ctypes
back = ctypes.CFUNCTYPE(None)(lambda: os.kill(me, signal.SIGTERM) or len("a"))
back()
""",
    "twice": """
class Dying:
    def __del__(self):
        os.kill(me, signal.SIGTERM)
        time.sleep(0.2)  # the second attempt is lost as well
Dying()
""",
}
WAIT = """
    until = time.monotonic() + 20
    while time.monotonic() < until:
        time.sleep(0.01)
    sys.exit("the signal never arrived")
except ending.Ended as ended:
    sys.exit(40 + ended.signum)
"""


def python(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)


@pytest.mark.parametrize("where", LOST)
def test_what_python_loses_is_raised_again(where: str) -> None:
    done = python(f"{BEGIN}try:{textwrap.indent(LOST[where], '    ')}{WAIT}")
    assert done.returncode == 40 + signal.SIGTERM, done.stderr
    assert "ignored" not in done.stderr


def test_other_exceptions_in_destructors_are_told_as_ever() -> None:
    done = python(BEGIN + "class D:\n    def __del__(self): 1 / 0\nD()\n")
    assert "ZeroDivisionError" in done.stderr


NOTED = (
    BEGIN
    + """
import select
noted = ending.Noted()
with ending.noting(noted):
    noted.check()
    os.kill(me, signal.SIGTERM)
    time.sleep(0.05)
    assert select.select([noted], [], [], 0)[0]
    try:
        noted.check()
        sys.exit("not heard")
    except ending.Ended as ended:
        assert ended.signum is signal.SIGTERM
    DEMAND
print("end")
"""
)


def test_a_noted_signal_is_heard_where_it_is_asked_for() -> None:
    done = python(NOTED.replace("DEMAND", "pass"))
    assert done.stdout == "end\n", done.stderr


def test_a_second_one_is_swallowed_for_a_while_then_raised_at_once() -> None:
    again = "os.kill(me, signal.SIGTERM); time.sleep(0.05)"
    done = python(NOTED.replace("DEMAND", again))
    assert done.stdout == "end\n", done.stderr
    assert "already ending" in done.stderr
    impatient = f"ending.PATIENCE_S = 0.0; {again}"
    done = python(NOTED.replace("DEMAND", impatient))
    assert done.stdout == "", "a restore that hangs could not be left"
    assert "Ended" in done.stderr


def test_within_raising_a_noted_signal_comes_at_once() -> None:
    noted = ending.Noted()
    with ending.noting(noted):
        noted.note(KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt), ending.raising():
            raise AssertionError("it was noted before")
        assert select.select([noted], [], [], 0)[0]
    with pytest.raises(OSError):
        os.fstat(noted.fileno())


def test_ignored_signals_stay_ignored() -> None:
    script = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)" + BEGIN
    done = python(script + "os.kill(me, signal.SIGHUP); time.sleep(0.05); print('on')")
    assert done.stdout == "on\n"

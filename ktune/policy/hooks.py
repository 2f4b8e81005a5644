"""Runs the administrator's programs on events. What goes wrong with them is a warning, no more.

Only the local configuration names hooks, never a profile or a policy. No shell; the event comes as
one JSON object on standard input.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence

from ktune.errors import KtuneError
from ktune.profile.configuration import HookEvent, configuration
from ktune.records import clock, history

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SHOWN = 200

Warn = Callable[[str], object]


def fire(event: HookEvent, about: Mapping[str, object], warn: Warn) -> None:
    """Tell every hook of this event, one after the other; returns when they have ended."""
    try:
        found = configuration()
    except KtuneError as error:
        warn(f"hooks were not run: {error.message}")
        return
    programs = found.hooks.get(event, ())
    if not programs:
        return
    told = {"event": event.value, "at": clock.now(), "who": str(history.actor()), **about}
    data = json.dumps(told, sort_keys=True).encode() + b"\n"
    for argv in programs:
        problem = _run(argv, data, found.hook_timeout)
        if problem:
            warn(f"hook {argv[0]} ({event.value}): {problem}")


def _run(argv: Sequence[str], data: bytes, timeout_s: float) -> str | None:
    """What went wrong; None when it ended with 0."""
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd="/",
            env={"PATH": _PATH, "LANG": "C.UTF-8"},
            start_new_session=True,
        )
    except OSError as error:
        return f"can't be run: {error.strerror}"
    with process:
        try:
            _, said = process.communicate(data, timeout=timeout_s)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            return f"killed: no end within {timeout_s:g} s"
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
    if process.returncode:
        text = said.decode("utf-8", "replace").strip()[-_SHOWN:]
        return f"exit code {process.returncode}" + (f"; it said: {text}" if text else "")
    return None

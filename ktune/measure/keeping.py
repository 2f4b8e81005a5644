"""What the child programs that keep something for a run have in common. Standard library only."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from ktune.measure.held_folder import Hold, Taken, hold


def control_socket() -> socket.socket:
    """The tuner's end is the other one: that it closes is the only sign to end by."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    return socket.socket(fileno=os.dup(sys.stdin.fileno()))


def held_or_told(control: socket.socket, folder: Path) -> Hold | None:
    """The folder, held; None when it can't be, which the tuner is told."""
    try:
        return hold(folder)
    except Taken as taken:
        say(control, "taken", message=str(taken))
    except OSError as error:
        say(control, "failed", errno=error.errno or 0, message=str(error))
    return None


def say_error(control: socket.socket, word: str, error: OSError) -> None:
    """`failed` or `left`, with the reason."""
    say(control, word, errno=error.errno or 0, message=error.strerror or str(error))


def say(control: socket.socket, word: str, **fields: Any) -> None:
    """A tuner that is gone hears nothing."""
    with contextlib.suppress(OSError):
        control.sendall(json.dumps({"op": word, **fields}).encode() + b"\n")

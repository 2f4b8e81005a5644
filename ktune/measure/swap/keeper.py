"""Child program that answers for a swap file and a memory cgroup. Standard library only.

It makes both, says so, and undoes both when the socket on standard input closes: at the end of a
run, or because the tuner is gone. What it leaves when it is killed too is undone by the next `ktune
tune` or `ktune recover` (`ground.left`).
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ktune.measure.swap import area, ground
from ktune.measure.swap.memory_group import PREFIX, MemoryGroup
from ktune.records.services import RunningService


def main(argv: Sequence[str]) -> int:
    """`argv`: the folder, bytes of the file, the memory cgroup to be below, what `status` tells."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    control = socket.socket(fileno=os.dup(sys.stdin.fileno()))
    folder, size_bytes, below, told = Path(argv[0]), int(argv[1]), Path(argv[2]), argv[3]
    with control:
        try:
            held = ground.hold(folder)
        except ground.Taken as taken:
            _say(control, "taken", message=str(taken))
            return 1
        except OSError as error:
            _say(control, "failed", errno=error.errno or 0, message=str(error))
            return 1
        try:
            held.register()
            group = _make(folder, size_bytes, below)
            held.tell(RunningService(**json.loads(told)))
            _say(control, "ready", group=str(group))
            while control.recv(1 << 10):
                continue
        except OSError as error:
            _say(control, "failed", errno=error.errno or 0, message=error.strerror or str(error))
        return _undo(control, held)


def _make(folder: Path, size_bytes: int, below: Path) -> Path:
    """The group's path. Raises OSError."""
    ground.undo(folder)  # of a run that was killed
    folder.mkdir(mode=0o700)
    name = f"{PREFIX}{os.getpid()}"
    ground.note_group(folder, below / name)
    file = folder / area.FILE
    area.make(file, size_bytes)
    area.switch_on(file)
    return MemoryGroup.create(below, name).path


def _undo(control: socket.socket, held: ground.Hold) -> int:
    try:
        ground.undo(held.folder)
    except OSError as error:
        _say(control, "left", errno=error.errno or 0, message=error.strerror or str(error))
        return 1
    held.release()
    _say(control, "done")
    return 0


def _say(control: socket.socket, word: str, **fields: Any) -> None:
    """A tuner that is gone hears nothing."""
    with contextlib.suppress(OSError):
        control.sendall(json.dumps({"op": word, **fields}).encode() + b"\n")

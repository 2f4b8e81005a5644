"""Child program that answers for a swap file and a memory cgroup. Standard library only.

It makes both, says so, and undoes both when the socket on standard input closes: at the end of a
run, or because the tuner is gone. What it leaves when it is killed too is undone by the next `ktune
tune` or `ktune recover` (`ground.left`).
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Sequence
from pathlib import Path

from ktune.measure.held_folder import Hold
from ktune.measure.keeping import control_socket, held_or_told, say, say_error
from ktune.measure.swap import area, ground
from ktune.measure.swap.memory_group import PREFIX, MemoryGroup
from ktune.records.services import RunningService


def main(argv: Sequence[str]) -> int:
    """`argv`: the folder, bytes of the file, the memory cgroup to be below, what `status` tells."""
    control = control_socket()
    folder, size_bytes, below, told = Path(argv[0]), int(argv[1]), Path(argv[2]), argv[3]
    with control:
        held = held_or_told(control, folder)
        if held is None:
            return 1
        try:
            ground.register(folder)
            group = _make(folder, size_bytes, below)
            held.tell(RunningService(**json.loads(told)))
            say(control, "ready", group=str(group))
            while control.recv(1 << 10):
                continue
        except OSError as error:
            say_error(control, "failed", error)
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


def _undo(control: socket.socket, held: Hold) -> int:
    try:
        ground.undo(held.folder)
    except OSError as error:
        say_error(control, "left", error)
        return 1
    ground.release(held)
    say(control, "done")
    return 0

"""Programs that tune by themselves and would work against us. Reads the process list only."""

from __future__ import annotations

import os
from collections.abc import Iterator

from ktune.profile.plan import ActiveTuner

KNOWN = ("tuned", "bpftune", "irqbalance", "kubelet")
_INTERPRETER = "python"


def active_tuners() -> tuple[ActiveTuner, ...]:
    """Those of `KNOWN` that run now, by process name or by the script that Python runs."""
    found = []
    for pid, name, argv in _processes():
        tuner = _which(name, argv)
        if tuner:
            found.append(ActiveTuner(tuner, pid))
    return tuple(sorted(found, key=lambda tuner: (tuner.name, tuner.pid)))


def _processes() -> Iterator[tuple[int, str, list[str]]]:
    """(process id, name, arguments) of all; the arguments of interpreters only."""
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        name = _read(pid, "comm").removesuffix("\n")
        argv = _read(pid, "cmdline").split("\0") if name.startswith(_INTERPRETER) else []
        yield int(pid), name, argv


def _read(pid: str, what: str) -> str:
    """proc_pid_comm(5), proc_pid_cmdline(5); empty when the process has ended."""
    try:
        fd = os.open(f"/proc/{pid}/{what}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(fd, 4096).decode("utf-8", "replace")
    except OSError:
        return ""
    finally:
        os.close(fd)


def _which(name: str, argv: list[str]) -> str | None:
    if name in KNOWN:
        return name
    if name.startswith(_INTERPRETER):
        # tuned is a Python script: `/usr/bin/python3 -Es /usr/sbin/tuned -l -P`.
        script = next((word for word in argv[1:] if not word.startswith("-")), "")
        base = script.rpartition("/")[2]
        return base if base in KNOWN else None
    return None

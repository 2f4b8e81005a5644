"""Times for people and identities of processes for machines. Standard library only."""

from __future__ import annotations

import os
from datetime import UTC, datetime

from ktune.kernel.namespaces import boot_id
from ktune.records.types import Runner


def now() -> str:
    """The time in UTC, RFC 3339 with seconds: `2026-11-21T10:15:00Z`."""
    return stamp(datetime.now(UTC))


def stamp(moment: datetime) -> str:
    """A time with its zone, written like `now()`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def moment(text: str) -> datetime:
    """Read what `now` wrote. Raises ValueError; a time without a zone is refused."""
    value = datetime.fromisoformat(text)
    if value.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return value.astimezone(UTC)


def this_process() -> Runner:
    """Who we are, in a form that stays true when the pid is reused."""
    pid = os.getpid()
    return Runner(pid, _started(pid) or 0, boot_id())


def alive(runner: Runner) -> bool:
    """Does that very process still run?"""
    return boot_id() == runner.boot_id and _started(runner.pid) == runner.started_ticks


def _started(pid: int) -> int | None:
    """Field 22 of /proc/PID/stat (proc_pid_stat(5)); the name in brackets may hold blanks."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    if fields[0] in ("Z", "X"):
        return None
    return int(fields[19])

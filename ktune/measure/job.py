"""What the spawner is asked to run and what it answers: plain data, JSON on the wire.

Standard library only: both ends of the socket import it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

BUNDLED_PREFIX = "ktune.measure.workloads."
NO_RESULT = 75
"""Exit code of a bundled load that could not do its own part (EX_TEMPFAIL of sysexits.h): the
window says nothing about its candidate and is void."""


@dataclass(frozen=True)
class Job:
    """One command. `uid` None keeps the caller's; `netns`/`userns` are paths or empty.

    `cpus`: where it may run; empty: anywhere. `own_pids`: in a process id (and System V)
    namespace of its own where that is possible, so that all of it ends with its first process.
    `own_name`: uid and gid that it has in the user namespace of `userns`, instead of 0.
    `realtime`: it may take real-time priorities, whoever it is.
    `folder`: it is run in an empty folder of its own, which belongs to its user. `memory_below`: it
    has a memory cgroup (version 1) of its own in there, with `memory_bytes`.
    """

    argv: tuple[str, ...]
    bundled: str = ""
    uid: int | None = None
    gid: int | None = None
    groups: tuple[int, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    netns: str = ""
    userns: str = ""
    timeout_s: float = 60.0
    output_limit: int = 256 * 1024
    cpus: tuple[int, ...] = ()
    own_pids: bool = False
    own_name: tuple[int, int] | None = None
    realtime: bool = False
    folder: bool = False
    memory_below: str = ""
    memory_bytes: int = 0


@dataclass(frozen=True)
class Leftover:
    """A process that the command left behind."""

    pid: int
    name: str


@dataclass(frozen=True)
class Outcome:
    """What became of a job. `failed_step` is not empty when the command never ran.

    `exit_code` is the command's, or -N when signal N ended it. `unkillable` names processes
    that survived SIGKILL (stuck in the kernel). `folder` is the job's own where it left files
    there; it stays until the next request.
    """

    exit_code: int = 0
    timed_out: bool = False
    stopped: bool = False
    duration_s: float = 0.0
    stdout: str = ""
    stderr: str = ""
    truncated: bool = False
    leftovers: tuple[Leftover, ...] = ()
    unkillable: tuple[Leftover, ...] = ()
    failed_step: str = ""
    errno: int = 0
    message: str = ""
    folder: str = ""


def dump(operation: str, **fields: Any) -> bytes:
    """One line of the protocol."""
    return json.dumps({"op": operation, **fields}).encode() + b"\n"


def job_fields(job: Job) -> dict[str, Any]:
    """A job as JSON fields."""
    return asdict(job)


def job_from(fields: dict[str, Any]) -> Job:
    """The reverse of `job_fields`."""
    return Job(
        **{
            **fields,
            "argv": tuple(fields["argv"]),
            "groups": tuple(fields["groups"]),
            "cpus": tuple(fields["cpus"]),
            "own_name": tuple(fields["own_name"]) if fields["own_name"] else None,
            "environment": tuple((name, value) for name, value in fields["environment"]),
        }
    )


def outcome_from(fields: dict[str, Any]) -> Outcome:
    """The reverse of `dataclasses.asdict` on an Outcome."""
    people = {
        name: tuple(Leftover(**person) for person in fields[name])
        for name in ("leftovers", "unkillable")
    }
    return Outcome(**{**fields, **people})

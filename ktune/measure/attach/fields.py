"""Fields of kernel files by name: pure functions from text to numbers.

Sources: proc_pid_stat(5), proc_pid_io(5), proc_pid_status(5),
Documentation/scheduler/sched-stats.rst,
Documentation/admin-guide/iostats.rst, Documentation/admin-guide/cgroup-v2.rst,
Documentation/accounting/psi.rst. Times become seconds, kB become bytes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import pairwise


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_STAT = _words(
    "state ppid pgrp session tty_nr tpgid flags minflt cminflt majflt cmajflt utime stime cutime"
    " cstime priority nice num_threads itrealvalue starttime vsize rss rsslim startcode endcode"
    " startstack kstkesp kstkeip signal blocked sigignore sigcatch wchan nswap cnswap exit_signal"
    " processor rt_priority policy delayacct_blkio_ticks guest_time cguest_time"
)
_STAT_TICKS = frozenset(
    ("utime", "stime", "cutime", "cstime", "delayacct_blkio_ticks", "guest_time", "cguest_time")
)
_STAT_NUMBERS = frozenset(_STAT) - {"state"}
_SCHEDSTAT = ("run_ns", "wait_ns", "slices")
_DISK = _words(
    "reads reads_merged sectors_read read_ms writes writes_merged sectors_written write_ms"
    " in_flight io_ms weighted_io_ms discards discards_merged sectors_discarded discard_ms flushes"
    " flush_ms"
)
STARTTIME = "starttime"


class NoSuchField(ValueError):
    """The file has no such field."""


def proc_field(file: str, field: str, text: str) -> float:
    """One field of a file under /proc. Raises NoSuchField."""
    match file:
        case "io" | "vmstat":
            return flat(text, field, separator=":" if file == "io" else None)
        case "status":
            return _status(text, field)
        case "stat":
            return stat_field(text, field)
        case "schedstat":
            return _listed(_SCHEDSTAT, text.split(), field)
        case "net/netstat" | "net/snmp":
            return _protocol(text, field)
        case "diskstats":
            return _disk(text, field)
    raise NoSuchField(f"no file {file}")


def stat_field(text: str, field: str) -> float:
    """A field of /proc/PID/stat (proc_pid_stat(5)); ticks become seconds, rss becomes bytes."""
    if field not in _STAT_NUMBERS:
        raise NoSuchField(f"stat has no number {field}")
    value = _listed(_STAT, text.rpartition(")")[2].split(), field)
    if field in _STAT_TICKS:
        return value / _TICKS_PER_S
    return value * _PAGE_BYTES if field == "rss" else value


def start_ticks(text: str) -> int:
    """When the process started, in ticks after boot: with the pid it names a process for good."""
    return int(_listed(_STAT, text.rpartition(")")[2].split(), STARTTIME))


def flat(text: str, field: str, *, separator: str | None = None) -> float:
    """`key value` lines. Raises NoSuchField.

    >>> flat("usage_usec 12\\nuser_usec 7\\n", "user_usec")
    7.0
    """
    for line in text.splitlines():
        key, _, rest = line.partition(separator) if separator else line.partition(" ")
        if key == field:
            return _number(rest.strip(), field)
    raise NoSuchField(f"no field {field}")


def cgroup_field(text: str, field: str) -> float:
    """A number of a cgroup file: single value, flat keys, or nested keys summed over devices.

    Raises NoSuchField (also for `max`, which is no number).

    >>> cgroup_field("8:0 rbytes=10 wbytes=1\\n8:16 rbytes=5 wbytes=0\\n", "rbytes")
    15.0
    """
    if not field:
        lines = text.splitlines()
        if len(lines) != 1:
            raise NoSuchField(f"the file has {len(lines)} lines: name a field")
        return _number(lines[0].strip(), "the file")
    if "=" not in text:
        return flat(text, field)
    found = [
        _number(value, field)
        for line in text.splitlines()
        for key, equals, value in (word.partition("=") for word in line.split()[1:])
        if equals and key == field
    ]
    if not found:
        raise NoSuchField(f"no field {field}")
    return sum(found)


def pressure_total_s(text: str, line: str) -> float:
    """Seconds stalled since boot of a pressure file's line. Raises NoSuchField.

    >>> pressure_total_s("some avg10=0.00 avg60=0.00 avg300=0.00 total=1500000", "some")
    1.5
    """
    for row in text.splitlines():
        kind, *pairs = row.split()
        if kind == line:
            for pair in pairs:
                key, _, value = pair.partition("=")
                if key == "total":
                    return _number(value, line) / 1e6
    raise NoSuchField(f"no line {line}")


def _status(text: str, field: str) -> float:
    for line in text.splitlines():
        key, _, rest = line.partition(":")
        if key == field:
            value, _, unit = rest.strip().partition(" ")
            return _number(value, field) * (1024 if unit == "kB" else 1)
    raise NoSuchField(f"status has no {field}")


def _protocol(text: str, field: str) -> float:
    """`TcpExt.ListenDrops`: a line of names, a line of values, both begin with `TcpExt:`."""
    protocol, _, name = field.partition(".")
    for names, values in pairwise(text.splitlines()):
        if names.startswith(f"{protocol}:") and values.startswith(f"{protocol}:"):
            return _listed(names.split()[1:], values.split()[1:], name)
    raise NoSuchField(f"no {field}")


def _disk(text: str, field: str) -> float:
    device, _, name = field.rpartition(".")
    for line in text.splitlines():
        words = line.split()
        if len(words) > 3 and words[2] == device:
            return _listed(_DISK, words[3:], name)
    raise NoSuchField(f"no disk {device or field} (write DISK.FIELD)")


def _listed(names: Sequence[str], values: Sequence[str], name: str) -> float:
    if name not in names or names.index(name) >= len(values):
        raise NoSuchField(f"no field {name}")
    return _number(values[names.index(name)], name)


def _number(text: str, what: str) -> float:
    if not text.lstrip("-").isdigit():
        raise NoSuchField(f"{what} is {text[:20]!r}, no number")
    return float(text)

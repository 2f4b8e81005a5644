"""Looks at what runs on this machine: programs, listening sockets, the mix of work. Reads only.

Sources: proc_pid_stat(5), proc_pid_net(5) (tcp: state 0A is LISTEN; unix: flag 00010000 is
SO_ACCEPTCON), `measure.fingerprint`.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from ktune.errors import KtuneError
from ktune.kernel.processes import all_processes, family, hidden_processes
from ktune.measure.fingerprint import Fingerprint

_LISTEN = "0A"
_ACCEPTS = 0x00010000
_MOST_NAMESPACES = 64


@dataclass(frozen=True)
class Seen:
    """What runs. `programs`: how many processes by name; `mix`: features of `profile.features` over
    the sampling time, empty where the kernel does not tell; `notes`: what could not be seen."""

    programs: Mapping[str, int] = field(default_factory=dict)
    ports: frozenset[int] = frozenset()
    sockets: frozenset[str] = frozenset()
    mix: Mapping[str, int] = field(default_factory=dict)
    filesystems: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()


def look(sample: Callable[[], None]) -> Seen:
    """`sample` waits (and may do something useful) while the mix is sampled.

    Programs and sockets are looked at before and after: what comes and goes is seen more likely.
    """
    notes = [text for text in (hidden_processes(),) if text]
    first = _now(notes)
    mix: Mapping[str, int] = {}
    try:
        with Fingerprint.of(None) as fingerprint:
            sample()
            mix = fingerprint.take()
    except (KtuneError, OSError, ValueError) as error:
        notes.append(f"no mix of work: {error}")
    second = _now([])
    programs = {
        name: max(first.programs.get(name, 0), second.programs.get(name, 0))
        for name in {*first.programs, *second.programs}
    }
    return Seen(
        programs,
        first.ports | second.ports,
        first.sockets | second.sockets,
        mix,
        frozenset(mounted(_text("/proc/self/mounts"))),
        tuple(dict.fromkeys(notes)),
    )


def _now(notes: list[str]) -> Seen:
    programs: Counter[str] = Counter()
    try:
        processes = all_processes()
    except OSError as error:
        notes.append(f"no processes: {error.strerror}")
        processes = {}
    own = family(processes, [os.getpid()])
    namespaces: dict[str, int] = {}
    for item in processes.values():
        if item.kernel_thread or item.pid in own:
            continue
        programs.update(_names(item.pid, item.name))
        namespace = _link(f"/proc/{item.pid}/ns/net")
        if namespace and len(namespaces) < _MOST_NAMESPACES:
            namespaces.setdefault(namespace, item.pid)
    namespaces[_link("/proc/self/ns/net")] = os.getpid()
    ports: set[int] = set()
    sockets: set[str] = set()
    for pid in namespaces.values():
        for table in ("tcp", "tcp6"):
            ports.update(listening_ports(_text(f"/proc/{pid}/net/{table}")))
        sockets.update(listening_sockets(_text(f"/proc/{pid}/net/unix")))
    return Seen(dict(programs), frozenset(ports), frozenset(sockets))


def listening_ports(table: str) -> Iterator[int]:
    """From the text of /proc/net/tcp or tcp6; a line of another form is left out.

    >>> row = "0: 0100007F:18EB 00000000:0000 0A 00000000:00000000"
    >>> list(listening_ports("  sl  local_address" + chr(10) + row))
    [6379]
    """
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 3 and fields[3] == _LISTEN:
            try:
                yield int(fields[1].rpartition(":")[2], 16)
            except ValueError:
                continue


def listening_sockets(table: str) -> Iterator[str]:
    """Paths from the text of /proc/net/unix; of abstract ones the name with an @."""
    for line in table.splitlines()[1:]:
        fields = line.split(maxsplit=7)
        if len(fields) == 8:
            try:
                accepts = int(fields[3], 16) & _ACCEPTS
            except ValueError:
                continue
            if accepts:
                yield fields[7]


def mounted(table: str) -> Iterator[str]:
    """Kinds of file systems from the text of /proc/mounts (proc_pid_mounts(5)).

    >>> list(mounted("/dev/vda / ext4 rw 0 0"))
    ['ext4']
    """
    for line in table.splitlines():
        fields = line.split()
        if len(fields) > 2:
            yield fields[2]


def _names(pid: int, comm: str) -> set[str]:
    """What a process may be called: its own word, and the file that it runs, which is not cut off
    (readable for its owner and root)."""
    program = os.path.basename(_link(f"/proc/{pid}/exe").removesuffix(" (deleted)"))
    return {comm, program} - {""}


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _text(path: str) -> str:
    """Empty for a process that has ended, or that is not ours to look at."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""

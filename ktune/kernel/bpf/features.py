"""What BPF can do on this host: each ability is tried by loading, never judged by a version.

Programs are attached to a cgroup made for the purpose or to a tracepoint for a moment; nothing
stays. Standard library only.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from ktune.kernel.bpf.library import BpfError, library
from ktune.kernel.bpf.objects import open_object
from ktune.kernel.cgroup2 import cgroup2_root


@dataclass(frozen=True)
class Feature:
    """One ability. `why`: the kernel's or libbpf's words where it does not work, else what was
    tried."""

    name: str
    works: bool
    why: str
    used_for: str


@dataclass(frozen=True)
class _Probe:
    name: str
    used_for: str
    attempt: Callable[[], str]


def features() -> list[Feature]:
    """Every ability, in reading order. Never raises."""
    found = []
    for probe in _PROBES:
        try:
            said, works = probe.attempt(), True
        except OSError as error:  # BpfError is one; a cgroup that can't be made is another
            said, works = error.strerror or str(error), False
        found.append(Feature(probe.name, works, said, probe.used_for))
        if probe.name == "libbpf" and not works:
            break  # the rest would say the same
    return found


def _libbpf() -> str:
    return f"version {library().version}"


def _sysctl_in(name: str, program: str) -> Callable[[], str]:
    def attempt() -> str:
        with open_object(name) as probe:
            probe.choose(program)
            probe.load()
            root = cgroup2_root()
            if root is None:
                raise BpfError(errno.ENOENT, "loads, but no cgroup2 is mounted to attach it to")
            folder = tempfile.mkdtemp(prefix="ktune-probe-", dir=root)
            try:
                probe.attach_cgroup(program, folder).close()
            finally:
                with suppress(OSError):
                    os.rmdir(folder)
        return "loaded, attached to a group made for it, removed"

    return attempt


def _traced(name: str, program: str) -> Callable[[], str]:
    def attempt() -> str:
        with open_object(name) as probe:
            probe.choose(program)
            probe.load()
            probe.attach(program).close()
        return "loaded, attached, removed"

    return attempt


def _tracepoint() -> str:
    if not tracefs_mounted():
        raise BpfError(
            errno.ENOENT, "no tracefs is mounted: mount -t tracefs tracefs /sys/kernel/tracing"
        )
    return _traced("probe", "probe_tracepoint")()


def tracefs_mounted() -> bool:
    """Whether classic tracepoints can be found by their names; ktune does not mount it itself."""
    return any(os.path.isdir(f"{root}/events") for root in _TRACEFS)


_TRACEFS = ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")

_PROBES = (
    _Probe("libbpf", "everything of BPF", _libbpf),
    _Probe(
        "BPF cgroup/sysctl",
        "the guard of sysctl writes; foreign writes seen at once",
        _sysctl_in("probe", "probe_sysctl"),
    ),
    _Probe(
        "BPF CO-RE network namespace",
        "which network namespace a foreign write came from",
        _sysctl_in("probe_core", "probe_netns"),
    ),
    _Probe(
        "BPF ring buffer", "events of the guard and of sensors", _traced("probe_ring", "probe_ring")
    ),
    _Probe(
        "BPF tp_btf", "sensors of run-queue and block latency", _traced("probe", "probe_tp_btf")
    ),
    _Probe("BPF raw_tp", "sensors where tp_btf is refused", _traced("probe", "probe_raw_tp")),
    _Probe("BPF tracepoint", "sensors on kernels without BTF", _tracepoint),
    _Probe("BPF iter/task", "snapshots of every task", _traced("probe", "probe_iter_task")),
)

"""A write that the BPF guard judges against the same write without it, and what loading it takes.

The writer is in a cgroup of its own, in a network namespace of its own.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from costs.rig import Net, interleaved, note, spread, table
from ktune.kernel.bpf.library import BpfError
from ktune.kernel.cgroup2 import cgroup2_root
from ktune.kernel.tunable import sysctl_path
from ktune.kernel.values import ValueType
from ktune.proxy.guard.loaded import LoadedGuard
from ktune.proxy.guard.rules import kept_rule
from ktune.proxy.guard.wire import Action

_PATH = sysctl_path("net.ipv4.tcp_fin_timeout")
_WRITES = 20_000


def measure(runs: int, writes: int = _WRITES) -> None:
    """Time it and print it."""
    root = cgroup2_root()
    if root is None:
        note("guard: left out, no cgroup2 is mounted")
        return
    rounds = max(5, runs // 4)
    try:
        loads = [_load() for _ in range(rounds)]
    except BpfError as error:
        note(f"guard: left out: {error.why}")
        return
    with Net() as net, _inside(root) as folder, net.entered():
        found = interleaved(
            rounds,
            {
                "no guard": lambda _: _written(writes),
                "a guard elsewhere": lambda _: _guarded(folder, writes, bound=False, audited=False),
                "limits, within": lambda _: _guarded(folder, writes, bound=True, audited=False),
                "limits and an event": lambda _: _guarded(folder, writes, bound=True, audited=True),
            },
        )
    bare = found["no guard"]
    table(
        f"One write(2) of a sysctl, CPU time, {rounds} interleaved rounds of {writes}",
        ("way", "us, median [quartiles]", "times the unguarded"),
        [
            (
                name,
                spread(times).text(1e6, 2),
                spread(b / a for a, b in zip(bare, times, strict=True)).text(1, 2),
            )
            for name, times in found.items()
        ],
    )
    note(f"load, attach at the root, detach: {spread(loads).text(1000, 1)} ms of CPU time")


def _load() -> float:
    started_s = time.process_time()
    with closing(LoadedGuard()) as guard:
        guard.audit_everybody()
    return time.process_time() - started_s


def _guarded(folder: str, writes: int, *, bound: bool, audited: bool) -> float:
    """CPU time of one write, the mean. An event: the guard tells of this very writer."""
    rule = kept_rule(_PATH, ValueType.INT, (60, 61), action=Action.DENY, netns=0)
    assert rule is not None
    with closing(LoadedGuard()) as guard:
        guard.set_rules([rule])
        if bound:
            guard.bind(folder)
        if audited:
            guard.audit(folder)
        return _written(writes, guard if audited else None)


def _written(writes: int, guard: LoadedGuard | None = None) -> float:
    fd = os.open(_PATH, os.O_WRONLY | os.O_CLOEXEC)
    taken_s = 0.0
    try:
        blocks = max(1, writes // 500)
        for _ in range(blocks):
            started_s = time.thread_time()
            for _ in range(500):
                os.pwrite(fd, b"61", 0)
            taken_s += time.thread_time() - started_s
            if guard is not None:
                guard.events()  # a full ring would make it cheaper
    finally:
        os.close(fd)
    return taken_s / (500 * blocks)


@contextmanager
def _inside(root: str) -> Iterator[str]:
    """This process in a cgroup of its own."""
    home = Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines()
    before = next((line[3:] for line in home if line.startswith("0::")), "/")
    folder = f"{root}/ktune-benchmark-{os.getpid()}"
    os.mkdir(folder)
    try:
        Path(folder, "cgroup.procs").write_text("0", encoding="ascii")
        yield folder
    finally:
        Path(f"{root}{before}", "cgroup.procs").write_text("0", encoding="ascii")
        with suppress(OSError):
            os.rmdir(folder)

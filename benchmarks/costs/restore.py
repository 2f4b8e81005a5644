"""kill -9 of the tuner in the middle of a window, until the last of its knobs is back.

The real tuner, the real guardian, ten knobs of a network namespace. Measured from the kill to the
moment when every knob reads its original, by reading descriptors that were opened in the
namespace. Once while the disk is idle, once while a writer keeps it saturated.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from costs.knobs import MovableKnob, movable
from costs.rig import KTUNE, Net, Spread, note, spread, table, verdict
from ktune.kernel.namespaces import NamespaceRef
from ktune.proxy.client import LeaseRequest, open_lease
from ktune.records.paths import StatePaths

_TARGET_MS = 50.0
_PATIENCE_S = 60.0
_MIB = 2**20
_KNOBS = 10
_PROFILE = """\
ktune: 1
kind: profile
name: held
summary: Every knob is moved, and the window lasts until it is killed
scope: {{netns: {netns}}}
workload:
  command: [sh, -c, "echo score=1; test $(cat {path}) = {first} || sleep 300"]
  renews: [new_socket, new_process]
  timeout: 10m
  metrics: {{score: {{from: key_value, plausible: [0.1, 10]}}}}
knobs:
  sysctl:
{knobs}
expert: [{{{moved}}}]
objectives: [{{metric: score, direction: maximize}}]
search: {{sampler: random, trials: 100}}
"""
_WRITER = """
import os, sys
block = os.urandom(1 << 20)
print("ready", flush=True)
while True:
    fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for number in range(2048):
        os.write(fd, block)
        number % 64 or os.fdatasync(fd)
    os.close(fd)
"""


@dataclass(frozen=True)
class Kill:
    """One kill. Seconds; `guardian_pss` in bytes, just before."""

    restored_s: float
    guardian_pss: int


def measure(kills: int, folder: Path) -> None:
    """Both situations, then the guardian's memory."""
    with Net() as net:
        knobs = movable(net, _KNOBS)
        idle = [_kill(net, knobs, folder / f"idle-{number}") for number in range(kills)]
        with _saturated(folder) as fsync_s:
            busy = [_kill(net, knobs, folder / f"busy-{number}") for number in range(kills)]
        locked = _locked_memory(net, knobs, folder / "locked")
    rows = []
    for name, found in (("idle", idle), ("saturated by a writer", busy)):
        times = spread(kill.restored_s for kill in found)
        met = verdict(times.median * 1000, _TARGET_MS, at_most=True)
        rows.append((name, times.text(1000), f"{times.largest * 1000:.1f}", met))
    table(
        f"kill -9 of the tuner to the last of {_KNOBS} knobs restored, {kills} kills each",
        ("disk", "ms, median [quartiles]", "largest", f"median <= {_TARGET_MS:.0f} ms"),
        rows,
    )
    note(
        f"an fsync beside that writer took {fsync_s.text(1000)} ms, at most "
        f"{fsync_s.largest * 1000:.0f} ms"
    )
    usual = max(kill.guardian_pss for kill in (*idle, *busy)) / _MIB
    table(
        "Guardian's memory (Pss of smaps_rollup, largest seen)",
        ("guardian", "MiB", "target", ""),
        [
            ("as tune starts it", f"{usual:.1f}", "<= 12", verdict(usual, 12, at_most=True)),
            (
                "memory locked",
                f"{locked / _MIB:.1f}",
                "<= 20",
                verdict(locked / _MIB, 20, at_most=True),
            ),
        ],
    )


def _kill(net: Net, knobs: Sequence[MovableKnob], folder: Path) -> Kill:
    """Start a tuner, wait until it holds every knob moved, kill it, wait for the originals."""
    folder.mkdir()
    profile = folder / "held.yaml"
    profile.write_text(_profile(net, knobs))
    with net.entered():
        files = [os.open(knob.tunable.path, os.O_RDONLY | os.O_CLOEXEC) for knob in knobs]
    originals = [knob.original for knob in knobs]
    tuner = subprocess.Popen(
        [
            *KTUNE,
            f"--state-dir={folder / 'state'}",
            "tune",
            str(profile),
            "--search-only",
            "--quiet",
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        _wait(files, [knob.other for knob in knobs], tuner)
        time.sleep(0.02)  # the window has begun
        pss = pss_of(_guardian_of(tuner.pid))
        started_s = time.perf_counter()
        tuner.send_signal(signal.SIGKILL)
        _wait(files, originals, None)
        return Kill(time.perf_counter() - started_s, pss)
    finally:
        tuner.kill()
        tuner.wait()
        assert tuner.stderr is not None
        tuner.stderr.close()
        for fd in files:
            os.close(fd)


def _profile(net: Net, knobs: Sequence[MovableKnob]) -> str:
    lines = [
        f"    {knob.tunable.key}: "
        f"{{range: [{min(knob.original, knob.other)}, {max(knob.original, knob.other)}]}}"
        for knob in knobs
    ]
    return _PROFILE.format(
        netns=net.path,
        path=knobs[0].tunable.path,
        first=knobs[0].original,
        knobs="\n".join(lines),
        moved=", ".join(f"{knob.tunable.key}: {knob.other}" for knob in knobs),
    )


def _wait(
    files: Sequence[int], values: Sequence[int], tuner: subprocess.Popen[bytes] | None
) -> None:
    """Until every file reads its value."""
    until_s = time.perf_counter() + _PATIENCE_S
    while True:
        if all(int(os.pread(fd, 64, 0)) == value for fd, value in zip(files, values, strict=True)):
            return
        if tuner is not None and tuner.poll() is not None:
            assert tuner.stderr is not None
            raise SystemExit(f"the tuner ended: {tuner.stderr.read().decode()[-2000:]}")
        if time.perf_counter() > until_s:
            raise SystemExit(f"the knobs did not come to {values} within {_PATIENCE_S:.0f} s")
        time.sleep(0.0005)


def _guardian_of(tuner: int) -> int:
    """The tuner's child that runs the guardian's program."""
    for entry in os.listdir("/proc"):
        if entry.isdigit() and _parent_of(entry) == tuner:
            command = Path(f"/proc/{entry}/cmdline").read_bytes()
            if b"guardian" in command:
                return int(entry)
    raise SystemExit("the tuner has no guardian")


def _parent_of(pid: str) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def pss_of(pid: int) -> int:
    """Proportional set size in bytes (proc_pid_smaps(5))."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def _locked_memory(net: Net, knobs: Sequence[MovableKnob], folder: Path) -> int:
    paths = StatePaths(folder / "state", folder / "run")
    request = LeaseRequest("benchmark", "benchmark", "benchmark")
    with open_lease(
        [knob.lease for knob in knobs],
        request,
        paths=paths,
        namespace=NamespaceRef(net.path),
        lock_memory=True,
    ) as lease:
        lease.apply({knob.tunable.key: knob.other for knob in knobs}, deadline_s=60)
        if lease.isolation.get("locked memory") != "ok":
            note(f"memory could not be locked here: {lease.isolation.get('locked memory')}")
        return pss_of(lease.guardian_pid)


@contextmanager
def _saturated(folder: Path) -> Iterator[Spread]:
    """A process that writes without end; gives how long an fsync takes beside it."""
    target = folder / "writer.bin"
    writer = subprocess.Popen([sys.executable, "-c", _WRITER, str(target)], stdout=subprocess.PIPE)
    try:
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(1.0)
        yield spread(_fsync_s(folder / "probe.bin") for _ in range(20))
    finally:
        writer.kill()
        writer.wait()
        writer.stdout.close()
        target.unlink(missing_ok=True)


def _fsync_s(path: Path) -> float:
    time.sleep(0.05)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, b"x" * 200)
        started_s = time.perf_counter()
        os.fsync(fd)
        return time.perf_counter() - started_s
    finally:
        os.close(fd)

"""Back ends of the proxy beside each other: death and switches.

Knobs of the whole host (the module knows no other scope), moved by one and put back.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from costs.rig import interleaved, note, scratch, spread, table
from ktune.errors import KtuneError
from ktune.kernel.tunable import Tunable, sysctl_path
from ktune.kernel.values import ValueType
from ktune.proxy.backends import ProxyChoice
from ktune.proxy.client import Lease, LeaseRequest, open_lease
from ktune.proxy.model import LeaseTunable
from ktune.proxy.recover import recover
from ktune.records.paths import StatePaths

KNOBS = {
    "vm.swappiness": 1,
    "vm.vfs_cache_pressure": 1,
    "vm.page-cluster": 1,
    "vm.stat_interval": 1,
    "vm.watermark_scale_factor": 1,
    "vm.dirty_expire_centisecs": 1,
    "vm.dirty_writeback_centisecs": 1,
}
"""Key -> by how much it is moved."""

_KEPT_S = 3.0
"""Knobs that are still moved so long after both deaths are called kept."""
_PATIENCE_S = 60.0
_TUNER = """
import json, sys, time
sys.path[:0] = json.loads(sys.argv[1])
from costs.backends import held
from ktune.proxy.backends import ProxyChoice
with held(ProxyChoice(sys.argv[2]), sys.argv[3]) as lease:
    print(lease.guardian_pid, flush=True)
    time.sleep(600)
"""


def measure(*, rounds: int, kills: int) -> None:
    """Every part, for every back end that works here."""
    with scratch("/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        choices = [choice for choice in _CHOICES if _works(choice, folder)]
        _deaths(choices, kills, folder)
        _switches(choices, rounds, folder)


_CHOICES = [choice for choice in ProxyChoice if choice is not ProxyChoice.AUTO]


def _works(choice: ProxyChoice, folder: Path) -> bool:
    try:
        with held(choice, str(folder)):
            return True
    except KtuneError as error:
        note(f"{choice.value}: left out, {error}")
        return False


@contextmanager
def held(choice: ProxyChoice, folder: str) -> Iterator[Lease]:
    """A lease on the knobs, all of them moved."""
    request = LeaseRequest("benchmark", "benchmark", "benchmark")
    tunables = [LeaseTunable(Tunable(key, sysctl_path(key), ValueType.INT)) for key in KNOBS]
    with open_lease(tunables, request, paths=_paths(folder), proxy=choice) as lease:
        report = lease.apply(_moved(), deadline_s=600)
        if not report.ok:
            raise SystemExit(f"the lease could not apply: {report.problems}")
        yield lease


def _paths(folder: str) -> StatePaths:
    return StatePaths(Path(folder, "state"), Path(folder, "run"))


def _live() -> dict[str, int]:
    return {key: int(Path(sysctl_path(key)).read_text()) for key in KNOBS}


_ORIGINALS = _live()


def _moved() -> dict[str, int]:
    return {key: _ORIGINALS[key] + by for key, by in KNOBS.items()}


# --- death ----------------------------------------------------------------------------------------


def _deaths(choices: Sequence[ProxyChoice], kills: int, folder: Path) -> None:
    sides = {}
    for choice in choices:
        sides[choice.value, "tuner"] = _killer(choice, folder, both=False)
        sides[choice.value, "tuner and guardian"] = _killer(choice, folder, both=True)
    found = interleaved(kills, {f"{name}/{who}": run for (name, who), run in sides.items()})
    rows = []
    for name, who in sides:
        times = found[f"{name}/{who}"]
        kept = sum(1 for taken_s in times if taken_s == float("inf"))
        said = "kept until `recover`" if kept == len(times) else spread(times).text(1000)
        rows.append((name, who, said))
    table(
        f"kill -9 to the last of {len(KNOBS)} knobs restored, {kills} kills each, interleaved",
        ("back end", "killed", "ms, median [quartiles]"),
        rows,
    )


class _killer:
    """Start a tuner that holds every knob moved, kill it, wait for the originals."""

    def __init__(self, choice: ProxyChoice, folder: Path, *, both: bool) -> None:
        self._choice, self._folder, self._both = choice, folder, both

    def __call__(self, number: int) -> float:
        """Seconds; infinite where the knobs stayed as they were."""
        tuner = subprocess.Popen(
            [
                *(sys.executable, "-c", _TUNER, json.dumps(sys.path)),
                *(self._choice.value, str(self._folder)),
            ],
            stdout=subprocess.PIPE,
        )
        assert tuner.stdout is not None
        try:
            guardian = int(tuner.stdout.readline())
            if self._both:
                os.kill(guardian, signal.SIGSTOP)
            begun_s = time.perf_counter()
            tuner.kill()
            if self._both:
                os.kill(guardian, signal.SIGKILL)
            return self._wait(begun_s)
        finally:
            tuner.kill()
            tuner.wait()
            tuner.stdout.close()
            recover(_paths(str(self._folder)))

    def _wait(self, begun_s: float) -> float:
        patience_s = _KEPT_S if self._both else _PATIENCE_S
        while _live() != _ORIGINALS:
            if time.perf_counter() - begun_s > patience_s:
                if not self._both:
                    raise SystemExit(f"{self._choice.value}: the knobs did not come back")
                return float("inf")
            time.sleep(0.0005)
        return time.perf_counter() - begun_s


# --- switches -------------------------------------------------------------------------------------


def _switches(choices: Sequence[ProxyChoice], rounds: int, folder: Path) -> None:
    """Only one lease may hold a knob: blocks of a tenth of the rounds, in turn."""
    block = max(1, rounds // 10)

    def run(choice: ProxyChoice) -> list[float]:
        with held(choice, str(folder)) as lease:
            lease.apply({}, deadline_s=60)
            return [_switch(lease) for _ in range(block)]

    times: dict[str, list[float]] = {choice.value: [] for choice in choices}
    for _ in range(10):
        for choice in choices:
            times[choice.value] += run(choice)
    spreads = {name: spread(found) for name, found in times.items()}
    first = next(iter(spreads.values()))
    table(
        f"Apply and read back {len(KNOBS)} sysctls, journal on tmpfs, {10 * block} switches each",
        ("back end", "us a knob, median [quartiles]", "against the first"),
        [
            (name, found.text(1e6 / len(KNOBS)), f"{found.median / first.median:.2f}")
            for name, found in spreads.items()
        ],
    )


def _switch(lease: Lease) -> float:
    begun_s = time.perf_counter()
    report = lease.apply(_moved(), deadline_s=60)
    taken_s = time.perf_counter() - begun_s
    if not report.ok:
        raise SystemExit(f"the lease could not apply: {report.problems}")
    lease.apply({}, deadline_s=60)
    return taken_s

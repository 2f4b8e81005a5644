"""What sensors cost: loads that do nothing but what a sensor hooks, with and without it.

CPU time per turn comes from the scheduler's own account (proc_pid_schedstat: sum_exec_runtime), so
that other work on the machine hardly matters; the sides alternate in random order within one run.
"""

from __future__ import annotations

import math
import mmap
import os
import random
import resource
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from costs import rig
from ktune.kernel.bpf.sensors import KINDS, SensorName, open_sensor
from ktune.measure.sensing import Watched

_CALM_S = 0.002
_SLICE_S = 0.06
_FEWEST_TURNS = 20
_PATIENCE = 10
_WINDOW_S = 1.0
_TICK_S = 0.05
_ALONE = 0.9
_FEWEST_TICKS = 4
_TARGET = 1.01

Turn = Callable[[], object]


def pipe_turns() -> tuple[Turn, Turn]:
    """A byte there and back: two context switches a turn where both share a CPU."""
    (near, there), (back, far) = os.pipe(), os.pipe()
    return (lambda: (os.write(there, b"x"), os.read(back, 1))), (
        lambda: (os.read(near, 1), os.write(far, b"x"))
    )


def tcp_turns() -> tuple[Turn, Turn]:
    """A byte there and back over loopback: each side receives a segment a turn."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = socket.create_connection(listener.getsockname())
        two, _ = listener.accept()
    for end in (one, two):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return (lambda: (one.send(b"x"), one.recv(1))), (lambda: (two.recv(1), two.send(b"x")))


def fault_turns() -> tuple[Turn, Turn]:
    """Sixteen new pages; the other side does nothing."""
    size = mmap.PAGESIZE

    def touch() -> None:
        with mmap.mmap(-1, 16 * size) as memory:
            memory.madvise(mmap.MADV_NOHUGEPAGE)
            for page in range(16):
                memory[page * size] = 1

    return touch, signal.pause


LOADS = {
    SensorName.RUNQUEUE_LATENCY: ("a byte over a pipe and back, both on one CPU", pipe_turns, 2),
    SensorName.TCP_RTT: ("a byte over loopback and back, both on one CPU", tcp_turns, 2),
    SensorName.PAGE_FAULTS: ("16 new pages", fault_turns, 16),
}
"""By sensor: what a turn is, the two sides, events a turn."""


class Load:
    """Two processes on one CPU that take turns; `spent` and `turns` grow."""

    def __init__(self, turns: tuple[Turn, Turn], cpu: int) -> None:
        self._shared = mmap.mmap(-1, 8)
        self._pids = [self._fork(turn, cpu, counts=not place) for place, turn in enumerate(turns)]

    def look(self) -> tuple[int, int]:
        """CPU nanoseconds of both, and turns."""
        return sum(map(_cpu_ns, self._pids)), int(struct.unpack("Q", self._shared[:8])[0])

    def end(self) -> None:
        """Kill both."""
        for pid in self._pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    def _fork(self, turn: Turn, cpu: int, *, counts: bool) -> int:
        pid = os.fork()
        if pid:
            return pid
        try:
            os.sched_setaffinity(0, {cpu})
            done = 0
            while True:
                turn()
                done += 1
                if counts:
                    struct.pack_into("Q", self._shared, 0, done)
        finally:
            os._exit(1)


@dataclass(frozen=True)
class Ratios:
    """Logarithms of with / without, one for each pair of neighbours."""

    logs: Sequence[float]

    def __str__(self) -> str:
        low, high = self.interval
        return f"{math.exp(statistics.median(self.logs)):.4f} [{low:.4f}, {high:.4f}]"

    @property
    def interval(self) -> tuple[float, float]:
        """95 % for the median: ranks of the sign test."""
        ordered = sorted(self.logs)
        number = len(ordered)
        off = max(int(number / 2 - 0.98 * math.sqrt(number)) - 1, 0)
        return math.exp(ordered[off]), math.exp(ordered[number - 1 - off])


def always(rounds: int) -> None:
    """Each sensor attached all the time, against nothing: what an event costs."""
    found = []
    for name, (what, turns, events) in LOADS.items():
        with _load(turns()) as load, open_sensor(name) as sensor:
            pairs: list[dict[bool, float]] = []
            tries = 0
            while len(pairs) < rounds and tries < _PATIENCE * rounds:
                tries += 1
                pair: dict[bool, float | None] = {}
                for on in random.sample((True, False), 2):
                    if on:
                        sensor.attach()
                    time.sleep(_CALM_S)
                    before = load.look()
                    time.sleep(_SLICE_S)
                    pair[on] = _a_turn(before, load.look())
                    sensor.detach()
                took = {on: each for on, each in pair.items() if each is not None}
                if len(took) == 2:
                    pairs.append(took)
        if not pairs:
            found.append((name, what, "-", "the load hardly ran", "-"))
            continue
        ratios = Ratios([math.log(pair[True] / pair[False]) for pair in pairs])
        extra_ns = statistics.median(pair[True] - pair[False] for pair in pairs)
        plain = statistics.median(pair[False] for pair in pairs)
        found.append((name, what, f"{plain:.0f}", str(ratios), f"{extra_ns / events:.0f}"))
    rig.table(
        "A sensor attached all the time",
        ("sensor", "a turn of the load", "ns a turn without", "with / without", "ns an event"),
        found,
    )


def budgeted(rounds: int) -> None:
    """The most switching load there is, with the sensor attached as ktune does it.

    A window is looked at tick by tick. Ticks in which the load had its CPU for itself count: what
    other work does to the caches is twenty times the effect, and says nothing of the sensor.
    """
    ratios, shares, tuner_s = [], [], 0.0
    with _load(pipe_turns()) as load, open_sensor(SensorName.RUNQUEUE_LATENCY) as sensor:
        watched = Watched(sensor, random.random)
        for _ in range(rounds):
            pair = {}
            for on in random.sample((True, False), 2):
                used_s = _own_s()
                pair[on], share = _window(load, watched if on else None)
                if on:
                    shares.append(share)
                    tuner_s += _own_s() - used_s
            if all(len(ticks) >= _FEWEST_TICKS for ticks in pair.values()):
                means = {on: statistics.mean(ticks) for on, ticks in pair.items()}
                ratios.append(math.log(means[True] / means[False]))
    share = f"{statistics.mean(shares):.0%}"
    title = "Run-queue latency on a ping-pong over a pipe, both on one CPU"
    if not ratios:
        rig.table(title, ("CPU time a turn, with / without", "target"), (("-", "<= 1 %"),))
        rig.note("the load never had a CPU for itself: this machine is too busy")
        return
    rig.table(
        title,
        ("CPU time a turn, with / without", "target", "watched", "CPU of ktune's side"),
        (
            (
                str(Ratios(ratios)),
                f"<= 1 %: {_judged(Ratios(ratios))}",
                share,
                f"{tuner_s / rounds / _WINDOW_S:.2%}",
            ),
        ),
    )
    rig.note(f"{len(ratios)} of {rounds} pairs of windows of {_WINDOW_S:g} s")


def _window(load: Load, watched: Watched | None) -> tuple[list[float], float]:
    """Nanoseconds a turn in each tick that the load had its CPU for itself; the share of the ticks
    in which the sensor was attached."""
    ticks: list[float] = []
    attached = passed = 0
    end_s = time.monotonic() + _WINDOW_S
    if watched is not None:
        watched.begin(0, 0)
    while (began_s := time.monotonic()) < end_s or not passed:
        before = load.look()
        time.sleep(_TICK_S)
        if watched is not None:
            attached += watched.sensor.attached
            watched.tick()  # whose cost on the load's CPU counts
        after = load.look()
        passed += 1
        alone = (after[0] - before[0]) / 1e9 > _ALONE * (time.monotonic() - began_s)
        each = _a_turn(before, after)
        if alone and each is not None:
            ticks.append(each)
    if watched is not None:
        watched.end()
    return ticks, attached / passed


def hackbench(rounds: int, loops: int) -> None:
    """The usual program for it (Debian: rt-tests), whole runs."""
    program = shutil.which("hackbench")
    if program is None:
        rig.note("hackbench: left out, it is not installed (rt-tests)")
        return
    command = (program, "--pipe", "--groups", "2", "--fds", "5", "--loops", str(loops))
    cpu, wall, switches = [], [], []
    with open_sensor(SensorName.RUNQUEUE_LATENCY) as sensor:
        watched = Watched(sensor, random.random)
        for _ in range(rounds):
            pair = {}
            for on in random.sample((True, False), 2):
                before, began = _children(), time.monotonic()
                with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
                    if on:
                        watched.begin(0, 0)
                    while process.poll() is None:
                        time.sleep(_TICK_S / 5)
                        if on:
                            watched.tick()
                    elapsed_s = time.monotonic() - began
                    if on:
                        watched.end()
                after = _children()
                pair[on] = (after[0] - before[0], elapsed_s)
                switches.append((after[1] - before[1]) / elapsed_s)
            cpu.append(math.log(pair[True][0] / pair[False][0]))
            wall.append(math.log(pair[True][1] / pair[False][1]))
    rig.table(
        "Run-queue latency on hackbench",
        ("what", "with / without"),
        (("CPU time of a run", str(Ratios(cpu))), ("time of a run", str(Ratios(wall)))),
    )
    rate = statistics.median(switches)
    bound = rate * (KINDS[SensorName.RUNQUEUE_LATENCY].event_s or 0.0)
    rig.note(
        f"{rounds} pairs of runs of `{' '.join(('hackbench', *command[1:]))}`, "
        f"{rate:.0f} context switches a second, which at the cost of an event are "
        f"{bound:.2%} of a CPU; CPU time <= 1 %: {_judged(Ratios(cpu))}"
    )


def _a_turn(before: tuple[int, int], after: tuple[int, int]) -> float | None:
    """CPU nanoseconds of a turn; None where the load hardly ran (a busy machine)."""
    turns = after[1] - before[1]
    return (after[0] - before[0]) / turns if turns >= _FEWEST_TURNS else None


def _judged(ratios: Ratios) -> str:
    """Whether the target holds, as far as the interval tells."""
    low, high = ratios.interval
    if high <= _TARGET:
        return "met"
    return "MISSED" if low > _TARGET else "open, the interval holds both"


@contextmanager
def _load(turns: tuple[Turn, Turn]) -> Iterator[Load]:
    """On the last CPU; this process keeps off it where it can."""
    cpus = sorted(os.sched_getaffinity(0))
    load = Load(turns, cpus[-1])
    os.sched_setaffinity(0, cpus[:-1] or cpus)
    try:
        time.sleep(0.1)
        yield load
    finally:
        load.end()
        os.sched_setaffinity(0, cpus)


def _cpu_ns(pid: int) -> int:
    with open(f"/proc/{pid}/schedstat", encoding="ascii") as file:
        return int(file.read().split()[0])


def _own_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _children() -> tuple[float, int]:
    """CPU seconds and context switches of the children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime, used.ru_nvcsw + used.ru_nivcsw

"""A write by the kernel module, with and without limits of its own, beside a write(2).

A worker of the module writes, so that the time is the caller's wall time.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from costs.rig import interleaved, note, spread, table
from ktune.kernel.tunable import sysctl_path
from ktune.kernel.values import ValueType
from ktune.proxy.module.device import Device, Done, KernelLimits
from ktune.proxy.module.hold import module_state

_KEY = "vm.swappiness"
_PATH = sysctl_path(_KEY)
_LASTS_S = 3600.0


def measure(rounds: int, writes: int) -> None:
    """Time it and print it. The knob is moved by one, and back."""
    there, why = module_state()
    if not there:
        note(f"module: left out, {why}")
        return
    original = int(Path(_PATH).read_text(encoding="ascii"))
    limits = KernelLimits((original,), (original + 1,))
    found = interleaved(
        rounds,
        {
            "write(2), and read back": lambda _: _by_file(original, writes),
            "the module": lambda _: _by_module(original, writes, KernelLimits()),
            "the module, within limits": lambda _: _by_module(original, writes, limits),
            "the module, refused by limits": lambda _: _refused(original, writes, limits),
        },
    )
    bare = next(iter(found.values()))
    table(
        f"One sysctl written and read back, wall time, {rounds} interleaved rounds of {writes}",
        ("way", "us, median [quartiles]", "times the first"),
        [
            (
                name,
                spread(times).text(1e6, 1),
                spread(b / a for a, b in zip(bare, times, strict=True)).text(1, 2),
            )
            for name, times in found.items()
        ],
    )


def _by_file(original: int, writes: int) -> float:
    fd = os.open(_PATH, os.O_RDWR | os.O_CLOEXEC)

    def write(value: bytes) -> None:
        os.pwrite(fd, value, 0)
        os.pread(fd, 64, 0)

    try:
        return _mean(lambda number: write(b"%d" % (original + 1 - number % 2)), writes)
    finally:
        os.pwrite(fd, b"%d" % original, 0)
        os.close(fd)


def _by_module(original: int, writes: int, limits: KernelLimits) -> float:
    with closing(_leased(limits)) as device:

        def write(number: int) -> None:
            (done,) = device.apply([(0, str(original + 1 - number % 2))])
            if done.done is not Done.APPLIED:
                raise SystemExit(f"the module did not write {_KEY}: {done}")

        return _mean(write, writes)


def _refused(original: int, writes: int, limits: KernelLimits) -> float:
    with closing(_leased(limits)) as device:

        def write(_: int) -> None:
            try:
                device.apply([(0, str(original + 2))])
            except OSError as error:
                if error.errno == errno.ERANGE:
                    return
                raise
            raise SystemExit(f"the module took a {_KEY} outside the limits")

        return _mean(write, writes)


def _leased(limits: KernelLimits) -> Device:
    device = Device()
    try:
        device.add(_KEY, ValueType.INT, limits)
        device.begin(_LASTS_S)
    except OSError:
        device.close()
        raise
    return device


def _mean(write: Callable[[int], None], writes: int) -> float:
    begun_s = time.perf_counter()
    for number in range(writes):
        write(number)
    return (time.perf_counter() - begun_s) / writes

"""What tests of /dev/ktune stand on: a session, and knobs read and written without it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ktune.kernel.tunable import sysctl_path
from ktune.kernel.values import ValueType, parse
from ktune.proxy.module import device as wire
from ktune.proxy.module.device import Device

SWAPPINESS = "vm.swappiness"
RMEM = "net.ipv4.tcp_rmem"
LOW, HIGH = "net.ipv4.ipfrag_low_thresh", "net.ipv4.ipfrag_high_thresh"
RATIO, BYTES = "vm.dirty_ratio", "vm.dirty_bytes"
BACK_RATIO, BACK_BYTES = "vm.dirty_background_ratio", "vm.dirty_background_bytes"
FIN = "net.ipv4.tcp_fin_timeout"
THP = "/sys/kernel/mm/transparent_hugepage/enabled"
TRACING = Path("/sys/kernel/tracing")
INT, VECTOR, CHOICE = ValueType.INT, ValueType.VECTOR, ValueType.CHOICE
LONG_S = 600.0

needs_module = [
    pytest.mark.skipif(not os.path.exists(wire.DEVICE), reason="needs the ktune module"),
    pytest.mark.usefixtures("as_it_was"),
]


def path_of(name: str) -> Path:
    return Path(name if name.startswith("/") else sysctl_path(name))


def live(name: str, kind: ValueType = INT) -> Any:
    return parse(kind, path_of(name).read_text())


def write(name: str, text: str) -> None:
    fd = os.open(path_of(name), os.O_WRONLY)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


@pytest.fixture
def as_it_was() -> Iterator[None]:
    """Every test ends with the knobs as it found them, by the module's doing or its own."""
    names = (SWAPPINESS, LOW, HIGH, RATIO, BACK_RATIO)
    before = {name: live(name) for name in names}
    yield
    for name, value in before.items():
        if value:
            write(name, str(value))
    assert {name: live(name) for name in names} == before


@pytest.fixture
def device() -> Iterator[Device]:
    made = Device()
    yield made
    made.close()


def refused(code: int) -> Any:
    return pytest.raises(OSError, match=rf"\[Errno {code}\]")

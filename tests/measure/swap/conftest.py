"""A folder on a file system that can hold swap, and a memory cgroup to be in."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ktune.measure.swap import area, ground
from ktune.measure.swap.limited import SwapSpec
from ktune.measure.swap.memory_group import NoMemoryGroup, own_memory_group

MIB = 1 << 20


@pytest.fixture
def state(root: None) -> Iterator[Path]:
    """A state folder. Afterwards nothing in it is swapped to."""
    folder = Path(tempfile.mkdtemp(prefix="kt-swap-"))
    yield folder
    for left in folder.glob("services/run/SWAP-????????"):
        if (left / area.FILE).exists():  # a test has failed
            ground.undo(left)
    shutil.rmtree(folder)


@pytest.fixture
def spec(state: Path) -> SwapSpec:
    """64 MiB of swap for windows of 24 MiB."""
    return spec_in(state / "services" / "run" / "SWAP-00000000")


def spec_in(folder: Path, size_bytes: int = 64 * MIB) -> SwapSpec:
    try:
        below = own_memory_group()
    except NoMemoryGroup as problem:
        pytest.skip(str(problem))
    return SwapSpec("test", folder, size_bytes, 24 * MIB, below)

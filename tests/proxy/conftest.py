"""Fixtures of the proxy tests; each gives a resource of the test's own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.proxy.rig import LoopDevice, Net, Paths, RemoteClient


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """A state directory and a runtime directory."""
    return Paths.under(tmp_path)


@pytest.fixture
def net(root: None) -> Iterator[Net]:
    """A network namespace."""
    made = Net()
    yield made
    made.close()


@pytest.fixture
def loop(root: None) -> Iterator[LoopDevice]:
    """A loop device."""
    if not os.access("/dev/loop-control", os.R_OK | os.W_OK):
        pytest.skip("needs /dev/loop-control")
    made = LoopDevice()
    yield made
    made.remove()


@pytest.fixture
def remote(root: None) -> Iterator[Callable[..., RemoteClient]]:
    """Makes clients in processes of their own; none outlives the test."""
    made: list[RemoteClient] = []

    def make(**options: Any) -> RemoteClient:
        made.append(RemoteClient(**options))
        return made[-1]

    yield make
    for client in made:
        client.close()

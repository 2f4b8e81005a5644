"""Fixtures of tests that send a guest to sleep or set its clock."""

from __future__ import annotations

import pytest

from tests.faults.commands import Bench
from tests.faults.conftest import bench, net_bench
from tests.faults.watched import Watched
from tests.proxy.conftest import net, paths
from tests.proxy.rig import Net

__all__ = ["bench", "net", "net_bench", "paths"]


@pytest.fixture
def watched(net_bench: Bench, net: Net) -> Watched:
    return Watched(net_bench, net)

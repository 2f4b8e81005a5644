"""Fixtures of the fault tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import RUNTIME
from tests.faults.commands import FIN, RATE, Bench
from tests.proxy.conftest import loop, net, paths, remote
from tests.proxy.rig import Net

__all__ = ["loop", "net", "paths", "remote"]


@pytest.fixture
def bench(tmp_path: Path, root: None) -> Iterator[Bench]:
    """A run on the whole host; the test says on which knobs."""
    made = Bench(tmp_path, tmp_path / "state")
    yield made
    made.close()
    _forget_journals_below(tmp_path)


def _forget_journals_below(folder: Path) -> None:
    """A journal that a test left on purpose must not be found by the next test's `status`."""
    for link in (RUNTIME / "journals").glob("*"):
        if link.is_symlink() and link.readlink().is_relative_to(folder):
            link.unlink()


@pytest.fixture
def net_bench(bench: Bench, net: Net) -> Bench:
    """A run in a network namespace of the test's own."""
    bench.scope = {"netns": net.ref.netns}
    bench.knobs = {"sysctl": {FIN: {"range": [70, 200]}, RATE: {"range": [1001, 1999]}}}
    return bench

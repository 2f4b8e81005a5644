"""A command line with a state folder of its own, and a namespace to tune in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ktune.records.paths import StatePaths

from .support import Cli, Namespace


@pytest.fixture
def cli(tmp_path) -> Cli:
    return Cli(tmp_path / "state")


@pytest.fixture
def paths(cli) -> StatePaths:
    return StatePaths.resolve(cli.state)


@pytest.fixture
def netns(root) -> Iterator[Namespace]:
    made = Namespace.make()
    yield made
    made.end()

"""Fixtures of the measuring layer: scopes and links of the tests' own, and other users."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from ktune.measure.link.link import LongLink
from ktune.measure.link.tun import DEVICE
from ktune.measure.scope import EphemeralScope
from ktune.measure.specs import LinkSpec


@pytest.fixture(scope="module")
def scope() -> Iterator[EphemeralScope]:
    with EphemeralScope() as scope:
        yield scope


@pytest.fixture
def tun() -> None:
    """The test makes TUN devices (in namespaces of its own)."""
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        pytest.skip(f"this user may not open {DEVICE}")


@pytest.fixture
def link(tun: None) -> Iterator[tuple[EphemeralScope, LongLink]]:
    """A scope with a quick link: 2 ms, no rate limit."""
    with EphemeralScope() as scope, LongLink(LinkSpec(rtt_s=0.002), scope.ref) as link:
        yield scope, link

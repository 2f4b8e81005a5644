"""Fixtures of tests that run in a guest."""

from __future__ import annotations

from tests.guest.inside.module_rig import as_it_was, device
from tests.proxy.conftest import loop, net, paths, remote

__all__ = ["as_it_was", "device", "loop", "net", "paths", "remote"]

"""Fixtures of tests that run in a guest."""

from __future__ import annotations

from tests.proxy.conftest import loop, net, paths, remote

__all__ = ["loop", "net", "paths", "remote"]

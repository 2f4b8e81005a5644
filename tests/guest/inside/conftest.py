"""Fixtures of tests that run in a guest."""

from __future__ import annotations

from tests.proxy.conftest import net, paths, remote

__all__ = ["net", "paths", "remote"]

"""Fixtures of the kernel tests: those of the proxy tests."""

from tests.proxy.conftest import loop

__all__ = ["loop"]

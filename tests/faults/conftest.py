"""Fixtures of the fault tests: those of the proxy tests, and a folder with a state directory."""

from tests.proxy.conftest import loop, net, paths, remote

__all__ = ["loop", "net", "paths", "remote"]

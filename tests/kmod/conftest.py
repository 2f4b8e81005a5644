from __future__ import annotations

import ctypes

import pytest

from tests.kmod import core


@pytest.fixture(scope="session")
def lib(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The module's pure headers, for user space."""
    if core.compiler() is None:
        pytest.skip("no C compiler")
    return core.built(tmp_path_factory.mktemp("core"))

"""One tuner per scope: the lock goes with its holder and leaves no file of a dead namespace."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from ktune.errors import BusyError, ExitCode
from ktune.proxy.locks import scope_lock
from ktune.records.paths import StatePaths


@pytest.fixture
def paths(tmp_path: Path) -> StatePaths:
    return StatePaths(tmp_path / "state", tmp_path / "run")


@pytest.mark.parametrize("cookie", [None, 77])
def test_a_second_holder_is_told_who_holds_the_scope(paths: StatePaths, cookie: int | None) -> None:
    with (
        scope_lock(paths, netns_cookie=cookie, what="ktune tune first"),
        pytest.raises(BusyError, match=f"ktune tune first .pid {os.getpid()}") as told,
        scope_lock(paths, netns_cookie=cookie, what="second"),
    ):
        pass
    assert told.value.exit_code is ExitCode.BUSY


def test_scopes_do_not_exclude_each_other(paths: StatePaths) -> None:
    with (
        scope_lock(paths, netns_cookie=None, what="host"),
        scope_lock(paths, netns_cookie=1, what="one"),
        scope_lock(paths, netns_cookie=2, what="two"),
    ):
        assert len(list(paths.runtime.glob("*.lock"))) == 3


def test_the_lock_of_a_namespace_leaves_no_file(paths: StatePaths) -> None:
    with scope_lock(paths, netns_cookie=5, what="run"):
        pass
    assert not list(paths.runtime.glob("netns-*"))


def test_never_two_holders_although_the_file_comes_and_goes(paths: StatePaths) -> None:
    inside, most, taken = 0, 0, 0
    guard = threading.Lock()

    def contend() -> None:
        nonlocal inside, most, taken
        for _ in range(200):
            try:
                with scope_lock(paths, netns_cookie=9, what="x"):
                    with guard:
                        inside, taken = inside + 1, taken + 1
                        most = max(most, inside)
                    with guard:
                        inside -= 1
            except BusyError:
                continue

    threads = [threading.Thread(target=contend) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert taken > 0

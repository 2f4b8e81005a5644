"""Where the state lives."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from ktune.errors import RefusedError
from ktune.records.paths import StatePaths


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    for name in ("KTUNE_STATE_DIR", "XDG_STATE_HOME", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)


def test_root_uses_the_system_folders(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert StatePaths.resolve() == StatePaths(Path("/var/lib/ktune"), Path("/run/ktune"))


def test_the_option_wins_over_the_variable(monkeypatch):
    monkeypatch.setenv("KTUNE_STATE_DIR", "/tmp/a")
    assert StatePaths.resolve("/tmp/b").state == Path("/tmp/b")
    assert StatePaths.resolve().state == Path("/tmp/a")


def test_the_runtime_folder_does_not_follow_the_state_folder(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert StatePaths.resolve("/tmp/b").runtime == Path("/run/ktune")


def test_others_use_the_xdg_folders(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_STATE_HOME", "/home/u/state")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1000")
    found = StatePaths.resolve()
    assert found == StatePaths(Path("/home/u/state/ktune"), Path("/run/user/1000/ktune"))


def test_a_relative_xdg_folder_is_ignored(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("HOME", "/home/u")
    monkeypatch.setenv("XDG_STATE_HOME", "state")
    found = StatePaths.resolve()
    assert found.state == Path("/home/u/.local/state/ktune")
    assert found.runtime == found.state / "run"


def test_every_folder_that_is_made_is_private(tmp_path):
    paths = StatePaths(tmp_path / "a/b/state", tmp_path / "run").ensure()
    for folder in (tmp_path / "a", tmp_path / "a/b", paths.studies, paths.journal, paths.policies):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_an_undo_command_names_a_state_folder_that_is_not_the_customary_one(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert StatePaths.resolve().command("rollback") == "ktune rollback"
    assert StatePaths.resolve("/tmp/a b").command("rollback") == (
        "ktune '--state-dir=/tmp/a b' rollback"
    )


@pytest.mark.parametrize("folder", ["state", "state/studies", "state/journal", "run"])
def test_a_folder_that_others_may_write_is_refused(tmp_path, folder):
    paths = StatePaths(tmp_path / "state", tmp_path / "run").ensure()
    assert paths.refuse_unsafe() is paths
    (tmp_path / folder).chmod(0o777)
    with pytest.raises(RefusedError, match="others may write"):
        paths.refuse_unsafe()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_somebody_else_is_refused_also_behind_a_link(tmp_path):
    (tmp_path / "theirs").mkdir(mode=0o700)
    os.chown(tmp_path / "theirs", 65534, 65534)
    (tmp_path / "state").symlink_to("theirs")
    with pytest.raises(RefusedError, match="another user"):
        StatePaths(tmp_path / "state", tmp_path / "run").refuse_unsafe()


def test_a_state_folder_that_is_not_there_yet_is_fine(tmp_path):
    StatePaths(tmp_path / "a" / "b", tmp_path / "run").refuse_unsafe()

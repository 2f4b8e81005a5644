"""Files are the old one or the new one; lines are whole or gone."""

from __future__ import annotations

import os
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktune.records import atomic

lines = st.lists(st.text('abc{}"\\ ', min_size=1, max_size=5000), min_size=1, max_size=6)


def test_a_file_is_private_and_leaves_no_temporary(tmp_path):
    atomic.write_text(tmp_path / "a", "one")
    atomic.write_text(tmp_path / "a", "two")
    assert (tmp_path / "a").read_text() == "two"
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["a"]


def test_a_write_that_fails_keeps_the_old_file(tmp_path, monkeypatch):
    atomic.write_text(tmp_path / "a", "old")

    def full(fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        atomic.write_text(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "old"
    assert os.listdir(tmp_path) == ["a"]


@given(lines=lines, keep=st.floats(0, 1), more=st.text("xyz", min_size=1, max_size=9))
def test_a_line_after_a_torn_tail_does_not_disappear_in_it(tmp_path_factory, lines, keep, more):
    path = tmp_path_factory.mktemp("torn") / "log"
    for line in lines:
        atomic.append_line(path, line, sync=False)
    size = path.stat().st_size
    os.truncate(path, int(size * keep))
    whole = path.read_text().rpartition("\n")[0].split("\n") if path.stat().st_size else []
    atomic.append_line(path, more)
    assert path.read_text().split("\n")[:-1] == [line for line in whole if line] + [more]


def test_a_planted_link_is_not_followed(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("kept\n")
    (tmp_path / "log").symlink_to(victim)
    (tmp_path / f".file.{os.getpid()}.tmp").symlink_to(victim)
    with pytest.raises(OSError):
        atomic.append_line(tmp_path / "log", "x")
    atomic.write_text(tmp_path / "file", "new")
    assert victim.read_text() == "kept\n"
    assert (tmp_path / "file").read_text() == "new"

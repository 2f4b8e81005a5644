"""The history keeps what it can, and never stops a command."""

from __future__ import annotations

import os

from ktune.records import history
from ktune.records.history import Action, Change
from ktune.records.paths import StatePaths


def test_entries_come_back_in_order_with_who_and_sudo(tmp_path, monkeypatch):
    monkeypatch.setenv("SUDO_USER", "ada")
    paths = StatePaths(tmp_path, tmp_path)
    change = Change("net.ipv4.tcp_rmem", (1, 2, 3), (4, 5, 6))
    history.record(
        paths, Action.APPLY, why="w", subject="p", scope="host", changes=(change,), undo="ktune x"
    )
    history.record(paths, Action.ROLLBACK, why="w", subject="p", scope="host")
    found = history.read(paths).entries
    assert [entry.what for entry in found] == [Action.APPLY, Action.ROLLBACK]
    assert found[0].changes == (change,)
    assert found[0].who.uid == os.geteuid()
    assert found[0].who.sudo_user == "ada"


def test_damaged_lines_are_counted_and_left_out(tmp_path):
    paths = StatePaths(tmp_path, tmp_path)
    history.record(paths, Action.APPLY, why="w", subject="p", scope="host")
    with open(paths.history, "a") as file:
        file.write('{"at": 1}\nnot json\n{"torn')
    assert history.read(paths).damaged == 3
    history.record(paths, Action.APPLY, why="w", subject="q", scope="host")
    found = history.read(paths)
    assert [entry.subject for entry in found.entries] == ["p", "q"]
    assert found.damaged == 2


def test_no_history_is_an_empty_one(tmp_path):
    assert history.read(StatePaths(tmp_path, tmp_path)).entries == ()

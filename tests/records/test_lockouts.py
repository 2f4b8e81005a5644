"""Lock-outs and approvals: files that several processes change at the same time."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ktune.errors import RefusedError
from ktune.records import approvals, lockouts
from ktune.records.lockouts import Lockout
from ktune.records.paths import StatePaths


def emergency(cookie: int = 7, why: str = "oom kills") -> Lockout:
    return lockouts.made(
        scope=lockouts.scope_name(cookie),
        boot_id="b",
        digest="",
        subject="policy",
        why=why,
        for_s=3600,
        place="netns:/run/netns/lab",
    )


@pytest.fixture
def paths(tmp_path: Path) -> StatePaths:
    return StatePaths(tmp_path / "state", tmp_path / "run").ensure()


def test_what_was_only_announced_holds(paths: StatePaths) -> None:
    lockouts.announce(paths, emergency())
    assert not (paths.state / "lockouts.json").exists()
    with pytest.raises(RefusedError, match="emergency in netns:/run/netns/lab"):
        lockouts.refuse_in_emergency(paths, "netns:7", "b")
    lockouts.refuse_in_emergency(paths, "netns:8", "b")


def test_it_is_one_lock_out_announced_and_kept(paths: StatePaths) -> None:
    lockouts.announce(paths, emergency(why="the first word"))
    lockouts.keep(paths, emergency(why="the last word"))
    assert [item.why for item in lockouts.read_lockouts(paths)] == ["the last word"]
    lockouts.announce(paths, emergency(why="once more"))
    assert [item.why for item in lockouts.read_lockouts(paths)] == ["once more"]


def test_a_change_of_the_record_takes_in_what_was_announced(paths: StatePaths) -> None:
    lockouts.announce(paths, emergency(7))
    lockouts.keep(paths, emergency(8))
    shutil.rmtree(paths.runtime)
    assert {item.scope for item in lockouts.read_lockouts(paths)} == {"netns:7", "netns:8"}


def test_an_announced_emergency_can_be_ended(paths: StatePaths) -> None:
    lockouts.announce(paths, emergency())
    assert lockouts.end_emergency(paths)
    assert not lockouts.read_lockouts(paths)


def test_announcements_belong_to_their_state_folder(paths: StatePaths, tmp_path: Path) -> None:
    other = StatePaths(tmp_path / "other", paths.runtime).ensure()
    lockouts.announce(paths, emergency())
    assert not lockouts.read_lockouts(other)
    lockouts.keep(other, emergency(8))
    assert [item.scope for item in lockouts.read_lockouts(paths)] == ["netns:7"]


def test_scopes_that_are_locked_out_at_the_same_time_all_are(tmp_path: Path) -> None:
    paths = StatePaths(tmp_path / "state", tmp_path / "run").ensure()

    def one(cookie: int) -> None:
        lockouts.keep(paths, emergency(cookie))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(1, 17)))
    held = {item.scope for item in lockouts.read_lockouts(paths)}
    assert held == {f"netns:{cookie}" for cookie in range(1, 17)}


def test_what_several_people_approve_at_the_same_time_is_approved(tmp_path: Path) -> None:
    paths = StatePaths(tmp_path / "state", tmp_path / "run").ensure()

    def one(number: int) -> None:
        approvals.approve(
            paths, digest=f"sha256:{number}", subject="s", scope="host", why="", terms={}
        )

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(16)))
    assert {item.digest for item in approvals.read_approvals(paths)} == {
        f"sha256:{number}" for number in range(16)
    }
    assert approvals.revoke(paths, digest="sha256:3", subject="s", scope="host", why="")
    assert not approvals.revoke(paths, digest="sha256:3", subject="s", scope="host", why="")
    assert approvals.approval_of(paths, "sha256:3") is None

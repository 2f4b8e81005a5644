"""Lock-outs and approvals: files that several processes change at the same time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ktune.records import approvals, lockouts
from ktune.records.paths import StatePaths


def test_scopes_that_are_locked_out_at_the_same_time_all_are(tmp_path: Path) -> None:
    paths = StatePaths(tmp_path / "state", tmp_path / "run").ensure()

    def one(cookie: int) -> None:
        lockouts.lock_out(
            paths,
            scope=lockouts.scope_name(cookie),
            boot_id="b",
            digest="",
            subject="policy",
            why="oom kills",
            for_s=3600,
        )

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

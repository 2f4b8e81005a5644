"""A process that is born inside its cgroup, or joins it where the kernel can't do that."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from pathlib import Path

import pytest

from ktune.measure import supervise
from ktune.measure.cgroup import WindowCgroup
from ktune.measure.clone import fork_into
from ktune.measure.job import Job


@pytest.fixture
def nothing() -> Iterator[int]:
    """A control descriptor on which nothing ever arrives."""
    read, write = os.pipe()
    yield read
    os.close(read)
    os.close(write)


def job(*argv: str) -> Job:
    """A command of the test's own user on the host."""
    return Job(
        argv=argv,
        bundled="",
        uid=None,
        gid=None,
        groups=(),
        environment=(("PATH", os.environ["PATH"]),),
        timeout_s=20,
        output_limit=1000,
        netns="",
        userns="",
    )


def test_a_child_is_in_the_cgroup_from_its_first_moment(root: None) -> None:
    group = WindowCgroup.create(f"ktune-test-clone-{os.getpid()}")
    if group is None:
        pytest.skip("no cgroup2 with cgroup.kill here")
    try:
        pid = fork_into(group.path)
        if pid == 0:
            select.select([], [], [], 20)
            os._exit(0)
        assert group.members() == [pid]
        group.kill()
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -9
    finally:
        assert group.remove()


def test_a_folder_that_is_no_cgroup_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="clone3"):
        fork_into(str(tmp_path))


@pytest.mark.parametrize("refused", [False, True])
def test_the_command_runs_in_the_windows_cgroup(
    root: None, nothing: int, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_such_call(cgroup: str, namespaces: int) -> int:
        raise OSError(38, cgroup)

    if refused:
        monkeypatch.setattr(supervise, "fork_into", no_such_call)
    name = f"ktune-test-window-{os.getpid()}"
    outcome = supervise.run(supervise.begin(job("grep", "0::", "/proc/self/cgroup"), name), nothing)
    assert outcome.stdout.rstrip().endswith(f"/{name}"), outcome

"""The workload runner on the real kernel: every fault ends the window, and nothing stays."""

from __future__ import annotations

import glob
import itertools
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ktune.errors import KtuneError, RefusedError
from ktune.measure import host_load
from ktune.measure.cgroup import own_cgroup
from ktune.measure.host_load import LoadSample
from ktune.measure.runner import CommandSource
from ktune.measure.scope import EphemeralScope
from ktune.measure.specs import (
    DropPageCache,
    FlushTcpMetrics,
    MetricSource,
    MetricSpec,
    ResetCommand,
    WorkloadSpec,
)
from ktune.measure.window import Validity
from tests.measure.helpers import X, all_gone, nothing, running, shell, window

FAILED, VOID, VALID = Validity.CANDIDATE_FAILED, Validity.VOID, Validity.VALID


def groups_of(spawner: int) -> list[str]:
    """The cgroups of its windows."""
    parent = own_cgroup()
    return [] if parent is None else glob.glob(f"{parent}/*/ktune-window-{spawner}-*")


def begun_by(source: CommandSource) -> list[int]:
    """The children of its helper: between windows the one that is begun for the next."""
    pid = source._spawner.pid
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_begun(source: CommandSource) -> int:
    deadline = time.monotonic() + 5
    while not begun_by(source):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    (pid,) = begun_by(source)
    return pid


def pids_in(folder: Path) -> list[int]:
    return [int(path.read_text()) for path in folder.glob("*.pid")]


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A folder that the workload's unprivileged user may write."""
    with tempfile.TemporaryDirectory(prefix="ktune-test-") as path:
        Path(path).chmod(0o777)
        yield Path(path)


def test_a_good_window_has_its_metrics_and_what_the_host_did() -> None:
    result = window(shell("sleep 0.05; echo x=3; echo y=4.5", metrics=(X, MetricSpec("y"))))
    assert (result.validity, result.metrics) == (VALID, {"x": 3.0, "y": 4.5})
    assert result.duration_s >= 0.05
    assert result.environment["steal_share"] >= 0


def test_the_run_time_itself_can_be_the_metric() -> None:
    result = window(shell("sleep 0.1", metrics=(MetricSpec("time", MetricSource.DURATION),)))
    assert result.metrics["time"] == pytest.approx(result.duration_s)
    assert result.duration_s >= 0.1


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("exit 7", "exit code 7"),
        ("echo x=1; echo broken pipe dream >&2; exit 1", "broken pipe dream"),
        ("true", "printed nothing"),
        ("echo y=1", "has no 'x'"),
        ("echo x=nan", "x is nan"),
        ("echo x=-inf", "x is -inf"),
        ("echo x=101", "not plausible"),
        ("kill -SEGV $$", "killed by SIGSEGV"),
        ("exec >&-; sleep 0.05", "printed nothing"),
    ],
)
def test_a_failing_workload_counts_against_the_candidate(script: str, reason: str) -> None:
    result = window(shell(script))
    assert (result.validity, result.metrics) == (FAILED, {})
    assert reason in result.reason


def test_a_workload_that_hangs_is_killed_with_all_its_children(scratch: Path) -> None:
    script = f"""cd {scratch}; echo $$ > a.pid
        setsid sh -c 'echo $$ > b.pid; exec sleep 60' & trap '' TERM; sleep 60; sleep 60"""
    started = time.monotonic()
    result = window(shell(script, timeout_s=0.5))
    assert (result.validity, "timeout" in result.reason) == (FAILED, True)
    assert time.monotonic() - started < 4
    assert len(pids_in(scratch)) == 2
    assert not any(running(pid) for pid in pids_in(scratch))


def test_children_left_behind_are_killed_and_reported(scratch: Path) -> None:
    script = f"""cd {scratch}
        setsid sh -c 'echo $$ > a.pid; exec sleep 60' > /dev/null 2>&1 &
        sh -c 'sh -c "echo \\$\\$ > b.pid; exec sleep 60" &'
        while ! [ -s a.pid ] || ! [ -s b.pid ]; do sleep 0.01; done; echo x=1"""
    result = window(shell(script))
    assert (result.validity, result.metrics) == (VALID, {"x": 1.0})
    assert "left 2 behind" in result.notes[0]
    assert not any(running(pid) for pid in pids_in(scratch))


def test_without_a_cgroup_the_children_are_found_too(
    scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The spawner is another interpreter: hide the cgroup hierarchy from it by its boot code.
    from ktune.measure import child

    hide = "import ktune.measure.cgroup as c; c.own_cgroup = lambda: None; "
    before, _, after = child._BOOT.partition("raise SystemExit")
    monkeypatch.setattr(child, "_BOOT", before + hide + "raise SystemExit" + after)
    script = f"""cd {scratch}; setsid setsid sh -c 'echo $$ > a.pid; exec sleep 60' &
        while ! [ -s a.pid ]; do sleep 0.01; done; echo x=1"""
    result = window(shell(script))
    assert "left 1 behind" in result.notes[0]
    assert not any(running(pid) for pid in pids_in(scratch))


def test_endless_output_neither_blocks_nor_piles_up() -> None:
    result = window(shell("yes | head -c 30000000; yes | head -c 3000000 >&2; echo x=5"))
    assert (result.validity, result.metrics) == (VALID, {"x": 5.0})
    assert any("longer than the limit" in note for note in result.notes)


def test_no_cgroup_is_left_behind() -> None:
    with CommandSource(shell("sleep 60 & echo x=1")) as source:
        for _ in range(3):
            assert source.run(nothing).valid
        pid = source._spawner.pid
    assert pid is not None
    assert not groups_of(pid)


class Abort(Exception):
    pass


def test_an_abort_by_poll_kills_the_workload_first(scratch: Path) -> None:
    started = time.monotonic()

    def poll() -> None:
        if (scratch / "a.pid").exists() and time.monotonic() - started > 0.2:
            raise Abort

    with CommandSource(shell(f"cd {scratch}; echo $$ > a.pid; sleep 60")) as source:
        with pytest.raises(Abort):
            source.run(poll)
        assert not any(running(pid) for pid in pids_in(scratch))
        with pytest.raises(Abort):
            source.run(poll)


def test_poll_is_called_at_least_every_100_ms() -> None:
    calls: list[float] = []
    with CommandSource(shell("sleep 0.6; echo x=1")) as source:
        assert source.run(lambda: calls.append(time.monotonic())).valid
    gaps = [after - before for before, after in itertools.pairwise(calls)]
    assert len(calls) >= 6
    # The median, because the host that runs the tests may be busy.
    assert sorted(gaps)[len(gaps) // 2] <= 0.1


def test_a_killed_spawner_voids_the_window_and_leaves_nothing_running(scratch: Path) -> None:
    script = f"cd {scratch}; echo $$ > a.pid; sleep 60 & echo $! > b.pid; wait"
    with CommandSource(shell(script, timeout_s=1.0)) as source:

        def poll() -> None:
            if source._spawner.pid and (scratch / "b.pid").exists():
                os.kill(source._spawner.pid, signal.SIGKILL)

        result = source.run(poll)
        assert (result.validity, "died" in result.reason) == (VOID, True)
        assert all_gone(pids_in(scratch))
        assert source.run(nothing).reason == "no end within 1 s (timeout)"


def test_a_program_that_is_not_there_is_no_window_at_all() -> None:
    with pytest.raises(KtuneError, match=r"/nonexistent/program: No such file"):
        window(WorkloadSpec(("/nonexistent/program",), (X,)))


def test_the_health_check_voids_a_window() -> None:
    result = window(shell("echo x=1"), health=(lambda: "the link is gone",))
    assert (result.validity, result.reason) == (VOID, "the link is gone")


def test_stolen_cpu_time_voids_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = iter([LoadSample(0.0, 100, 0), LoadSample(1.0, 300, 90)])
    monkeypatch.setattr(host_load, "sample", lambda: next(samples))
    result = window(shell("echo x=1"))
    assert (result.validity, "45%" in result.reason) == (VOID, True)


def test_the_workload_runs_unprivileged_without_new_rights_and_in_a_clean_environment(
    monkeypatch: pytest.MonkeyPatch, scratch: Path
) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "hunter2")
    monkeypatch.setenv("SUDO_UID", "")
    script = f"id -u > {scratch}/uid; env > {scratch}/env; cat /proc/self/status > {scratch}/status"
    assert window(shell(f"{script}; echo x=1", environment=(("LC_ALL", "C"),))).valid
    assert (scratch / "uid").read_text().strip() == str(os.geteuid() or 65534)
    status = (scratch / "status").read_text()
    assert "NoNewPrivs:\t1" in status
    assert "CapEff:\t0000000000000000" in status
    assert "SECRET_TOKEN" not in (scratch / "env").read_text()
    assert "LC_ALL=C" in (scratch / "env").read_text()


def test_a_workload_may_have_real_time_priorities_and_no_other_right(root: None) -> None:
    ask = "chrt -f 5 sh -c 'grep -E \"Cap(Eff|Prm)|NoNew|Uid\" /proc/self/status >&2; echo x=1'"
    denied = "! echo 100 > /proc/sys/vm/page-cluster && ! kill -0 1 && " + ask
    result = window(shell(denied, realtime=True))
    assert result.valid, result.reason
    told = window(shell(denied.replace("echo x=1", "exit 1"), realtime=True)).reason
    assert told.count("0000000000800000") == 2
    assert "NoNewPrivs:\t1" in told
    assert "Uid:\t0" not in told
    assert "Operation not permitted" in window(shell(ask)).reason


def test_only_root_may_give_real_time_priorities(root: None) -> None:
    os.seteuid(65534)
    try:
        with pytest.raises(RefusedError, match="real-time priorities"):
            window(shell("echo x=1", realtime=True))
    finally:
        os.seteuid(0)


def test_an_unprivileged_caller_may_not_choose_another_user(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    with pytest.raises(RefusedError, match="only root may"):
        CommandSource(shell("true", user="nobody"))


def test_an_unknown_user_is_refused() -> None:
    with pytest.raises(RefusedError, match="no user no-such-user"):
        CommandSource(shell("true", user="no-such-user"))


def test_the_workload_runs_in_its_scope_and_has_no_rights_there(scope: EphemeralScope) -> None:
    script = """
        a=$(readlink /proc/self/ns/net | tr -dc 0-9); echo x=1; echo ns=$a
        echo 5 2>/dev/null > /proc/sys/net/ipv4/tcp_fin_timeout && echo wrote=1; true"""
    result = window(
        shell(script, metrics=(X, MetricSpec("ns")), resets=(FlushTcpMetrics(),)), scope=scope.ref
    )
    assert result.metrics["ns"] == os.stat(scope.ref.netns).st_ino
    wrote = shell(script, metrics=(MetricSpec("wrote"),))
    assert window(wrote, scope=scope.ref).validity is FAILED


def test_a_reset_runs_before_each_window(scratch: Path) -> None:
    reset = ResetCommand(("sh", "-c", f"echo r >> {scratch}/log"))
    with CommandSource(shell(f"echo x=$(wc -l < {scratch}/log)", resets=(reset,))) as source:
        assert [source.run(nothing).metrics["x"] for _ in range(3)] == [1, 2, 3]


def test_a_reset_that_fails_voids_the_window() -> None:
    result = window(shell("echo x=1", resets=(ResetCommand(("sh", "-c", "exit 3")),)))
    assert (result.validity, "exit code 3" in result.reason) == (VOID, True)


def test_the_page_cache_of_a_named_file_is_dropped(tmp_path: Path) -> None:
    file = tmp_path / "data"
    file.write_bytes(os.urandom(1 << 20))
    assert window(shell("echo x=1", resets=(DropPageCache((str(tmp_path),)),))).valid
    if cached(file) == 256:
        pytest.skip("this file system does not drop its cache (tmpfs)")
    assert cached(file) == 0


def test_settling_waits_and_still_polls() -> None:
    calls: list[None] = []
    started = time.monotonic()
    with CommandSource(shell("echo x=1", settle_s=0.4)) as source:
        source.run(lambda: calls.append(None))
    assert time.monotonic() - started >= 0.4
    assert len(calls) >= 5


def cached(file: Path) -> int:
    """How many pages of a file are in the page cache (cachestat is too new: mincore(2))."""
    import ctypes
    import mmap

    size = file.stat().st_size
    with open(file, "r+b") as handle, mmap.mmap(handle.fileno(), size) as data:
        pages = size // mmap.PAGESIZE
        seen = (ctypes.c_ubyte * pages)()
        anchor = (ctypes.c_char * size).from_buffer(data)
        failed = ctypes.CDLL(None).mincore(
            ctypes.c_void_p(ctypes.addressof(anchor)), ctypes.c_size_t(size), seen
        )
        del anchor
        assert not failed
        return sum(page & 1 for page in seen)


TELLS_ITS_PID = "echo x=1; echo $$ > {}/a.pid"


def test_in_a_namespace_the_child_of_the_next_window_is_begun_before_it(
    scope: EphemeralScope, scratch: Path
) -> None:
    script = TELLS_ITS_PID.format(scratch)
    with CommandSource(shell(script), scope=scope.ref) as source:
        assert source.run(nothing).valid
        begun = wait_begun(source)
        (scratch / "a.pid").unlink()
        time.sleep(0.1)
        assert not pids_in(scratch), "the command ran without a window"
        assert source.run(nothing).valid
        assert pids_in(scratch) == [begun]
        begun, helper = wait_begun(source), source._spawner.pid
    assert helper is not None
    assert all_gone([begun])
    assert not groups_of(helper)


def test_a_begun_child_that_died_is_replaced(scope: EphemeralScope) -> None:
    with CommandSource(shell("echo x=1"), scope=scope.ref) as source:
        assert source.run(nothing).valid
        begun = wait_begun(source)
        os.kill(begun, signal.SIGKILL)
        assert all_gone([begun])
        assert source.run(nothing).valid


def test_a_begun_child_dies_with_the_helper_that_waits_for_its_window(
    scope: EphemeralScope,
) -> None:
    with CommandSource(shell("echo x=1"), scope=scope.ref) as source:
        assert source.run(nothing).valid
        begun, helper = wait_begun(source), source._spawner.pid
        assert helper is not None
        os.kill(helper, signal.SIGKILL)
        assert all_gone([begun])
        assert source.run(nothing).validity is VOID
        assert not groups_of(helper)


def test_on_the_host_every_window_has_a_process_born_under_its_settings() -> None:
    with CommandSource(shell("echo x=1")) as source:
        assert source.run(nothing).valid
        time.sleep(0.1)
        assert begun_by(source) == []


def test_where_reset_commands_alternate_with_the_workload_nothing_wrong_is_run(
    scope: EphemeralScope, scratch: Path
) -> None:
    count = ResetCommand(("sh", "-c", f"echo r >> {scratch}/log"))
    spec = shell(f"echo w >> {scratch}/log; echo x=1", resets=(count, FlushTcpMetrics()))
    with CommandSource(spec, scope=scope.ref) as source:
        for _ in range(3):
            assert source.run(nothing).valid
    assert (scratch / "log").read_text().split() == ["r", "w"] * 3

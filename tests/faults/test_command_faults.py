"""Every fault through the command line, on the real kernel, with the real guardian.

After each: every knob as before (or foreign and reported), the documented exit code, no traceback
(`Running.end` looks for one every time).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ktune.proxy.journal import decode, encode
from ktune.records.paths import StatePaths
from tests.conftest import HostKnobs
from tests.faults import resources
from tests.faults.commands import DONE, FIN, HOLD, PAUSE, RATE, Bench
from tests.faults.tracer import HeldAtWrite
from tests.policy.support import policy_text
from tests.proxy.rig import LoopDevice, Net, alive, wait_until

LOW = "net.ipv4.ipfrag_low_thresh"
HIGH = "net.ipv4.ipfrag_high_thresh"
PORTS = "net.ipv4.ip_local_port_range"


class Before:
    """What the namespace held before the run."""

    def __init__(self, net: Net, *keys: str) -> None:
        self._net = net
        self._found = {key: net.read(key) for key in keys}

    def holds(self) -> bool:
        return {key: self._net.read(key) for key in self._found} == self._found


@pytest.fixture
def before(net: Net) -> Before:
    return Before(net, FIN, RATE, LOW, HIGH, PORTS)


def nothing_pending(bench: Bench) -> bool:
    return bench.run("status", "--json").json["journals"] == []


# --- a run that nobody breaks ---------------------------------------------------------------------


@pytest.mark.full
def test_an_undisturbed_run_finds_the_improvement_and_restores(
    net_bench: Bench, before: Before
) -> None:
    ended = net_bench.tune("--json")
    assert (ended.code, ended.json["outcome"]) == (0, "improved")
    assert before.holds()
    assert nothing_pending(net_bench)


# --- death ----------------------------------------------------------------------------------------


def test_a_tuner_killed_in_a_window_is_undone_by_its_guardian(
    net_bench: Bench, net: Net, before: Before
) -> None:
    net_bench.hook(HOLD)
    running = net_bench.tune_until_hooked()
    assert not before.holds()
    running.kill()
    wait_until(before.holds)
    wait_until(lambda: nothing_pending(net_bench))


@pytest.mark.parametrize(
    ("name", "code"),
    [
        (signal.SIGINT, 130),
        (signal.SIGTERM, 143),
        pytest.param(signal.SIGHUP, 129, marks=pytest.mark.full),
    ],
)
def test_a_signal_restores_and_names_the_command_that_resumes(
    net_bench: Bench, before: Before, name: signal.Signals, code: int
) -> None:
    net_bench.hook(HOLD)
    running = net_bench.tune_until_hooked()
    running.signal(name)
    ended = running.end()
    assert ended.code == code
    assert before.holds()
    assert "every knob is restored" in ended.err
    assert "tune --resume" in ended.err


def test_an_interrupted_study_is_resumed_by_the_command_it_named(
    net_bench: Bench, before: Before
) -> None:
    net_bench.hook(HOLD)
    running = net_bench.tune_until_hooked()
    running.signal(signal.SIGINT)
    study = running.end().err.partition("--resume ")[2].split()[0]
    net_bench.hook("")
    assert net_bench.run("tune", "--resume", study, "--quiet").code == 0
    assert before.holds()


@pytest.mark.parametrize("command", ["tune", pytest.param("calibrate", marks=pytest.mark.full)])
def test_a_tuner_whose_guardian_is_killed_restores_and_its_scope_is_in_emergency(
    net_bench: Bench, before: Before, command: str
) -> None:
    net_bench.hook(HOLD)
    running = (
        net_bench.tune_until_hooked() if command == "tune" else net_bench.calibrate_until_hooked()
    )
    os.kill(running.guardian, signal.SIGKILL)
    ended = running.end()
    assert ended.code == 8
    assert "emergency: the guardian is gone" in ended.err
    assert "every knob is back" in ended.err
    assert before.holds()
    assert nothing_pending(net_bench)
    kind = "studies" if command == "tune" else "calibrations"
    (log,) = (net_bench.state / kind).glob("*/modes.jsonl")
    last = json.loads(log.read_text().splitlines()[-1])
    assert (last["event"], last["after"]) == ("LeaseFailed", "emergency")
    net_bench.hook("")
    refused = net_bench.tune()
    assert refused.code == 4
    assert "the guardian is gone" in refused.err
    assert net_bench.run("recover", "--end-emergency").code == 0
    assert net_bench.tune("--search-only").code in DONE


def test_a_knob_that_can_not_be_put_back_is_an_emergency_and_recover_ends_it(
    net_bench: Bench, before: Before
) -> None:
    lock = "mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys"
    net_bench.hook(f'if [ "$value" -ge 70 ] && [ ! -e "$folder/reached" ]; then here; {lock}; fi')
    ended = net_bench.tune(before=["unshare", "--mount", "--propagation", "private"])
    assert (net_bench.folder / "reached").exists()
    assert ended.code == 8
    assert "NOT restored" in ended.err
    assert "`ktune recover` tries again" in ended.err
    assert not before.holds()
    assert net_bench.run("recover", "--end-emergency").code == 0
    assert before.holds()
    assert nothing_pending(net_bench)


@pytest.mark.parametrize(
    "command",
    [
        "apply",
        *(pytest.param(name, marks=pytest.mark.full) for name in ("tune", "rollback", "recover")),
    ],
)
def test_after_both_died_status_says_so_and_the_next_writing_command_restores(
    net_bench: Bench, net: Net, before: Before, command: str
) -> None:
    words = ["--all"] if command == "rollback" else []
    if command == "apply":
        words = [str(policy(net_bench, net)), "--yes"]
    net_bench.hook(HOLD)
    running = net_bench.tune_until_hooked()
    running.kill_with_guardian()
    assert not before.holds()
    status = net_bench.run("status")
    assert "pending" in status.out
    assert not before.holds()
    net_bench.hook("")
    if command == "tune":
        assert net_bench.tune("--search-only").code in DONE
    else:
        assert net_bench.run(command, *words).code == 0
    if command == "apply":
        assert net_bench.run("rollback", "--all").code == 0
    assert before.holds()
    assert nothing_pending(net_bench)


def test_commands_that_only_look_leave_a_pending_journal_alone(
    net_bench: Bench, before: Before
) -> None:
    net_bench.hook(HOLD)
    net_bench.tune_until_hooked().kill_with_guardian()
    profile = str(net_bench.profile)
    for words in (["plan", profile], ["tune", "--dry-run", profile], ["recover", "--dry-run"]):
        net_bench.run(*words)
        assert not before.holds(), f"{words} wrote"
    assert net_bench.run("recover").code == 0
    assert before.holds()


@pytest.mark.full
def test_the_death_of_the_tuners_whole_group_is_undone(net_bench: Bench, before: Before) -> None:
    net_bench.hook(HOLD)
    with resources.v2_cgroup() as group:
        if group is None or not (group / "cgroup.kill").exists():
            pytest.skip("needs cgroup v2 with cgroup.kill (Linux 5.14)")
        running = net_bench.tune_until_hooked(joins=[group])
        assert not before.holds()
        resources.limit(group, "cgroup.kill", 1)
        assert running.process.wait(timeout=30) == -signal.SIGKILL
        wait_until(before.holds)
        wait_until(lambda: not (group / "cgroup.procs").read_text())
    wait_until(lambda: nothing_pending(net_bench))


@pytest.mark.parametrize(
    "after",
    [
        pytest.param(False, id="between-writes", marks=pytest.mark.full),
        pytest.param(True, id="before-read-back"),
    ],
)
def test_death_of_both_around_a_write_is_restored_by_recover(
    net_bench: Bench, before: Before, after: bool
) -> None:
    net_bench.hook('if [ "$window" -eq 1 ]; then here; sleep 1; fi')
    running = net_bench.tune_until_hooked()  # the baseline's window: nothing is written yet
    guardian = running.guardian
    with HeldAtWrite(guardian, "/icmp_ratelimit", after=after) as held:
        held.wait()
        assert not before.holds()
        os.kill(guardian, signal.SIGKILL)
        running.kill()
    wait_until(lambda: not alive(guardian))
    assert not before.holds()
    assert net_bench.run("recover").code == 0
    assert before.holds()


@pytest.mark.parametrize("command", ["recover", pytest.param("apply", marks=pytest.mark.full)])
def test_an_apply_that_dies_with_its_guardian_before_its_record_is_undone_by_the_next_command(
    net_bench: Bench, net: Net, before: Before, command: str
) -> None:
    file = str(policy(net_bench, net))
    running = net_bench.start("apply", file, "--yes")
    with HeldAtWrite(running.pid, ".tmp") as held:  # its record; every knob is written
        held.wait()
        assert not before.holds()
        running.kill_with_guardian()
    assert not before.holds()
    status = net_bench.run("status")
    assert status.code == 0
    assert "PENDING" in status.out
    assert not before.holds()
    assert net_bench.run(command, *([file, "--yes"] if command == "apply" else [])).code == 0
    assert before.holds() is (command == "recover")
    assert net_bench.run("rollback", "--all").code == 0
    assert before.holds()
    assert nothing_pending(net_bench)


@pytest.mark.full
def test_an_apply_that_dies_with_its_guardian_between_two_writes_is_undone(
    net_bench: Bench, net: Net, before: Before
) -> None:
    file = str(policy(net_bench, net))
    running = net_bench.start("apply", file, "--yes")
    with HeldAtWrite(running.pid, "]", call="sendto", count=2) as asking:  # a socket; 1: open
        asking.wait()
        guardian = running.guardian
        with HeldAtWrite(guardian, "/tcp_fin_timeout") as writing:
            asking.release()
            writing.wait()
            assert not before.holds()
            os.kill(guardian, signal.SIGKILL)
            running.kill()
    wait_until(lambda: not alive(guardian))
    assert not before.holds()
    assert "PENDING" in net_bench.run("status").out
    assert net_bench.run("recover").code == 0
    assert before.holds()
    assert net_bench.run("status", "--json").json["policies"] == []


def test_an_apply_that_dies_after_its_commit_is_in_force_and_can_be_rolled_back(
    net_bench: Bench, net: Net, before: Before
) -> None:
    running = net_bench.start("apply", str(policy(net_bench, net)), "--yes")
    with HeldAtWrite(running.pid, ".tmp", count=2) as held:  # its record again: in force
        held.wait()
        running.kill()
    assert not before.holds()
    assert "being applied" in net_bench.run("status").out
    assert net_bench.run("recover").code == 0
    assert "in force" in net_bench.run("status").out
    assert net_bench.run("verify").code == 0
    assert net_bench.run("rollback").code == 0
    assert before.holds()


# --- starvation -----------------------------------------------------------------------------------


def test_a_tuner_killed_for_its_memory_is_undone(net_bench: Bench, before: Before) -> None:
    net_bench.hook(HOLD)
    with resources.v1_cgroup("memory") as group:
        if group is None:
            pytest.skip("needs the cgroup v1 memory controller")
        resources.limit(group, "memory.limit_in_bytes", 400 << 20)
        running = net_bench.tune_until_hooked(joins=[group])
        Path(f"/proc/{running.pid}/oom_score_adj").write_text("1000")
        hog = subprocess.Popen(
            ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$0" -c "{HOG}"', sys.executable]
        )
        assert running.process.wait(timeout=60) == -signal.SIGKILL
        hog.kill()
        hog.wait()
        wait_until(before.holds)
    wait_until(lambda: nothing_pending(net_bench))


@pytest.mark.full
def test_without_a_free_pid_the_run_ends_with_every_knob_back(
    net_bench: Bench, before: Before
) -> None:
    net_bench.hook(PAUSE)
    with resources.v1_cgroup("pids") as group:
        if group is None:
            pytest.skip("needs the cgroup v1 pids controller")
        running = net_bench.tune_until_hooked(joins=[group])
        resources.limit(group, "pids.max", 1)
        ended = running.end()
    assert ended.code == 1
    assert before.holds()
    assert nothing_pending(net_bench)


@pytest.mark.full
def test_without_a_free_pid_at_the_start_nothing_is_written(
    net_bench: Bench, before: Before
) -> None:
    with resources.v1_cgroup("pids") as group:
        if group is None:
            pytest.skip("needs the cgroup v1 pids controller")
        resources.limit(group, "pids.max", 1)
        ended = net_bench.tune(joins=[group])
    assert ended.code == 1
    assert "Resource temporarily unavailable" in ended.err
    assert before.holds()
    assert nothing_pending(net_bench)


# --- calibrations ---------------------------------------------------------------------------------


@pytest.mark.full
def test_a_calibration_killed_while_it_switches_is_undone_and_goes_on(
    net_bench: Bench, before: Before
) -> None:
    net_bench.hook(HOLD)
    running = net_bench.calibrate_until_hooked()
    assert not before.holds()
    (shown,) = net_bench.run("status", "--json").json["running"]
    assert shown["pid"] == running.pid
    assert f"running: calibration {shown['calibration']} (faults)" in net_bench.run("status").out
    running.kill()
    wait_until(before.holds)
    wait_until(lambda: nothing_pending(net_bench))
    assert net_bench.run("status", "--json").json["running"] == []
    (listed,) = net_bench.run("studies", "list", "--json").json
    assert (listed["kind"], listed["status"]) == ("calibration", "interrupted")
    assert "no answer yet" in listed["noise"]
    assert "go on: " in net_bench.run("report", listed["id"]).out
    net_bench.hook("")
    ended = net_bench.run("calibrate", "--resume", listed["id"], "--quiet", "--json")
    assert ended.json["pairs"] == 10
    assert before.holds()


@pytest.mark.full
@pytest.mark.parametrize(
    ("name", "code"),
    [
        (signal.SIGINT, 130),
        (signal.SIGTERM, 143),
        (signal.SIGHUP, 129),
    ],
)
def test_a_signal_restores_and_names_the_command_that_resumes_the_calibration(
    net_bench: Bench, before: Before, name: signal.Signals, code: int
) -> None:
    net_bench.hook(HOLD)
    running = net_bench.calibrate_until_hooked()
    assert not before.holds()
    running.signal(name)
    ended = running.end()
    assert ended.code == code
    assert before.holds()
    assert "every knob is restored" in ended.err
    assert "calibrate --resume" in ended.err
    assert nothing_pending(net_bench)


@pytest.mark.full
def test_a_calibration_killed_with_its_guardian_is_restored_by_the_next_one(
    net_bench: Bench, before: Before
) -> None:
    net_bench.hook(HOLD)
    net_bench.calibrate_until_hooked().kill_with_guardian()
    assert not before.holds()
    (listed,) = net_bench.run("studies", "list", "--json").json
    net_bench.hook("")
    ended = net_bench.run("calibrate", "--resume", listed["id"], "--json")
    assert "restored what run" in ended.err
    assert ended.json["pairs"] == 10
    assert before.holds()
    assert nothing_pending(net_bench)


@pytest.mark.full
def test_a_calibration_that_runs_is_not_resumed_beside_itself(
    net_bench: Bench, before: Before
) -> None:
    net_bench.hook(HOLD)
    running = net_bench.calibrate_until_hooked()
    (listed,) = net_bench.run("studies", "list", "--json").json
    second = net_bench.run("calibrate", "--resume", listed["id"])
    assert second.code == 6
    assert f"calibration {listed['id']} is still running" in second.err
    assert running.alive
    running.signal(signal.SIGINT)
    assert running.end().code == 130
    assert before.holds()


@pytest.mark.full
def test_a_search_ended_while_it_still_calibrates_goes_on_there(
    net_bench: Bench, before: Before
) -> None:
    net_bench.hook('if [ "$window" -eq 4 ]; then here; sleep 300; fi')
    running = net_bench.start("tune", str(net_bench.profile), "--seed", "1", "--quiet")
    wait_until(lambda: (net_bench.folder / "reached").exists() or not running.alive, 60)
    running.signal(signal.SIGTERM)
    ended = running.end()
    assert ended.code == 143
    assert before.holds()
    study = ended.err.partition("--resume ")[2].split()[0]
    net_bench.hook("")
    assert net_bench.run("tune", "--resume", study, "--quiet").code in DONE
    phases = [item["phase"] for item in windows_of(net_bench)]
    measured = phases.index("learning")
    assert set(phases[:measured]) == {"calibration"}
    assert "calibration" not in phases[measured:]
    assert measured in (3 + 2 * 4, 3 + 2 * 9)  # a pair and a half, and what five or ten pairs lack
    assert before.holds()


# --- the disk -------------------------------------------------------------------------------------


def test_a_frozen_state_directory_does_not_keep_the_knobs(
    net_bench: Bench, tmp_path: Path, before: Before
) -> None:
    net_bench.hook(HOLD)
    with resources.ext4(tmp_path) as disk:
        net_bench.state = disk / "state"
        running = net_bench.tune_until_hooked()
        assert not before.holds()
        with resources.frozen(disk):
            running.kill()
            wait_until(before.holds)
        wait_until(lambda: nothing_pending(net_bench))


@pytest.mark.full
def test_a_tuner_stuck_on_a_frozen_disk_loses_its_lease_and_says_so(
    net_bench: Bench, tmp_path: Path, before: Before
) -> None:
    net_bench.hook(PAUSE.replace("sleep 1", "sleep 2"))
    with resources.ext4(tmp_path) as disk:
        net_bench.state = disk / "state"
        running = net_bench.tune_until_hooked()
        with resources.frozen(disk):
            wait_until(before.holds)
        ended = running.end()
        assert ended.code == 8
        assert "every knob is back" in ended.err
        assert before.holds()


def test_a_state_directory_that_is_full_from_the_start_is_an_error_for_people(
    net_bench: Bench, tmp_path: Path, before: Before
) -> None:
    with resources.tmpfs(tmp_path, "64k") as disk:
        resources.fill(disk)
        net_bench.state = disk / "state"
        ended = net_bench.tune()
        assert ended.code == 1
        assert "No space left on device" in ended.err
    assert before.holds()


def test_a_state_directory_that_fills_up_ends_the_run_with_every_knob_back(
    net_bench: Bench, tmp_path: Path, before: Before
) -> None:
    with resources.tmpfs(tmp_path, "512k") as disk:
        net_bench.hook(f'[ "$window" -lt 3 ] || cat /dev/zero > {disk}/ballast 2>/dev/null || :')
        net_bench.state = disk / "state"
        ended = net_bench.tune()
        assert ended.code == 1
        assert "No space left on device" in ended.err
        assert before.holds()
        (disk / "ballast").unlink()
        assert nothing_pending(net_bench)


# --- knobs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "window",
    [
        pytest.param(3, id="under-a-candidate"),
        pytest.param(5, id="under-the-baseline", marks=pytest.mark.full),
    ],
)
def test_a_device_that_vanishes_during_the_run_is_dropped_and_the_rest_restored(
    bench: Bench, loop: LoopDevice, host_knobs: HostKnobs, window: int
) -> None:
    bench.knobs = {
        "sysctl": {"vm.stat_interval": {"range": [2, 60]}},
        "sysfs": {loop.knob("read_ahead_kb"): {"range": [4, 64]}},
    }
    bench.hook(f'if [ "$window" -eq {window} ]; then here; sleep 1; fi')
    running = bench.tune_until_hooked()
    loop.remove()
    ended = running.end()
    assert ended.code in DONE
    assert f"{loop.knob('read_ahead_kb')} is no longer there" in ended.err
    assert not host_knobs.changed
    assert nothing_pending(bench)


def test_where_proc_sys_is_read_only_tune_refuses(bench: Bench, host_knobs: HostKnobs) -> None:
    bench.knobs = {"sysctl": {"vm.stat_interval": {"range": [2, 60]}}}
    ended = bench.tune(before=resources.READ_ONLY_PROC_SYS)
    assert ended.code == 4
    assert "no right to write vm.stat_interval" in ended.err
    assert not host_knobs.changed


def test_an_administrators_write_during_the_run_is_kept_and_reported(
    net_bench: Bench, net: Net
) -> None:
    rate = net.read(RATE)
    net_bench.hook(PAUSE)
    running = net_bench.tune_until_hooked()
    net.write(FIN, "42")
    ended = running.end()
    assert ended.code == 5
    assert f"{FIN}: changed by somebody else" in ended.err
    assert (net.read(FIN), net.read(RATE)) == (42, rate)


def test_verify_and_rollback_exit_5_after_an_administrators_write(
    net_bench: Bench, net: Net, before: Before
) -> None:
    rate = net.read(RATE)
    assert net_bench.run("apply", str(policy(net_bench, net)), "--yes").code == 0
    assert not before.holds()
    assert net_bench.run("verify").code == 0
    net.write(FIN, "42")
    drift = net_bench.run("verify")
    assert drift.code == 5
    assert FIN in drift.out + drift.err
    assert net_bench.run("rollback", "--all").code == 5
    assert (net.read(FIN), net.read(RATE)) == (42, rate)


@pytest.mark.full
def test_a_value_that_the_kernel_refuses_makes_only_its_trial_infeasible(
    bench: Bench, loop: LoopDevice
) -> None:
    depth = loop.knob("nr_requests")  # without a scheduler at most 128 (block/blk-mq.c): EINVAL
    bench.knobs = {"sysfs": {depth: {"choices": [96, 512, 1024]}}}
    assert bench.tune("--search-only", "--trials", "3").code in DONE
    refused = [item for item in windows_of(bench) if item["validity"] == "candidate_failed"]
    assert refused
    assert all(f"{depth}: refused (Invalid argument)" in item["reason"] for item in refused)
    assert all(item["assignment"][depth] > 128 for item in refused)
    assert loop.read("nr_requests") == 128


def test_a_value_that_the_kernel_clamps_makes_its_trial_infeasible(
    bench: Bench, loop: LoopDevice
) -> None:
    sectors = loop.knob("max_sectors_kb")
    before = loop.read("max_sectors_kb")
    bench.knobs = {"sysfs": {sectors: {"choices": [64, 32768, 65536]}}}  # the device takes less
    assert bench.tune("--search-only").code in DONE
    clamped = [item for item in windows_of(bench) if item["validity"] == "candidate_failed"]
    assert clamped
    assert all(f"{sectors}: clamped" in item["reason"] for item in clamped)
    assert loop.read("max_sectors_kb") == before


@pytest.mark.full
def test_a_value_that_the_kernel_rounds_is_searched_and_restored(
    net_bench: Bench, net: Net, before: Before
) -> None:
    net_bench.knobs["sysctl"] = {RATE: {"range": [1001, 1003]}, FIN: {"range": [70, 200]}}
    assert net_bench.tune().code == 0
    assert before.holds()


def test_fragment_thresholds_raised_together_are_restored(
    net_bench: Bench, net: Net, before: Before
) -> None:
    high = net.read(HIGH)
    assert isinstance(high, int)
    net_bench.knobs["sysctl"] = {
        LOW: {"range": [high + 1000, high + 500_000]},
        HIGH: {"range": [high + 600_000, high + 900_000]},
        FIN: {"range": [70, 200]},
    }
    net_bench.hook(HOLD)
    running = net_bench.tune_until_hooked()
    low = net.read(LOW)
    assert isinstance(low, int) and low > high
    running.signal(signal.SIGTERM)
    assert running.end().code == 143
    assert before.holds()


@pytest.mark.parametrize("death", ["SIGKILL", pytest.param("SIGTERM", marks=pytest.mark.full)])
def test_dirty_bytes_where_the_ratio_was_in_force_gives_the_ratio_back(
    bench: Bench, host_knobs: HostKnobs, death: str
) -> None:
    ratio = "/proc/sys/vm/dirty_ratio"
    assert host_knobs.read(ratio) != "0"
    bench.knobs = {"sysctl": {"vm.dirty_bytes": {"range": [256 << 20, 512 << 20]}}}
    running = bench.start("tune", str(bench.profile), "--seed", "1", "--quiet")
    wait_until(lambda: host_knobs.read(ratio) == "0" or not running.alive)
    assert running.alive, running.end().err
    running.signal(signal.Signals[death])
    wait_until(lambda: not host_knobs.changed)
    running.process.wait(timeout=60)
    wait_until(lambda: nothing_pending(bench))


# --- workloads ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("misdeed", "reason"),
    [
        ("sleep 300", "(timeout)"),
        pytest.param("exit 0", "ops_per_s", marks=pytest.mark.full),
        ("echo ops_per_s=nan; exit 0", "ops_per_s"),
        pytest.param("echo ops_per_s=inf; exit 0", "ops_per_s", marks=pytest.mark.full),
        pytest.param("echo ops_per_s=0.001; exit 0", "ops_per_s", marks=pytest.mark.full),
        ("exit 7", "7"),
        ("kill -SEGV $$", "SIGSEGV"),
    ],
    ids=["hangs", "silent", "nan", "inf", "implausible", "exit-7", "crash"],
)
def test_a_workload_that_fails_under_a_candidate_makes_the_trial_infeasible(
    net_bench: Bench, before: Before, misdeed: str, reason: str
) -> None:
    net_bench.timeout = "1500ms" if misdeed == "sleep 300" else "60s"
    net_bench.hook(
        f'if [ "$value" -ge 70 ] && [ ! -e "$folder/reached" ]; then here; {misdeed}; fi'
    )
    assert net_bench.tune("--search-only").code in DONE
    failed = [item for item in windows_of(net_bench) if item["validity"] == "candidate_failed"]
    assert len(failed) == 1
    assert failed[0]["metrics"] == {}
    assert reason in failed[0]["reason"]
    assert before.holds()


@pytest.mark.parametrize("misdeed", ["exit 7", pytest.param("sleep 300", marks=pytest.mark.full)])
def test_a_workload_that_fails_under_the_baseline_ends_the_run(
    net_bench: Bench, before: Before, misdeed: str
) -> None:
    net_bench.timeout = "1500ms" if misdeed == "sleep 300" else "60s"
    net_bench.hook(misdeed)
    ended = net_bench.tune()
    assert ended.code == 1
    assert "baseline" in ended.err
    assert before.holds()


def test_children_that_a_workload_leaves_behind_do_not_outlive_their_window(
    net_bench: Bench, tmp_path: Path, before: Before
) -> None:
    net_bench.hook('setsid sleep 300 & echo $! >> "$folder/children"')
    assert net_bench.tune("--search-only").code in DONE
    children = [int(line) for line in (tmp_path / "children").read_text().split()]
    assert len(children) > 3
    assert not [pid for pid in children if alive(pid)]
    assert before.holds()


# --- journals that others left --------------------------------------------------------------------


def left_by_both(bench: Bench) -> Path:
    """The journal of a run that was killed together with its guardian."""
    bench.hook(HOLD)
    bench.tune_until_hooked().kill_with_guardian()
    (journal,) = (bench.state / "journal").glob("*.journal")
    return journal


def test_a_journal_of_another_boot_writes_nothing_and_is_archived(
    net_bench: Bench, net: Net
) -> None:
    journal = left_by_both(net_bench)
    applied = net.read(FIN)
    lines = journal.read_bytes().splitlines()
    head = decode(lines[0])
    assert head is not None
    lines[0] = encode({**head, "boot_id": "another"}).rstrip()
    journal.write_bytes(b"\n".join(lines) + b"\n")
    ended = net_bench.run("recover")
    assert ended.code == 0
    assert "another boot" in ended.out
    assert net.read(FIN) == applied
    assert nothing_pending(net_bench)


def test_a_journal_without_its_end_is_restored(net_bench: Bench, before: Before) -> None:
    journal = left_by_both(net_bench)
    journal.write_bytes(journal.read_bytes()[:-20])
    assert net_bench.run("recover").code == 0
    assert before.holds()


def test_a_forged_journal_is_refused_and_reported(net_bench: Bench, net: Net) -> None:
    journal = left_by_both(net_bench)
    applied = net.read(FIN)
    lines = journal.read_bytes().splitlines()
    originals = decode(lines[2])
    assert originals is not None
    pattern = Path("/proc/sys/kernel/core_pattern").read_text()
    originals["knobs"].append(
        {
            **{"key": "/proc/sys/kernel/core_pattern", "kind": "string"},
            **{"original": pattern.strip(), "leased": True},
        }
    )
    lines[2] = encode(originals).rstrip()
    journal.write_bytes(b"\n".join(lines) + b"\n")
    ended = net_bench.run("recover")
    assert ended.code == 1
    assert "core_pattern" in ended.out + ended.err
    assert net.read(FIN) == applied
    assert Path("/proc/sys/kernel/core_pattern").read_text() == pattern


# --- company --------------------------------------------------------------------------------------


@pytest.mark.full
def test_a_second_tuner_of_the_same_scope_is_turned_away(net_bench: Bench, before: Before) -> None:
    net_bench.hook(HOLD)
    first = net_bench.tune_until_hooked()
    second = net_bench.tune()
    assert second.code == 6
    assert str(first.pid) in second.err
    assert first.alive
    assert not before.holds()
    first.signal(signal.SIGINT)
    assert first.end().code == 130
    assert before.holds()


def test_a_second_tuner_of_the_host_is_turned_away_whatever_its_state_directory(
    bench: Bench, tmp_path: Path, host_knobs: HostKnobs
) -> None:
    bench.knobs = {"sysctl": {"vm.stat_interval": {"range": [2, 60]}}}
    bench.hook('if [ "$window" -eq 2 ]; then here; sleep 300; fi')
    first = bench.tune_until_hooked()
    bench.state = tmp_path / "elsewhere"
    second = bench.tune()
    assert second.code == 6
    assert f"ktune tune faults (pid {first.pid}) holds the host" in second.err
    assert not (bench.state / "studies").exists() or not list((bench.state / "studies").iterdir())
    assert first.alive
    first.signal(signal.SIGTERM)
    assert first.end().code == 143
    assert not host_knobs.changed


HOG = "data = []\nwhile True: data.append(bytearray(b'x' * (1 << 20)))"


def policy(bench: Bench, net: Net) -> Path:
    """A policy that sets both knobs of the namespace."""
    path = bench.folder / "policy.yaml"
    path.write_text(
        policy_text(
            StatePaths.resolve(bench.state).ensure(),
            scope=f"netns:{net.ref.netns}",
            assignment={FIN: 170, RATE: 1700},
            baseline={FIN: net.read(FIN), RATE: net.read(RATE)},
        )
    )
    return path


def windows_of(bench: Bench) -> list[dict]:
    """Every window of the only study."""
    (study,) = (bench.state / "studies").iterdir()
    done = bench.run("studies", "export", study.name)
    assert done.code == 0, done.err
    return done.json["windows"]

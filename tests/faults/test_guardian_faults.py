"""Faults at the lease: whatever dies, fills up or vanishes, every knob is back.

The guardian is the real one, the kernel too; what breaks was made by the test.
"""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ktune.kernel.tunable import Outcome
from ktune.proxy.backends import ProxyChoice
from ktune.proxy.client import LeaseLost
from ktune.proxy.guardian.recovery import RecoveryOutcome
from ktune.proxy.journal import is_held
from ktune.proxy.recover import JournalCondition, pending, recover
from tests.conftest import HostKnobs
from tests.faults import resources
from tests.faults.tracer import HeldAtWrite
from tests.proxy.rig import (
    LoopDevice,
    Net,
    Paths,
    RemoteClient,
    alive,
    lease,
    wait_until,
)

LOW = "net.ipv4.ipfrag_low_thresh"
HIGH = "net.ipv4.ipfrag_high_thresh"
FIN = "net.ipv4.tcp_fin_timeout"
RATE = "net.ipv4.icmp_ratelimit"
SWAPPINESS = "/proc/sys/vm/swappiness"
RATIO = "/proc/sys/vm/dirty_ratio"

Remote = Callable[..., RemoteClient]


def die_held(client: RemoteClient, opened: dict[str, Any], held: HeldAtWrite) -> None:
    """Kill guardian and client while the guardian is held between two system calls."""
    held.wait()
    os.kill(opened["guardian"], signal.SIGKILL)
    client.kill()


# --- death between two system calls ---------------------------------------------------------------


def test_death_between_two_writes_of_one_set_is_undone(
    net: Net, paths: Paths, remote: Remote
) -> None:
    before = net.read(LOW), net.read(HIGH), net.read(FIN)
    client = remote()
    opened = client.open(paths, HIGH, LOW, FIN, namespace=net.ref)
    with HeldAtWrite(opened["guardian"], "/ipfrag_low_thresh", after=False) as held:
        client.send(
            op="apply", deadline_s=60, assignment={HIGH: 9_000_000, LOW: 8_000_000, FIN: 17}
        )
        die_held(client, opened, held)
    wait_until(lambda: not is_held(opened["journal"]))
    assert (net.read(LOW), net.read(HIGH)) == (before[0], 9_000_000)
    assert [item.condition for item in pending(paths)] == [JournalCondition.PENDING]
    (done,) = recover(paths)
    assert done.outcome is RecoveryOutcome.RESTORED
    assert (net.read(LOW), net.read(HIGH), net.read(FIN)) == before


def test_death_between_write_and_read_back_of_a_rounded_knob_is_undone(
    net: Net, paths: Paths, remote: Remote
) -> None:
    before = net.read(RATE)
    client = remote()
    opened = client.open(paths, RATE, namespace=net.ref)
    with HeldAtWrite(opened["guardian"], "/icmp_ratelimit", after=True) as held:
        client.send(op="apply", deadline_s=60, assignment={RATE: 1001})
        held.wait()
        assert net.read(RATE) not in (before,)
        die_held(client, opened, held)
    wait_until(lambda: not is_held(opened["journal"]))
    (done,) = recover(paths)
    assert done.outcome is RecoveryOutcome.RESTORED
    assert done.report is not None and not done.report.foreign
    assert net.read(RATE) == before


def test_death_between_write_and_read_back_of_one_of_a_pair_is_undone(
    host_knobs: HostKnobs, paths: Paths, remote: Remote
) -> None:
    client = remote(proxy=ProxyChoice.FILE)  # the module writes in the kernel
    opened = client.open(paths, "vm.dirty_bytes")
    with HeldAtWrite(opened["guardian"], "/dirty_bytes", after=True) as held:
        client.send(op="apply", deadline_s=60, assignment={"vm.dirty_bytes": 512 << 20})
        held.wait()
        assert host_knobs.read(RATIO) == "0"
        die_held(client, opened, held)
    wait_until(lambda: not is_held(opened["journal"]))
    (done,) = recover(paths)
    assert done.outcome is RecoveryOutcome.RESTORED
    assert done.report is not None and not done.report.foreign
    assert not host_knobs.changed


def test_the_originals_and_the_intent_are_on_file_before_the_first_write(
    net: Net, paths: Paths, remote: Remote
) -> None:
    client = remote()
    opened = client.open(paths, FIN, namespace=net.ref)
    with HeldAtWrite(opened["guardian"], "/tcp_fin_timeout", after=False) as held:
        client.send(op="apply", deadline_s=60, assignment={FIN: 17})
        held.wait()
        records = journal_of(opened["journal"])
    assert [record["type"] for record in records] == ["open", "proxy", "originals", "intent"]
    assert records[2]["knobs"][0]["original"] == net.read(FIN) or client.answer()["good"]
    assert records[3]["values"] == {FIN: 17}


def test_a_restore_that_is_killed_half_way_is_finished_by_recover(
    net: Net, paths: Paths, remote: Remote
) -> None:
    before = net.read(LOW), net.read(HIGH)
    client = remote()
    opened = client.open(paths, HIGH, LOW, namespace=net.ref)
    client.apply({HIGH: 9_000_000, LOW: 8_000_000})
    with HeldAtWrite(opened["guardian"], "/ipfrag_high_thresh", after=False) as held:
        client.kill()
        held.wait()
        os.kill(opened["guardian"], signal.SIGKILL)
    wait_until(lambda: not is_held(opened["journal"]))
    assert (net.read(LOW), net.read(HIGH)) == (before[0], 9_000_000)
    assert [item.outcome for item in recover(paths)] == [RecoveryOutcome.RESTORED]
    assert (net.read(LOW), net.read(HIGH)) == before


def test_a_guardian_killed_between_two_writes_is_noticed_and_the_client_restores(
    net: Net, paths: Paths
) -> None:
    before = net.read(LOW), net.read(HIGH)
    held_lease = lease(paths, HIGH, LOW, namespace=net.ref)
    with HeldAtWrite(held_lease.guardian_pid, "/ipfrag_low_thresh", after=False) as held:

        def kill_when_held() -> None:
            held.wait()
            os.kill(held_lease.guardian_pid, signal.SIGKILL)

        killer = threading.Thread(target=kill_when_held)
        killer.start()
        with pytest.raises(LeaseLost, match="every knob is back"):
            held_lease.apply({HIGH: 9_000_000, LOW: 8_000_000}, deadline_s=60)
        killer.join()
    assert (net.read(LOW), net.read(HIGH)) == before


# --- what kills or starves the tuner --------------------------------------------------------------


def test_the_death_of_the_tuners_whole_group_is_undone(
    net: Net, paths: Paths, remote: Remote
) -> None:
    before = net.read(FIN)
    with resources.v2_cgroup() as group:
        if group is None or not (group / "cgroup.kill").exists():
            pytest.skip("needs cgroup v2 with cgroup.kill (Linux 5.14)")
        client = remote(joins=[group])
        opened = client.open(paths, FIN, namespace=net.ref)
        assert client.apply({FIN: 17})["good"]
        assert str(opened["guardian"]) not in (group / "cgroup.procs").read_text().split()
        resources.limit(group, "cgroup.kill", 1)
        client.process.wait(timeout=30)
        wait_until(lambda: net.read(FIN) == before)


def test_a_tuner_killed_for_its_memory_has_its_knobs_restored(
    net: Net, paths: Paths, remote: Remote
) -> None:
    before = net.read(FIN)
    with resources.v1_cgroup("memory") as group:
        if group is None:
            pytest.skip("needs the cgroup v1 memory controller")
        resources.limit(group, "memory.limit_in_bytes", 96 << 20)
        client = remote(joins=[group])
        opened = client.open(paths, FIN, namespace=net.ref)
        assert client.apply({FIN: 17})["good"]
        client.send(op="devour")
        assert client.process.wait(timeout=60) == -signal.SIGKILL
        wait_until(lambda: net.read(FIN) == before)
        wait_until(lambda: not alive(opened["guardian"]))
    assert not pending(paths)


def test_without_a_free_pid_nothing_is_written_and_the_reason_is_said(
    net: Net, paths: Paths, remote: Remote
) -> None:
    before = net.read(FIN)
    with resources.v1_cgroup("pids") as group:
        if group is None:
            pytest.skip("needs the cgroup v1 pids controller")
        client = remote(joins=[group])
        client.ask(op="ping")  # it runs
        resources.limit(group, "pids.max", 1)
        reply = client.open(paths, FIN, namespace=net.ref)
        assert reply["error"] == "LeaseLost"
        assert "can't be started: Resource temporarily unavailable" in reply["message"]
        assert "nothing was written" in reply["message"]
    assert net.read(FIN) == before
    assert not pending(paths)


def test_pids_that_run_out_during_the_lease_do_not_hinder_the_restore(
    net: Net, paths: Paths, remote: Remote
) -> None:
    before = net.read(FIN)
    with resources.v1_cgroup("pids") as group:
        if group is None:
            pytest.skip("needs the cgroup v1 pids controller")
        client = remote(joins=[group])
        client.open(paths, FIN, namespace=net.ref)
        client.apply({FIN: 17})
        resources.limit(group, "pids.max", 1)
        client.kill()
        wait_until(lambda: net.read(FIN) == before)


# --- the disk under the state directory -----------------------------------------------------------


def test_knobs_go_back_at_the_deadline_while_the_state_directory_is_frozen(
    net: Net, tmp_path: Path, remote: Remote
) -> None:
    before = net.read(FIN)
    with resources.ext4(tmp_path) as disk:
        paths = Paths(disk / "journal", tmp_path / "run")
        client = remote()
        client.open(paths, FIN, namespace=net.ref)
        client.apply({FIN: 17}, deadline_s=1)
        with resources.frozen(disk):
            wait_until(lambda: net.read(FIN) == before)


def test_knobs_go_back_when_the_client_dies_while_the_state_directory_is_frozen(
    net: Net, tmp_path: Path, remote: Remote
) -> None:
    before = net.read(FIN)
    with resources.ext4(tmp_path) as disk:
        paths = Paths(disk / "journal", tmp_path / "run")
        client = remote()
        client.open(paths, FIN, namespace=net.ref)
        client.apply({FIN: 17})
        with resources.frozen(disk):
            client.send(op="apply", deadline_s=60, assignment={FIN: 18})  # stuck before its write
            client.kill()
            wait_until(lambda: net.read(FIN) == before)
        wait_until(lambda: not pending(paths))


def test_a_switch_that_can_not_be_journaled_is_never_written(
    net: Net, tmp_path: Path, remote: Remote
) -> None:
    before = net.read(FIN)
    with resources.ext4(tmp_path) as disk:
        paths = Paths(disk / "journal", tmp_path / "run")
        client = remote()
        client.open(paths, FIN, namespace=net.ref)
        with resources.frozen(disk):
            client.send(op="apply", deadline_s=0.5, assignment={FIN: 18})
            reply = client.answer()
            assert reply["error"] == "LeaseEnded"
            assert net.read(FIN) == before


def test_recover_puts_knobs_back_while_the_state_directory_is_frozen(
    net: Net, tmp_path: Path, remote: Remote
) -> None:
    before = net.read(FIN)
    with resources.ext4(tmp_path) as disk:
        paths = Paths(disk / "journal", tmp_path / "run")
        client = remote()
        opened = client.open(paths, FIN, namespace=net.ref)
        client.apply({FIN: 17})
        os.kill(opened["guardian"], signal.SIGSTOP)
        client.kill()
        os.kill(opened["guardian"], signal.SIGKILL)
        wait_until(lambda: not is_held(opened["journal"]))
        with resources.frozen(disk):
            recovering = threading.Thread(target=recover, args=[paths])
            recovering.start()
            wait_until(lambda: net.read(FIN) == before)
        recovering.join(timeout=60)
        assert not recovering.is_alive()
        assert not pending(paths)


def test_a_full_state_directory_refuses_the_lease_before_any_write(
    net: Net, tmp_path: Path
) -> None:
    before = net.read(FIN)
    with resources.tmpfs(tmp_path, "64k") as disk:
        resources.fill(disk)
        paths = Paths(disk / "journal", tmp_path / "run")
        with pytest.raises(LeaseLost, match="No space left on device"):
            lease(paths, FIN, namespace=net.ref)
        assert net.read(FIN) == before
        assert not pending(paths)


def test_a_state_directory_that_fills_up_ends_the_lease_with_every_knob_back(
    net: Net, tmp_path: Path
) -> None:
    before = net.read(FIN)
    with resources.tmpfs(tmp_path, "64k") as disk:
        paths = Paths(disk / "journal", tmp_path / "run")
        with lease(paths, FIN, namespace=net.ref) as held:
            assert held.apply({FIN: 17}, deadline_s=60).ok
            resources.fill(disk)
            with pytest.raises(LeaseLost, match=r"No space left on device.*every knob is back"):
                for number in range(200):  # until the journal's last page is full
                    held.apply({FIN: 18 + number % 2}, deadline_s=60)
        assert net.read(FIN) == before


# --- knobs that vanish or can't be written --------------------------------------------------------


def test_a_device_that_vanished_before_its_tuner_died_does_not_keep_the_journal_pending(
    loop: LoopDevice, host_knobs: HostKnobs, paths: Paths, remote: Remote
) -> None:
    client = remote()
    opened = client.open(paths, loop.knob("read_ahead_kb"), "vm.swappiness")
    client.apply({loop.knob("read_ahead_kb"): 64, "vm.swappiness": 17})
    os.kill(opened["guardian"], signal.SIGSTOP)
    client.kill()
    os.kill(opened["guardian"], signal.SIGKILL)
    loop.remove()
    wait_until(lambda: not is_held(opened["journal"]))
    (done,) = recover(paths)
    assert done.outcome is RecoveryOutcome.RESTORED
    assert not host_knobs.changed
    assert not pending(paths)


def test_where_proc_sys_is_read_only_every_switch_says_so(
    host_knobs: HostKnobs, paths: Paths, remote: Remote
) -> None:
    client = remote(before=resources.READ_ONLY_PROC_SYS, proxy=ProxyChoice.FILE)
    client.open(paths, "vm.swappiness")
    reply = client.apply({"vm.swappiness": 17})
    assert reply["outcomes"] == {"vm.swappiness": Outcome.READ_ONLY.value}
    assert not reply["good"]
    assert "Read-only file system" in reply["problems"][0]
    assert client.ask(op="release")["report"]["verified"]
    assert not host_knobs.changed


def test_what_a_read_only_proc_sys_keeps_from_going_back_stays_pending(
    host_knobs: HostKnobs, paths: Paths, remote: Remote
) -> None:
    client = remote(before=("unshare", "--mount"), proxy=ProxyChoice.FILE)
    opened = client.open(paths, "vm.swappiness")
    client.apply({"vm.swappiness": 17})
    inside = f"--mount=/proc/{opened['guardian']}/ns/mnt"
    mounts = "mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys"
    resources.run("nsenter", inside, "sh", "-c", mounts)
    report = client.ask(op="release")["report"]
    assert not report["verified"]
    assert [item["key"] for item in report["failed"]] == ["vm.swappiness"]
    assert host_knobs.read(SWAPPINESS) == "17"
    wait_until(lambda: not is_held(opened["journal"]))
    assert [item.condition for item in pending(paths)] == [JournalCondition.PENDING]
    assert [item.outcome for item in recover(paths)] == [RecoveryOutcome.RESTORED]
    assert not host_knobs.changed


def journal_of(path: str) -> list[dict[str, Any]]:
    """The records of a journal as they lie there."""
    return [json.loads(line.partition(" ")[2]) for line in Path(path).read_text().splitlines()]

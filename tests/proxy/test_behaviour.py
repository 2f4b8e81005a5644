"""One behaviour suite for the proxy, for every back end: the real guardian on the real kernel.

A back end joins by a class like `FileBackend` in BACKENDS; every test here must hold for it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ktune.errors import BusyError, RefusedError
from ktune.kernel.namespaces import NamespaceRef
from ktune.kernel.tunable import Outcome
from ktune.proxy.backends import Backend, ProxyChoice
from ktune.proxy.client import Lease, LeaseLost, LeaseRequest, open_lease
from ktune.proxy.guardian.recovery import RecoveryOutcome
from ktune.proxy.locks import scope_lock
from ktune.proxy.model import ForeignWrite
from ktune.proxy.recover import JournalCondition, pending, recover, restore_committed
from tests.conftest import HostKnobs
from tests.proxy.guarded import why_no_guard
from tests.proxy.rig import (
    HostNet,
    LoopDevice,
    Net,
    Paths,
    RemoteClient,
    alive,
    kill_both,
    lease,
    wait_until,
    wanted,
)

LOW = "net.ipv4.ipfrag_low_thresh"
HIGH = "net.ipv4.ipfrag_high_thresh"
RMEM = "net.ipv4.tcp_rmem"
FIN = "net.ipv4.tcp_fin_timeout"
RATE = "net.ipv4.icmp_ratelimit"
THP = "/sys/kernel/mm/transparent_hugepage/enabled"
LONG_S = 600.0
SHORT_S = 0.3


class FileBackend:
    """Plain files under /proc/sys and /sys, held by the guardian process."""

    name = "file"
    proxy = ProxyChoice.FILE
    backend = Backend.FILE
    kernel_restores = False
    """Also when the guardian was killed before it could."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths
        self._made: list[Lease] = []

    def open(self, *keys: str, namespace: NamespaceRef | None = None, **options: Any) -> Lease:
        self._made.append(
            lease(self.paths, *keys, namespace=namespace, proxy=self.proxy, **options)
        )
        return self._made[-1]

    def scope(self) -> Net | HostNet:
        """Where `net.*` may be tuned."""
        return Net()

    def close(self) -> None:
        """End guardians that a failed test left behind, by their pid."""
        for item in self._made:
            item._channel.close()
            item._process.wait(timeout=30)


class BpfBackend(FileBackend):
    """The same, with the guard of sysctl writes in the kernel."""

    name = "file + BPF"
    proxy = ProxyChoice.BPF
    backend = Backend.FILE_AND_BPF

    def __init__(self, paths: Paths) -> None:
        why = why_no_guard()
        if why is not None:
            pytest.skip(f"the BPF guard does not load here: {why}")
        super().__init__(paths)


class ModuleBackend(FileBackend):
    """The kernel module writes and restores, the guardian keeps the journal; the guard of sysctl
    writes beside it where that loads. In a guest: it knows
    the host's scope only, where these tests tune what no test may touch elsewhere."""

    name = "module"
    proxy = ProxyChoice.MODULE
    kernel_restores = True

    def __init__(self, paths: Paths) -> None:
        super().__init__(paths)
        self.backend = Backend.MODULE if why_no_guard() else Backend.MODULE_AND_BPF

    def scope(self) -> HostNet:
        return HostNet()


BACKENDS = (FileBackend, BpfBackend, *([ModuleBackend] if "KTUNE_GUEST" in os.environ else []))
"""The module only in a guest (`make test-kernel`), where its runner has loaded it."""


@pytest.fixture(params=BACKENDS, ids=lambda kind: kind.name)
def backend(request: pytest.FixtureRequest, paths: Paths, root: None) -> Iterator[FileBackend]:
    made = request.param(paths)
    yield made
    made.close()


@pytest.fixture
def net(backend: FileBackend) -> Iterator[Net | HostNet]:
    """Where the back end tunes `net.*`: a namespace of the test's own, or a guest's host scope."""
    made = backend.scope()
    yield made
    made.close()


@pytest.fixture
def namespace(backend: FileBackend) -> Iterator[Net]:
    """A network namespace, whatever the back end's scope."""
    made = Net()
    yield made
    made.close()


def raised(net: Net | HostNet) -> dict[str, int]:
    """Fragment thresholds, both far above what is in force."""
    low, high = net.read(LOW), net.read(HIGH)
    assert isinstance(low, int) and isinstance(high, int)
    return {LOW: high + 1_000_000, HIGH: high + 2_000_000}


def test_a_lease_says_by_which_way_it_goes(backend: FileBackend, net: Net | HostNet) -> None:
    with backend.open(FIN, namespace=net.ref) as held:
        assert (held.standing.backend, held.standing.why) == (backend.backend, "")


# --- what is there, what is applied ---------------------------------------------------------------


def test_originals_are_read_and_nothing_is_written(
    backend: FileBackend, net: Net | HostNet
) -> None:
    before = {key: net.read(key) for key in (RMEM, FIN, LOW)}
    with backend.open(RMEM, FIN, LOW, namespace=net.ref) as held:
        assert {key: held.originals[key] for key in before} == before
    assert {key: net.read(key) for key in before} == before


def test_originals_hold_the_knobs_coupled_with_the_set(
    backend: FileBackend, net: Net | HostNet
) -> None:
    with backend.open(LOW, namespace=net.ref) as held:
        assert held.originals[HIGH] == net.read(HIGH)


def test_an_assignment_is_in_force_after_apply(backend: FileBackend, net: Net | HostNet) -> None:
    with backend.open(RMEM, FIN, namespace=net.ref) as held:
        report = held.apply({RMEM: (4096, 65536, 999_424), FIN: 17}, deadline_s=LONG_S)
        assert report.ok
        assert {item.outcome for item in report.results} == {Outcome.APPLIED}
        assert (net.read(RMEM), net.read(FIN)) == ((4096, 65536, 999_424), 17)


def test_a_knob_that_is_not_named_goes_back_to_its_original(
    backend: FileBackend, net: Net | HostNet
) -> None:
    with backend.open(RMEM, FIN, namespace=net.ref) as held:
        held.apply({RMEM: (4096, 65536, 999_424), FIN: 17}, deadline_s=LONG_S)
        assert held.apply({RMEM: (4096, 65536, 888_832)}, deadline_s=LONG_S).ok
        assert net.read(FIN) == held.originals[FIN]
        assert net.read(RMEM) == (4096, 65536, 888_832)


def test_a_value_in_force_already_is_reported_unchanged(
    backend: FileBackend, net: Net | HostNet
) -> None:
    with backend.open(RMEM, FIN, namespace=net.ref) as held:
        held.apply({FIN: 17}, deadline_s=LONG_S)
        report = held.apply({FIN: 17}, deadline_s=LONG_S)
        assert {item.key: item.outcome for item in report.results}[FIN] is Outcome.UNCHANGED


def test_a_rounded_value_is_success_and_says_what_is_in_force(
    backend: FileBackend, net: Net | HostNet
) -> None:
    with backend.open(RATE, namespace=net.ref) as held:
        report = held.apply({RATE: 1001}, deadline_s=LONG_S)
        (result,) = (item for item in report.results if item.key == RATE)
        assert result.outcome in (Outcome.ROUNDED, Outcome.APPLIED)  # a kernel with HZ=1000
        assert result.observed == net.read(RATE)
        assert report.ok


def test_a_value_that_the_kernel_refuses_is_reported_and_the_rest_applied(
    backend: FileBackend, net: Net | HostNet
) -> None:
    ports = "net.ipv4.ip_local_port_range"
    before = net.read(ports)
    with backend.open(ports, FIN, namespace=net.ref) as held:
        report = held.apply({ports: (50_000, 40_000), FIN: 17}, deadline_s=LONG_S)
        outcomes = {item.key: item for item in report.results}
        assert outcomes[ports].outcome is Outcome.REFUSED
        assert outcomes[ports].errno == 22
        assert not report.ok
        assert (net.read(ports), net.read(FIN)) == (before, 17)


def test_read_gives_live_values_also_of_coupled_knobs(
    backend: FileBackend, net: Net | HostNet
) -> None:
    with backend.open(LOW, namespace=net.ref) as held:
        held.apply({LOW: 1_000_000}, deadline_s=LONG_S)
        assert held.read() == {LOW: 1_000_000, HIGH: net.read(HIGH)}


# --- limits ---------------------------------------------------------------------------------------


def test_a_value_outside_the_catalogs_limits_is_refused_before_any_write(
    backend: FileBackend, net: Net | HostNet
) -> None:
    before = net.read(RMEM), net.read(FIN)
    with backend.open(RMEM, FIN, namespace=net.ref) as held:
        with pytest.raises(RefusedError, match=r"3601 is above the limit 3600"):
            held.apply({RMEM: (4096, 65536, 999_424), FIN: 3601}, deadline_s=LONG_S)
        assert (net.read(RMEM), net.read(FIN)) == before


def test_a_value_outside_the_profiles_limits_is_refused_before_any_write(
    backend: FileBackend, net: Net | HostNet
) -> None:
    request = LeaseRequest(run_id="limits", why="a test", who="pytest")
    asked = wanted(FIN, minimum=10, maximum=20, special=(99,))
    with open_lease(
        asked, request, paths=backend.paths, namespace=net.ref, proxy=backend.proxy
    ) as held:
        for value in (9, 21):
            with pytest.raises(RefusedError, match="limit"):
                held.apply({FIN: value}, deadline_s=LONG_S)
        assert held.apply({FIN: 99}, deadline_s=LONG_S).ok
        assert held.apply({FIN: 15}, deadline_s=LONG_S).ok


def test_an_original_outside_the_limits_can_always_be_restored(
    backend: FileBackend, net: Net | HostNet
) -> None:
    net.write(FIN, "5000")  # above the catalog's 3600
    with backend.open(FIN, namespace=net.ref) as held:
        held.apply({FIN: 17}, deadline_s=LONG_S)
        assert held.apply({FIN: 5000}, deadline_s=LONG_S).ok
        held.apply({FIN: 18}, deadline_s=LONG_S)
    assert net.read(FIN) == 5000


@pytest.mark.parametrize(
    "key",
    [
        "kernel.core_pattern",
        "kernel.modprobe",
        "kernel.sysrq",
        "vm.overcommit_memory",
        "vm.drop_caches",
        "net.ipv4.ip_forward",
        "net.ipv4.conf.all.rp_filter",
        "/proc/sys/vm/swappiness",
        "/sys/block/../block/loop0/queue/scheduler",
        "/sys/block/./queue/scheduler",
        "/etc/passwd",
    ],
)
def test_a_knob_outside_the_tunable_set_is_refused(backend: FileBackend, key: str) -> None:
    with pytest.raises(RefusedError, match="not in the set of tunable knobs"):
        backend.open(key)


def test_a_knob_of_the_whole_host_is_refused_in_a_namespace(
    backend: FileBackend, namespace: Net
) -> None:
    with pytest.raises(RefusedError, match="whole host"):
        backend.open("vm.swappiness", namespace=namespace.ref)


def test_a_knob_that_this_kernel_lacks_is_refused(backend: FileBackend) -> None:
    with pytest.raises(RefusedError, match="can't be read"):
        backend.open("/sys/block/no-such-device/queue/read_ahead_kb")


# --- the end of a lease ---------------------------------------------------------------------------


def test_release_restores_everything(backend: FileBackend, net: Net | HostNet) -> None:
    before = {key: net.read(key) for key in (RMEM, FIN)}
    held = backend.open(RMEM, FIN, namespace=net.ref)
    held.apply({RMEM: (4096, 65536, 999_424), FIN: 17}, deadline_s=LONG_S)
    report = held.release()
    assert {key: net.read(key) for key in before} == before
    assert report.verified and not report.failed
    assert {item.key for item in report.restored} == {RMEM, FIN}
    assert held.release() is report


def test_leaving_the_context_restores_also_after_an_exception(
    backend: FileBackend, net: Net | HostNet
) -> None:
    before = net.read(FIN)
    with pytest.raises(ZeroDivisionError), backend.open(FIN, namespace=net.ref) as held:
        held.apply({FIN: 17}, deadline_s=LONG_S)
        raise ZeroDivisionError
    assert net.read(FIN) == before


def test_an_interrupt_in_the_middle_of_a_request_still_restores(
    backend: FileBackend, net: Net | HostNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = net.read(FIN)
    with pytest.raises(KeyboardInterrupt), backend.open(FIN, namespace=net.ref) as held:
        send = held._channel.send

        def send_then_ctrl_c(message: dict[str, Any]) -> None:
            send(message)
            monkeypatch.setattr(held._channel, "send", send)
            raise KeyboardInterrupt

        monkeypatch.setattr(held._channel, "send", send_then_ctrl_c)
        held.apply({FIN: 17}, deadline_s=LONG_S)
    assert net.read(FIN) == before
    assert held.restored is not None
    assert held.restored.verified


def test_a_lease_that_is_not_renewed_is_undone(backend: FileBackend, net: Net | HostNet) -> None:
    before = net.read(FIN)
    held = backend.open(FIN, namespace=net.ref)
    held.apply({FIN: 17}, deadline_s=SHORT_S)
    wait_until(lambda: net.read(FIN) == before)
    with pytest.raises(LeaseLost, match=r"was not renewed; every knob is back \(1 restored"):
        held.apply({FIN: 18}, deadline_s=LONG_S)
    assert net.read(FIN) == before


def test_a_renewed_lease_goes_on(backend: FileBackend, net: Net | HostNet) -> None:
    held = backend.open(FIN, RATE, namespace=net.ref)
    held.apply({FIN: 17}, deadline_s=SHORT_S)
    held.renew(deadline_s=LONG_S)
    watch = backend.open(RMEM, namespace=net.ref, run_id="clock")
    watch.apply({RMEM: (4096, 65536, 999_424)}, deadline_s=SHORT_S * 2)
    wait_until(lambda: net.read(RMEM) != (4096, 65536, 999_424))  # twice the old deadline is over
    assert net.read(FIN) == 17
    assert held.release().verified


def test_a_killed_client_has_its_knobs_restored(
    backend: FileBackend, net: Net | HostNet, remote: Callable[..., RemoteClient]
) -> None:
    before = net.read(FIN)
    client = remote(proxy=backend.proxy)
    client.open(backend.paths, FIN, namespace=net.ref)
    assert client.apply({FIN: 17})["good"]
    assert net.read(FIN) == 17
    client.kill()
    wait_until(lambda: net.read(FIN) == before)
    wait_until(lambda: not pending(backend.paths))


def test_a_killed_guardian_is_noticed_and_the_client_restores(
    backend: FileBackend, net: Net | HostNet
) -> None:
    before = net.read(FIN)
    held = backend.open(FIN, namespace=net.ref)
    held.apply({FIN: 17}, deadline_s=LONG_S)
    os.kill(held.guardian_pid, signal.SIGKILL)
    with pytest.raises(LeaseLost, match="every knob is back"):
        held.check()
    assert net.read(FIN) == before
    assert held.restored is not None and held.restored.verified


def test_after_both_died_the_journal_is_pending_until_recover_restores(
    backend: FileBackend, net: Net | HostNet, remote: Callable[..., RemoteClient]
) -> None:
    before = net.read(FIN)
    client = remote(proxy=backend.proxy)
    opened = client.open(backend.paths, FIN, namespace=net.ref)
    client.apply({FIN: 17})
    kill_both(client, opened)
    if backend.kernel_restores:
        wait_until(lambda: net.read(FIN) == before)
    else:
        assert net.read(FIN) == 17
    assert [item.condition for item in pending(backend.paths)] == [JournalCondition.PENDING]
    assert [item.outcome for item in recover(backend.paths)] == [RecoveryOutcome.RESTORED]
    assert net.read(FIN) == before
    assert not pending(backend.paths)


def test_recover_finds_a_journal_of_another_state_directory(
    backend: FileBackend, net: Net | HostNet, remote: Callable[..., RemoteClient], tmp_path: Path
) -> None:
    client = remote(proxy=backend.proxy)
    opened = client.open(backend.paths, FIN, namespace=net.ref)
    client.apply({FIN: 17})
    kill_both(client, opened)
    elsewhere = Paths(tmp_path / "other", backend.paths.runtime)
    assert [item.outcome for item in recover(elsewhere)] == [RecoveryOutcome.RESTORED]
    assert net.read(FIN) != 17


def test_a_terminated_guardian_restores(backend: FileBackend, net: Net | HostNet) -> None:
    before = net.read(FIN)
    held = backend.open(FIN, namespace=net.ref)
    held.apply({FIN: 17}, deadline_s=LONG_S)
    os.kill(held.guardian_pid, signal.SIGTERM)
    wait_until(lambda: net.read(FIN) == before)
    with pytest.raises(LeaseLost, match="SIGTERM; every knob is back"):
        held.check()


@pytest.mark.parametrize("name", ["SIGINT", "SIGHUP", "SIGQUIT", "SIGPIPE", "SIGTSTP"])
def test_what_the_terminal_sends_does_not_end_the_guardian(
    backend: FileBackend, net: Net | HostNet, name: str
) -> None:
    with backend.open(FIN, namespace=net.ref) as held:
        held.apply({FIN: 17}, deadline_s=LONG_S)
        os.kill(held.guardian_pid, getattr(signal, name))
        assert held.read()[FIN] == 17


# --- what others write ----------------------------------------------------------------------------


def test_restore_keeps_a_value_somebody_else_wrote(
    backend: FileBackend, net: Net | HostNet
) -> None:
    before = net.read(RMEM)
    held = backend.open(RMEM, FIN, namespace=net.ref)
    held.apply({RMEM: (4096, 65536, 999_424), FIN: 17}, deadline_s=LONG_S)
    net.write(FIN, "42")
    report = held.release()
    assert report.foreign == (ForeignWrite(FIN, 17, 42),)
    assert (net.read(FIN), net.read(RMEM)) == (42, before)


def test_a_foreign_write_is_told_once_by_check(backend: FileBackend, net: Net | HostNet) -> None:
    with backend.open(FIN, namespace=net.ref) as held:
        held.apply({FIN: 17}, deadline_s=LONG_S)
        assert held.check() == ()
        net.write(FIN, "42")
        assert held.check() == (ForeignWrite(FIN, 17, 42),)
        assert held.check() == ()


def test_a_foreign_write_is_neither_overwritten_by_the_next_switch_nor_by_the_end(
    backend: FileBackend, net: Net | HostNet
) -> None:
    with backend.open(FIN, RMEM, namespace=net.ref) as held:
        held.apply({FIN: 17}, deadline_s=LONG_S)
        net.write(FIN, "42")
        report = held.apply({FIN: 18, RMEM: (4096, 65536, 999_424)}, deadline_s=LONG_S)
        assert report.foreign == (ForeignWrite(FIN, 17, 42),)
        assert not report.ok
    assert net.read(FIN) == 42


def test_a_knob_that_somebody_set_back_to_its_original_is_simply_there(
    backend: FileBackend, net: Net | HostNet
) -> None:
    before = net.read(FIN)
    held = backend.open(FIN, namespace=net.ref)
    held.apply({FIN: 17}, deadline_s=LONG_S)
    net.write(FIN, str(before))
    report = held.release()
    assert report.verified and not report.foreign
    assert net.read(FIN) == before


def test_a_journal_that_its_owner_archives_meanwhile_is_nobodys_fault(
    backend: FileBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A watch ends a lease for every pair; another command lists the folder at the same time."""
    gone = backend.paths.journal / "watch-001.journal"
    monkeypatch.setattr("ktune.proxy.recover.journals", lambda _: iter([gone]))
    assert recover(backend.paths) == []


# --- commit ---------------------------------------------------------------------------------------


def test_a_committed_assignment_stays_when_its_guardian_ends(
    backend: FileBackend, net: Net | HostNet
) -> None:
    held = backend.open(FIN, namespace=net.ref)
    held.apply({FIN: 17}, deadline_s=SHORT_S)
    held.commit({"policy": "p"})
    wait_until(lambda: not alive(held.guardian_pid))
    assert recover(backend.paths) == []
    assert net.read(FIN) == 17


def test_a_committed_assignment_is_undone_from_its_journal(
    backend: FileBackend, net: Net | HostNet
) -> None:
    before = net.read(RMEM)
    held = backend.open(FIN, RMEM, namespace=net.ref)
    held.apply({FIN: 17, RMEM: (4096, 65536, 999_424)}, deadline_s=LONG_S)
    journal = held.commit({})
    net.write(FIN, "42")
    undone = restore_committed(journal, paths=backend.paths, namespace=net.ref)
    assert undone.outcome is RecoveryOutcome.RESTORED
    assert undone.report is not None
    assert undone.report.foreign == (ForeignWrite(FIN, 17, 42),)
    assert (net.read(FIN), net.read(RMEM)) == (42, before)
    assert not Path(journal).exists()


def test_a_namespace_that_is_gone_needs_no_restore(
    backend: FileBackend, namespace: Net, remote: Callable[..., RemoteClient]
) -> None:
    if backend.kernel_restores:
        pytest.skip("the module's scope is the host, which does not go")
    client = remote(proxy=backend.proxy)
    opened = client.open(backend.paths, FIN, namespace=namespace.ref)
    client.apply({FIN: 17})
    kill_both(client, opened)
    namespace.close()
    assert [item.outcome for item in recover(backend.paths)] == [RecoveryOutcome.SCOPE_GONE]


# --- couplings on the real kernel -----------------------------------------------------------------


def test_fragment_thresholds_raised_together_come_back_without_a_refusal(
    backend: FileBackend, net: Net | HostNet
) -> None:
    before = net.read(LOW), net.read(HIGH)
    held = backend.open(LOW, HIGH, namespace=net.ref)
    assert held.apply(raised(net), deadline_s=LONG_S).ok
    report = held.release()
    assert (net.read(LOW), net.read(HIGH)) == before
    assert report.verified
    assert report.refused_attempts == 0


def test_dirty_bytes_where_the_ratio_was_in_force_gives_the_ratio_back(
    backend: FileBackend, host_knobs: HostKnobs
) -> None:
    ratio = "/proc/sys/vm/dirty_ratio"
    before = host_knobs.read(ratio)
    assert before != "0"
    held = backend.open("vm.dirty_bytes")
    assert held.apply({"vm.dirty_bytes": 512 << 20}, deadline_s=LONG_S).ok
    assert host_knobs.read(ratio) == "0"
    report = held.release()
    assert report.verified and not report.foreign
    assert host_knobs.read(ratio) == before
    assert host_knobs.read("/proc/sys/vm/dirty_bytes") == "0"


def test_leaving_the_bytes_form_mid_lease_brings_the_ratio_back(
    backend: FileBackend, host_knobs: HostKnobs
) -> None:
    before = host_knobs.read("/proc/sys/vm/dirty_ratio")
    with backend.open("vm.dirty_bytes", "vm.dirty_ratio") as held:
        assert held.apply({"vm.dirty_bytes": 512 << 20}, deadline_s=LONG_S).ok
        assert held.apply({}, deadline_s=LONG_S).ok
        assert host_knobs.read("/proc/sys/vm/dirty_ratio") == before
        assert held.apply({"vm.dirty_ratio": 33}, deadline_s=LONG_S).ok
        assert host_knobs.read("/proc/sys/vm/dirty_ratio") == "33"
    assert host_knobs.read("/proc/sys/vm/dirty_ratio") == before


def test_both_members_of_an_either_or_pair_at_once_are_refused(
    backend: FileBackend, host_knobs: HostKnobs
) -> None:
    with backend.open("vm.dirty_bytes", "vm.dirty_ratio") as held:
        with pytest.raises(RefusedError, match="exclude each other"):
            held.apply({"vm.dirty_bytes": 512 << 20, "vm.dirty_ratio": 30}, deadline_s=LONG_S)
        assert not host_knobs.changed


def test_a_foreign_ratio_is_not_zeroed_by_switching_to_the_bytes_form(
    backend: FileBackend, host_knobs: HostKnobs
) -> None:
    host_knobs.write("/proc/sys/vm/dirty_ratio", "20")
    with backend.open("vm.dirty_bytes", "vm.swappiness") as held:
        held.apply({"vm.swappiness": 17}, deadline_s=LONG_S)
        host_knobs.write("/proc/sys/vm/dirty_ratio", "42")
        report = held.apply({"vm.dirty_bytes": 512 << 20}, deadline_s=LONG_S)
        assert host_knobs.read("/proc/sys/vm/dirty_ratio") == "42"
        assert report.foreign == (ForeignWrite("vm.dirty_ratio", 20, 42),)
        again = held.apply({"vm.dirty_bytes": 512 << 20}, deadline_s=LONG_S)
        assert [item.outcome for item in again.results if item.key == "vm.dirty_bytes"] == [
            Outcome.REFUSED
        ]
    assert host_knobs.read("/proc/sys/vm/dirty_ratio") == "42"


def test_huge_pages_and_the_reserve_they_move_come_back(
    backend: FileBackend, host_knobs: HostKnobs
) -> None:
    reserve = "/proc/sys/vm/min_free_kbytes"
    before = host_knobs.read(THP), host_knobs.read(reserve)
    more = int(before[1]) + 1024  # within the limits of any machine
    with backend.open(THP, "vm.min_free_kbytes") as held:
        other = "always" if before[0] != "always" else "madvise"
        assert held.apply({THP: other, "vm.min_free_kbytes": more}, deadline_s=LONG_S).ok
        assert host_knobs.read(THP) == other
    assert (host_knobs.read(THP), host_knobs.read(reserve)) == before


def test_a_scheduler_and_the_queue_depth_it_resets_are_set_together(
    backend: FileBackend, loop: LoopDevice
) -> None:
    scheduler, depth = loop.knob("scheduler"), loop.knob("nr_requests")
    loop.write("nr_requests", "96")
    with backend.open(depth, scheduler) as held:
        assert held.apply({depth: 48, scheduler: "mq-deadline"}, deadline_s=LONG_S).ok
        assert (loop.read("scheduler"), loop.read("nr_requests")) == ("mq-deadline", 48)
    assert (loop.read("scheduler"), loop.read("nr_requests")) == ("none", 96)


def test_a_queue_depth_that_only_the_scheduler_reset_comes_back(
    backend: FileBackend, loop: LoopDevice
) -> None:
    loop.write("nr_requests", "96")
    with backend.open(loop.knob("scheduler")) as held:
        held.apply({loop.knob("scheduler"): "mq-deadline"}, deadline_s=LONG_S)
    assert loop.read("nr_requests") == 96


def test_a_queue_depth_held_at_its_original_comes_back_although_the_scheduler_resets_it(
    backend: FileBackend, loop: LoopDevice
) -> None:
    loop.write("nr_requests", "96")
    with backend.open(loop.knob("scheduler"), loop.knob("nr_requests")) as held:
        assert held.apply({loop.knob("scheduler"): "mq-deadline"}, deadline_s=LONG_S).ok
        assert loop.read("nr_requests") == 96
    assert loop.read("nr_requests") == 96


def test_settings_of_a_scheduler_that_was_replaced_come_back_with_it(
    backend: FileBackend, loop: LoopDevice
) -> None:
    loop.write("scheduler", "mq-deadline")
    loop.write("iosched/fifo_batch", "32")
    with backend.open(loop.knob("scheduler")) as held:
        assert held.apply({loop.knob("scheduler"): "none"}, deadline_s=LONG_S).ok
    assert loop.read("scheduler") == "mq-deadline"
    assert loop.read("iosched/fifo_batch") == 32


def test_a_device_that_vanishes_is_reported_missing_and_the_rest_restored(
    backend: FileBackend, loop: LoopDevice, host_knobs: HostKnobs
) -> None:
    ahead = loop.knob("read_ahead_kb")
    before = host_knobs.read("/proc/sys/vm/swappiness")
    held = backend.open(ahead, "vm.swappiness")
    assert held.apply({ahead: 64, "vm.swappiness": 17}, deadline_s=LONG_S).ok
    loop.remove()
    report = held.apply({ahead: 32, "vm.swappiness": 18}, deadline_s=LONG_S)
    outcomes = {item.key: item.outcome for item in report.results}
    assert outcomes[ahead] is Outcome.MISSING
    assert not report.ok
    restored = held.release()
    assert host_knobs.read("/proc/sys/vm/swappiness") == before
    assert any("no longer there" in note for note in restored.notes)


# --- one tuner a scope ----------------------------------------------------------------------------


def test_a_second_tuner_of_the_same_scope_is_told_who_holds_it(paths: Paths) -> None:
    with (
        scope_lock(paths, netns_cookie=None, what="tune a.yaml"),
        pytest.raises(BusyError, match=rf"tune a.yaml \(pid {os.getpid()}\) holds the host"),
        scope_lock(paths, netns_cookie=None, what="tune b.yaml"),
    ):
        raise AssertionError("both hold the host")


def test_tuners_of_different_scopes_do_not_meet(paths: Paths) -> None:
    with (
        scope_lock(paths, netns_cookie=None, what="tune a.yaml"),
        scope_lock(paths, netns_cookie=7, what="tune b.yaml"),
        scope_lock(paths, netns_cookie=8, what="tune c.yaml"),
    ):
        assert sorted(path.name for path in paths.runtime.iterdir()) == [
            "host.lock",
            "netns-7.lock",
            "netns-8.lock",
        ]


def test_the_scope_is_free_again_after_its_holder_ended(paths: Paths) -> None:
    for what in ("first", "second"):
        with scope_lock(paths, netns_cookie=None, what=what):
            pass

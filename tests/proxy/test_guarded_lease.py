"""A lease with the guard: others' writes are heard at once, with who wrote; the guardian and the
workload are held to the limits by the kernel; what does not work is said."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ktune.errors import RefusedError
from ktune.kernel.bpf.library import library
from ktune.kernel.cgroup2 import cgroup2_root
from ktune.kernel.namespaces import NamespaceRef, netns_cookie
from ktune.kernel.tunable import sysctl_path
from ktune.proxy.backends import Backend, ProxyChoice, Standing
from ktune.proxy.client import Lease, LeaseRequest, open_lease
from ktune.proxy.guard.foreign import suspicion
from ktune.proxy.guard.wire import GuardEvent, Verdict
from ktune.proxy.model import ForeignWrite
from ktune.proxy.recover import inspect
from tests.conftest import HostKnobs
from tests.proxy.guarded import Group, new_group, why_no_guard, write_as
from tests.proxy.rig import Net, Paths, RemoteClient, lease, tunable, wait_until, wanted

FIN = "net.ipv4.tcp_fin_timeout"
FIN_PATH = sysctl_path(FIN)
PORTS = "net.ipv4.ip_local_port_range"
THP = "/sys/kernel/mm/transparent_hugepage/enabled"


@pytest.fixture(autouse=True)
def guard_works() -> None:
    why = why_no_guard()
    if why is not None:
        pytest.skip(f"the BPF guard does not load here: {why}")


@pytest.fixture
def held(paths: Paths, net: Net) -> Iterator[Lease]:
    """FIN leased at 17, within 10 to 20, its original 60 outside of that."""
    request = LeaseRequest("guarded", "a test", "pytest")
    asked = wanted(FIN, minimum=10, maximum=20)
    with open_lease(asked, request, paths=paths, namespace=net.ref, proxy=ProxyChoice.BPF) as made:
        assert made.apply({FIN: 17}, deadline_s=600).ok
        yield made


def own_group(held: Lease) -> str:
    """The guardian's group of cgroup2."""
    return f"{cgroup2_root()}/ktune-guardian-{held.guardian_pid}"


def hear(held: Lease) -> tuple[ForeignWrite, ...]:
    """Wait until the guardian has told something; nothing is asked."""
    found: list[ForeignWrite] = []

    def told() -> bool:
        found.extend(held.heard())
        return bool(found)

    wait_until(told, timeout_s=20)
    return tuple(found)


def test_a_foreign_write_is_told_unasked_with_its_writer(held: Lease, net: Net) -> None:
    pid, _ = write_as("", FIN_PATH, "33", netns=net.ref.netns)
    (item,) = hear(held)
    assert (item.key, item.expected, item.found) == (FIN, 17, 33)
    assert item.by is not None
    assert (item.by.pid, item.by.uid, item.by.netns) == (pid, 0, net.inside(netns_cookie))
    assert held.check() == ()  # told once
    report = held.release()
    assert report.foreign == (ForeignWrite(FIN, 17, 33),)
    assert net.read(FIN) == 33


def test_writing_the_same_value_is_no_change(held: Lease, net: Net) -> None:
    write_as("", FIN_PATH, "17", "17\n", netns=net.ref.netns)
    assert held.check() == () == held.heard()


def test_a_write_that_the_kernel_refuses_is_no_change(paths: Paths, net: Net) -> None:
    with lease(paths, PORTS, namespace=net.ref, proxy=ProxyChoice.BPF) as held:
        held.apply({PORTS: (40_000, 50_000)}, deadline_s=600)
        said = write_as("", sysctl_path(PORTS), "50000 40000", netns=net.ref.netns)[1]
        assert said == ["EINVAL"]
        assert held.check() == () == held.heard()


def test_a_value_that_was_there_for_a_moment_is_told_and_the_knob_stays_ours(
    held: Lease, net: Net
) -> None:
    write_as("", FIN_PATH, "33", "17", netns=net.ref.netns)
    assert hear(held) == (ForeignWrite(FIN, 17, 33),)
    assert held.release().restored[0].key == FIN
    assert net.read(FIN) == 60


def test_another_namespaces_knob_of_that_name_is_not_ours(held: Lease) -> None:
    other = Net()
    try:
        write_as("", FIN_PATH, "33", netns=other.ref.netns)
        assert held.check() == () == held.heard()
    finally:
        other.close()


def test_a_foreign_write_is_in_the_next_applys_report(held: Lease, net: Net) -> None:
    write_as("", FIN_PATH, "33", netns=net.ref.netns)
    assert held.apply({FIN: 18}, deadline_s=600).foreign == (ForeignWrite(FIN, 17, 33),)
    assert net.read(FIN) == 33


def test_the_guardians_own_group_is_held_to_the_limits_but_for_the_original(
    held: Lease, net: Net
) -> None:
    said = write_as(own_group(held), FIN_PATH, "9", "21", "60", netns=net.ref.netns)[1]
    assert said == ["EPERM", "EPERM", "ok"]


def test_the_workloads_group_is_held_to_the_limits(held: Lease, net: Net) -> None:
    root = cgroup2_root()
    assert root is not None
    folder = f"{root}/ktune-window-{os.getpid()}-test"
    os.mkdir(folder)
    try:
        assert write_as(folder, FIN_PATH, "30", netns=net.ref.netns)[1] == ["ok"]
        held.bind(folder)
        assert write_as(folder, FIN_PATH, "30", "15", netns=net.ref.netns)[1] == ["EPERM", "ok"]
    finally:
        os.rmdir(folder)


@pytest.mark.parametrize("folder", ["", "/tmp", "..", "ktune-other"])
def test_only_a_group_that_a_run_made_is_bound(held: Lease, folder: str) -> None:
    with pytest.raises(RefusedError, match="no group that a run has made"):
        held.bind(os.path.join(cgroup2_root() or "", folder))


def test_kill_9_of_the_guardian_ends_its_guard(held: Lease, net: Net) -> None:
    folder = own_group(held)
    assert write_as(folder, FIN_PATH, "30", netns=net.ref.netns)[1] == ["EPERM"]
    os.kill(held.guardian_pid, signal.SIGKILL)
    wait_until(lambda: write_as(folder, FIN_PATH, "30", netns=net.ref.netns)[1] == ["ok"])
    with pytest.raises(Exception, match="the guardian is gone"):
        held.check()


def test_others_in_their_own_groups_are_not_refused(held: Lease, net: Net) -> None:
    group: Group
    with new_group("others") as group:
        assert group.write(FIN_PATH, "99", netns=net.ref.netns) == ["ok"]


def test_the_journal_says_by_which_way(held: Lease) -> None:
    state = inspect(Path(held.journal)).state
    assert state is not None
    assert state.standing.backend is Backend.FILE_AND_BPF


def test_knobs_outside_proc_sys_are_named_as_not_guarded(
    paths: Paths, host_knobs: HostKnobs
) -> None:
    with lease(paths, THP, "vm.swappiness") as held:
        assert held.standing.unguarded == (THP,)
        assert "1 knob outside /proc/sys by polling" in held.standing.text


def test_a_lease_without_sysctls_says_why_there_is_no_guard(
    paths: Paths, host_knobs: HostKnobs
) -> None:
    with lease(paths, THP) as held:
        assert held.standing == Standing(Backend.FILE, "none of the knobs is a sysctl", (THP,))


def test_in_a_user_namespace_the_guard_works_as_well(paths: Paths) -> None:
    """Root's quickstart: programs are loaded before the scope is entered."""
    holder = subprocess.Popen(
        ["unshare", "--user", "--map-root-user", "--net", "sh", "-c", "echo; exec sleep 60"],
        stdout=subprocess.PIPE,
    )
    try:
        assert holder.stdout is not None and holder.stdout.readline()
        there = NamespaceRef(f"/proc/{holder.pid}/ns/net", f"/proc/{holder.pid}/ns/user")
        with lease(paths, FIN, namespace=there, proxy=ProxyChoice.BPF) as held:
            held.apply({FIN: 17}, deadline_s=600)
            subprocess.run(
                [
                    *("nsenter", f"--target={holder.pid}", "--user", "--net"),
                    *("sh", "-c", f"echo 33 > {FIN_PATH}"),
                ],
                check=True,
            )
            assert hear(held) == (ForeignWrite(FIN, 17, 33),)
    finally:
        holder.kill()
        holder.wait()
        if holder.stdout:
            holder.stdout.close()


# --- where it does not work -----------------------------------------------------------------------


@pytest.fixture
def without_libbpf(remote: Callable[..., RemoteClient]) -> Callable[[ProxyChoice], RemoteClient]:
    """Clients that find an empty file where libbpf was."""
    library()
    maps = Path("/proc/self/maps").read_text().splitlines()
    file = next(line.split()[-1] for line in maps if "libbpf.so" in line)
    hide = f'mount --bind /dev/null {file}; exec "$@"'

    def make(choice: ProxyChoice) -> RemoteClient:
        return remote(before=("unshare", "--mount", "sh", "-ec", hide, "sh"), proxy=choice)

    return make


def test_without_libbpf_auto_takes_the_file_way_and_says_why(
    paths: Paths, net: Net, without_libbpf: Callable[[ProxyChoice], RemoteClient]
) -> None:
    client = without_libbpf(ProxyChoice.AUTO)
    opened = client.open(paths, FIN, namespace=net.ref)
    state = inspect(Path(opened["journal"])).state
    assert state is not None and state.standing.backend is Backend.FILE
    assert "libbpf.so.1 can't be loaded" in state.standing.text
    assert "polling" in state.standing.text


def test_without_libbpf_the_guard_that_was_asked_for_is_refused(
    paths: Paths, net: Net, without_libbpf: Callable[[ProxyChoice], RemoteClient]
) -> None:
    reply = without_libbpf(ProxyChoice.BPF).open(paths, FIN, namespace=net.ref)
    assert reply["error"] == "RefusedError"
    assert "the BPF guard does not work here: libbpf.so.1" in reply["message"]
    assert not list(paths.journal.glob("*.journal"))


def test_without_root_auto_says_that_loading_is_not_permitted(tmp_path: Path) -> None:
    script = (
        "import os, sys; from ktune.proxy.guardian.guarding import LeaseGuard; "
        "from ktune.proxy.backends import ProxyChoice; "
        "print(LeaseGuard(ProxyChoice.AUTO, ()).why)"
    )
    done = subprocess.run(
        ["setpriv", "--bounding-set=-all", "--inh-caps=-all", sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Operation not permitted" in done.stdout


# --- decisions, without a kernel ------------------------------------------------------------------


def event(old: str, new: str, verdict: Verdict = Verdict.SEEN, pid: int = 7) -> GuardEvent:
    return GuardEvent(1.0, pid, "sh", 0, "net/ipv4/tcp_fin_timeout", old, new, verdict, False, None)


def suspected(*events: GuardEvent) -> tuple[int, object] | None:
    found = suspicion(events, tunable(FIN).type, 17)
    return None if found is None else (found.writer.pid, found.passing)


def test_decisions_about_events() -> None:
    assert suspected(event("17", "17")) is None
    assert suspected(event("17", "33", Verdict.DENIED)) is None
    assert suspected(event("17", "33")) == (7, None)
    assert suspected(event("17", "xx")) == (7, None)
    assert suspected(event("17", "33"), event("33", "17", pid=8)) == (7, 33)
    assert suspected(event("17", "99", Verdict.CLAMPED)) == (7, None)
    # Both wrote what was there before our own write came in between: nobody changed anything.
    assert suspected(event("60", "60"), event("60", "60")) == (7, None)

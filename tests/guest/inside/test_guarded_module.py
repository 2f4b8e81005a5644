"""The BPF guard beside the kernel module: the module's writes are the lease's own, everybody else's
are told at once; who is guarded is held to the limits, the kernel is not in its way."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ktune.kernel.bpf.library import BpfError, library
from ktune.kernel.cgroup2 import cgroup2_root
from ktune.proxy.backends import Backend, ProxyChoice
from ktune.proxy.client import Lease, LeaseRequest, open_lease
from ktune.proxy.expected import expected_standing
from ktune.proxy.guard import pinned
from ktune.proxy.guard.loaded import OBJECTS, LoadedGuard
from ktune.proxy.guard.rules import watched_rule
from ktune.proxy.guard.wire import Verdict
from ktune.proxy.model import ForeignWrite
from ktune.proxy.module.device import Device
from ktune.proxy.recover import inspect
from tests.guest.inside.module_rig import (
    INT,
    LONG_S,
    SWAPPINESS,
    THP,
    live,
    needs_module,
    path_of,
    write,
)
from tests.proxy.guarded import why_no_guard, write_as
from tests.proxy.rig import Paths, RemoteClient, lease, wait_until, wanted

pytestmark = needs_module
SWAP_PATH = str(path_of(SWAPPINESS))
SWAP_NAME = "vm/swappiness"
ORIGINAL = 150
"""Outside of the limits below."""


@pytest.fixture(autouse=True)
def guard_works() -> None:
    why = why_no_guard()
    if why is not None:
        pytest.skip(f"the BPF guard does not load here: {why}")


@pytest.fixture
def held(paths: Paths) -> Iterator[Lease]:
    """Held at 17, within 10 to 20."""
    before = live(SWAPPINESS)
    write(SWAPPINESS, str(ORIGINAL))
    request = LeaseRequest("guarded-module", "a test", "pytest")
    asked = wanted(SWAPPINESS, minimum=10, maximum=20)
    with open_lease(asked, request, paths=paths, proxy=ProxyChoice.MODULE) as made:
        assert made.apply({SWAPPINESS: 17}, deadline_s=LONG_S).ok
        yield made
    write(SWAPPINESS, str(before))


def hear(held: Lease) -> tuple[ForeignWrite, ...]:
    """Wait until the guardian has told something; nothing is asked."""
    found: list[ForeignWrite] = []
    wait_until(lambda: bool(found.extend(held.heard()) or found), timeout_s=60)
    return tuple(found)


def test_the_lease_stands_by_both_and_says_so(held: Lease) -> None:
    assert held.standing.backend is Backend.MODULE_AND_BPF
    text = held.standing.text
    assert "the kernel itself restores; others' writes are seen at once" in text
    state = inspect(Path(held.journal)).state
    assert state is not None and state.standing == held.standing
    assert expected_standing([SWAP_PATH], on_host=True) == held.standing


def test_a_knob_of_sysfs_is_named_as_not_guarded(paths: Paths) -> None:
    with lease(paths, SWAPPINESS, THP, proxy=ProxyChoice.MODULE) as made:
        assert made.standing.unguarded == (THP,)
    with lease(paths, THP, proxy=ProxyChoice.MODULE) as made:
        assert made.standing.backend is Backend.MODULE
        assert "no BPF guard: none of the knobs is a sysctl" in made.standing.text


@pytest.mark.parametrize("name", OBJECTS)
def test_the_program_sees_the_modules_writes_and_can_tell_them(name: str) -> None:
    with closing(LoadedGuard(prefer=(name,))) as guard, closing(Device()) as device:
        guard.audit_everybody()
        rule = watched_rule(SWAP_PATH, netns=0)
        assert rule is not None
        guard.set_rules([rule])
        device.add(SWAPPINESS, INT)
        device.begin(LONG_S)
        device.apply([(0, "17")])
        (event,) = guard.events()
        assert (event.verdict, event.new, event.uid) == (Verdict.SEEN, "17", 0)
        assert event.comm.startswith("kworker/")
        guard.kernel_threads_are_ours()
        device.apply([(0, "18")])
        device.release()
        assert guard.events() == []
        pid, _ = write_as("", SWAP_PATH, "19")
        assert [event.pid for event in guard.events()] == [pid]


def test_what_the_module_writes_is_never_somebody_elses(held: Lease) -> None:
    for value in (18, 19, 17, 20, 10, 17):
        assert held.apply({SWAPPINESS: value}, deadline_s=LONG_S).foreign == ()
    assert held.apply({}, deadline_s=LONG_S).foreign == ()  # the original, outside the limits
    assert live(SWAPPINESS) == ORIGINAL
    assert held.check() == () == held.heard()


def test_a_foreign_write_is_told_at_once_with_its_writer_and_kept(held: Lease) -> None:
    pid, _ = write_as("", SWAP_PATH, "33")
    (item,) = hear(held)
    assert (item.key, item.expected, item.found) == (SWAPPINESS, 17, 33)
    assert item.by is not None and (item.by.pid, item.by.uid) == (pid, 0)
    assert [item.found for item in held.release().foreign] == [33]
    assert live(SWAPPINESS) == 33


def test_a_knob_that_was_given_back_is_restored(held: Lease) -> None:
    write_as("", SWAP_PATH, "33")
    assert [item.found for item in hear(held)] == [33]
    write_as("", SWAP_PATH, "17")
    report = held.release()
    assert (report.foreign, [item.key for item in report.restored]) == ((), [SWAPPINESS])
    assert report.verified and live(SWAPPINESS) == ORIGINAL


def test_the_workload_is_held_to_the_limits_and_the_kernel_restores_all_the_same(
    held: Lease,
) -> None:
    folder = f"{cgroup2_root()}/ktune-window-{os.getpid()}-test"
    os.mkdir(folder)
    try:
        held.bind(folder)
        said = write_as(folder, SWAP_PATH, "30", str(ORIGINAL), "17")[1]
        assert said == ["EPERM", "ok", "ok"]
    finally:
        os.rmdir(folder)
    held.release()
    assert live(SWAPPINESS) == ORIGINAL


def test_the_kernels_restore_after_kill_9_passes_the_guard(paths: Paths) -> None:
    before = live(SWAPPINESS)
    made = lease(paths, SWAPPINESS, proxy=ProxyChoice.MODULE)
    made.apply({SWAPPINESS: 17}, deadline_s=LONG_S)
    made._process.kill()
    wait_until(lambda: live(SWAPPINESS) == before)


def test_a_policys_guard_takes_the_module_for_ktunes_own(paths: Paths) -> None:
    rule = watched_rule(SWAP_PATH, netns=0)
    assert rule is not None
    name = f"guest-{os.getpid()}"
    try:
        folder, _ = pinned.pin_guard(name, [rule], enforce=False)
    except BpfError as error:
        pytest.skip(error.why)
    try:
        before = live(SWAPPINESS)
        made = lease(paths, SWAPPINESS, proxy=ProxyChoice.MODULE)
        assert made.apply({SWAPPINESS: 17}, deadline_s=LONG_S).ok
        made._process.kill()
        wait_until(lambda: live(SWAPPINESS) == before)
        assert pinned.look(folder, [SWAP_NAME])[SWAP_NAME].last is None
        pid, _ = write_as("", SWAP_PATH, str(before))
        last = pinned.look(folder, [SWAP_NAME])[SWAP_NAME].last
        assert last is not None and last.pid == pid
    finally:
        pinned.remove(name)


def test_without_libbpf_the_module_stands_alone_and_says_why(
    paths: Paths, remote: Callable[..., RemoteClient]
) -> None:
    library()
    maps = Path("/proc/self/maps").read_text().splitlines()
    file = next(line.split()[-1] for line in maps if "libbpf.so" in line)
    hide = f'mount --bind /dev/null {file}; exec "$@"'
    before = ("unshare", "--mount", "sh", "-ec", hide, "sh")
    client = remote(before=before, proxy=ProxyChoice.MODULE)
    state = inspect(Path(client.open(paths, SWAPPINESS)["journal"])).state
    assert state is not None and state.standing.backend is Backend.MODULE
    assert "no BPF guard: libbpf.so.1 can't be loaded" in state.standing.text
    assert "others' writes are found by polling" in state.standing.text

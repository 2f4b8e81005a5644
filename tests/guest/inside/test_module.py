"""/dev/ktune itself: what the kernel promises, whatever becomes of its client."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import random
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ktune.kernel.namespaces import CLONE_NEWNET, unshare
from ktune.kernel.tunable import sysctl_path
from ktune.kernel.values import ValueType, parse
from ktune.proxy.module import device as wire
from ktune.proxy.module.device import Couple, Device, Done, KernelLimits, Reason, State
from tests.proxy.rig import LoopDevice, wait_until

SWAPPINESS = "vm.swappiness"
RMEM = "net.ipv4.tcp_rmem"
LOW, HIGH = "net.ipv4.ipfrag_low_thresh", "net.ipv4.ipfrag_high_thresh"
RATIO, BYTES = "vm.dirty_ratio", "vm.dirty_bytes"
BACK_RATIO, BACK_BYTES = "vm.dirty_background_ratio", "vm.dirty_background_bytes"
FIN = "net.ipv4.tcp_fin_timeout"
THP = "/sys/kernel/mm/transparent_hugepage/enabled"
TRACING = Path("/sys/kernel/tracing")
INT, VECTOR, CHOICE = ValueType.INT, ValueType.VECTOR, ValueType.CHOICE
LONG_S = 600.0

pytestmark = pytest.mark.skipif(
    not os.path.exists(wire.DEVICE), reason="needs the ktune module (/dev/ktune)"
)


def path_of(name: str) -> Path:
    return Path(name if name.startswith("/") else sysctl_path(name))


def live(name: str, kind: ValueType = INT) -> Any:
    return parse(kind, path_of(name).read_text())


def write(name: str, text: str) -> None:
    fd = os.open(path_of(name), os.O_WRONLY)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    """Every test ends with the knobs as it found them, by the module's doing or its own."""
    names = (SWAPPINESS, LOW, HIGH, RATIO, BACK_RATIO)
    before = {name: live(name) for name in names}
    yield
    for name, value in before.items():
        if value:
            write(name, str(value))
    assert {name: live(name) for name in names} == before


@pytest.fixture
def device() -> Iterator[Device]:
    made = Device()
    yield made
    made.close()


def refused(code: int) -> Any:
    return pytest.raises(OSError, match=rf"\[Errno {code}\]")


# --- what can be added ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "kernel.core_pattern",
        "kernel.modprobe",
        "kernel.sysrq",
        "kernel.hotplug",
        "vm.overcommit_memory",
        "vm.drop_caches",
        "net.ipv4.ip_forward",
        "",
        ".",
        "vm",
        "vm.",
        "vm.swappiness.",
        "vm/swappiness",
        "vm..swappiness",
        "vm.swappiness\n",
        " vm.swappiness",
        "VM.swappiness",
        "../vm.swappiness",
        "/proc/sys/vm/swappiness",
        "/proc/sys/kernel/core_pattern",
        "/proc/irq/default_smp_affinity",
        "/sys/kernel/debug/sched/migration_cost_ns",
        "/sys/block/../block/loop0/queue/scheduler",
        "/sys/block/./queue/scheduler",
        "/sys/block/../queue/scheduler",
        "/sys/block//queue/scheduler",
        "/sys/block/a/b/queue/scheduler",
        "/sys/block/loop0/queue/scheduler/",
        "/sys/block/*/queue/scheduler",
        "/sys/fs/cgroup/../../kernel/uevent_helper/cpu.weight",
        "/etc/passwd",
    ],
)
def test_a_name_outside_the_compiled_in_list_does_not_exist(device: Device, name: str) -> None:
    for kind in (INT, ValueType.STRING):
        with refused(errno.EACCES):
            device.add(name, kind)


def test_a_knob_that_this_kernel_lacks_is_missing(device: Device) -> None:
    with refused(errno.ENOENT):
        device.add("/sys/block/no-such-device/queue/read_ahead_kb", INT)


def test_a_type_that_is_not_the_lists_is_refused(device: Device) -> None:
    with refused(errno.EINVAL):
        device.add(SWAPPINESS, ValueType.STRING)


def test_the_original_is_told_in_canonical_form(device: Device) -> None:
    assert device.add(RMEM, VECTOR).original == " ".join(map(str, live(RMEM, VECTOR)))
    assert device.add(THP, CHOICE).original == live(THP, CHOICE)


def test_a_bind_mount_over_a_knob_leads_nowhere(tmp_path: Path) -> None:
    """A knob is looked up in a mount of the module's own."""
    code = (
        "import subprocess, sys; sys.path.insert(0, sys.argv[1])\n"
        "subprocess.run(['mount', '--bind', '/proc/sys/kernel/core_pattern',"
        " '/proc/sys/vm/swappiness'], check=True)\n"
        "from ktune.proxy.module.device import Device\n"
        "from ktune.kernel.values import ValueType\n"
        "held = Device(); added = held.add('vm.swappiness', ValueType.INT); held.begin(60)\n"
        "held.apply([(0, '17')])\n"
        "print(added.original, open('/proc/sys/kernel/core_pattern').read().strip())\n"
        "held.apply([(0, added.original)])\n"
    )
    pattern = Path("/proc/sys/kernel/core_pattern").read_text().strip()
    said = subprocess.run(
        ["unshare", "--mount", sys.executable, "-c", code, os.getcwd()],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert said.strip() == f"{live(SWAPPINESS)} {pattern}"


def test_a_caller_without_the_capability_can_not_open_it() -> None:
    for options in (["--bounding-set=-sys_admin"], ["--reuid=65534", "--clear-groups"]):
        done = subprocess.run(
            ["setpriv", *options, "sh", "-c", "exec 3<>/dev/ktune"], capture_output=True, text=True
        )
        assert done.returncode, options
        assert "denied" in done.stderr or "not permitted" in done.stderr


def test_another_network_namespace_may_neither_open_nor_add() -> None:
    held = Device()
    child = os.fork()
    if not child:
        code = 1
        try:
            unshare(CLONE_NEWNET)
            try:
                Device()
            except OSError as error:
                code = 0 if error.errno == errno.EXDEV else 2
            try:
                held.add(SWAPPINESS, INT)
                code = 3
            except OSError as error:
                code = code or (0 if error.errno == errno.EXDEV else 4)
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    held.close()


def test_one_knob_has_one_owner(device: Device) -> None:
    device.add(SWAPPINESS, INT)
    with refused(errno.EEXIST):
        device.add(SWAPPINESS, INT)
    other = Device()
    with refused(errno.EBUSY):
        other.add(SWAPPINESS, INT)
    with refused(errno.EBUSY):
        other.add(SWAPPINESS, INT, watch=True)
    device.close()
    other.add(SWAPPINESS, INT)
    other.close()


def test_two_sessions_may_watch_the_same_knob(device: Device) -> None:
    other = Device()
    assert device.add(HIGH, INT, watch=True) == other.add(HIGH, INT, watch=True)
    other.close()


def test_knobs_sessions_and_couples_are_bounded(device: Device) -> None:
    others = []
    with refused(errno.EMFILE):
        for _ in range(64):
            others.append(Device())
    assert len(others) == 15
    for other in others:
        other.close()
    device.add(RATIO, INT)
    device.add(BYTES, INT)
    device.couple(Couple.EITHER_OR, 0, 1)
    with refused(errno.EEXIST):
        device.couple(Couple.EITHER_OR, 0, 1)
    for bad in ((0, 0), (0, 2), (2, 0), (0xFFFFFFFF, 1)):
        with refused(errno.EINVAL):
            device.couple(Couple.DRAGS, *bad)


# --- limits ---------------------------------------------------------------------------------------


def test_limits_of_the_list_and_of_the_session_hold(device: Device) -> None:
    device.add(SWAPPINESS, INT, KernelLimits(least=(10,), most=(50,), step=5, special=(77,)))
    device.add(RMEM, VECTOR, KernelLimits(least=(4096,), most=(1 << 20,)))
    device.begin(LONG_S)
    before = live(SWAPPINESS)
    for text in ("9", "51", "12", "201", "-1", "99999999999999999999"):
        with refused(errno.ERANGE):
            device.apply([(0, text)])
    for text in ("", "x", "010", "1 2", "0x10", "10 ", "1\n1"):
        if text.strip() == "10":
            continue
        with refused(errno.EINVAL):
            device.apply([(0, text)])
    with refused(errno.ERANGE):
        device.apply([(1, "4096 65536 2000000")])
    with refused(errno.EINVAL):
        device.apply([(1, "4096 65536")])
    assert live(SWAPPINESS) == before
    for text in ("10", "50", "15", "77", str(before)):
        assert device.apply([(0, text)])[0].done in (Done.APPLIED, Done.UNCHANGED)
        assert live(SWAPPINESS) == int(text)


def test_the_lists_own_limits_hold_without_any_of_the_sessions(device: Device) -> None:
    device.add(SWAPPINESS, INT)
    device.add("vm.min_free_kbytes", INT)
    device.add(THP, CHOICE)
    device.begin(LONG_S)
    with refused(errno.ERANGE):
        device.apply([(0, "201")])
    with refused(errno.ERANGE):  # a twentieth of this machine's memory
        device.apply([(1, str(1 << 40))])
    with refused(errno.ERANGE):
        device.apply([(2, "sometimes")])


def test_nothing_is_written_unless_every_item_may_be(device: Device) -> None:
    before = live(SWAPPINESS)
    device.add(SWAPPINESS, INT)
    device.add(LOW, INT, watch=True)
    device.begin(LONG_S)
    for second in ((0, "18"), (7, "1"), (1, "5")):
        with pytest.raises(OSError):  # twice the same, no such knob, only watched
            device.apply([(0, "17"), second])
        assert live(SWAPPINESS) == before


# --- the lease ------------------------------------------------------------------------------------


def test_nothing_is_written_before_a_lease_has_begun_or_after_it_is_over(device: Device) -> None:
    with refused(errno.ENODATA):
        device.begin(LONG_S)
    device.add(SWAPPINESS, INT)
    for act in (lambda: device.apply([(0, "17")]), lambda: device.renew(1), device.commit):
        with refused(errno.EBADFD):
            act()
    for lasts_s in (0, 25 * 3600.0):
        with refused(errno.ERANGE):
            device.begin(lasts_s)
    device.begin(LONG_S)
    with refused(errno.EBADFD):
        device.begin(LONG_S)
    with refused(errno.EBADFD):
        device.add(RATIO, INT)
    device.release()
    for act in (lambda: device.apply([(0, "17")]), lambda: device.renew(1), device.commit):
        with refused(errno.ESTALE):
            act()


def test_release_restores_and_tells(device: Device) -> None:
    before = live(SWAPPINESS), live(RMEM, VECTOR)
    device.add(SWAPPINESS, INT)
    device.add(RMEM, VECTOR)
    device.begin(LONG_S)
    done = device.apply([(0, "17"), (1, "4096 65536 999424")])
    assert [item.done for item in done] == [Done.APPLIED] * 2
    assert (live(SWAPPINESS), live(RMEM, VECTOR)) == (17, (4096, 65536, 999424))
    result = device.release()
    assert (live(SWAPPINESS), live(RMEM, VECTOR)) == before
    assert (result.state, result.reason) == (State.RESTORED, Reason.RELEASE)
    assert (result.restored, result.failed, result.knobs) == (2, 0, 2)
    knob = device.knob(0)
    assert (knob.before, knob.live, knob.original) == ("17", str(before[0]), str(before[0]))
    assert device.release() == result


HOLDER = """
import sys, time
sys.path.insert(0, sys.argv[1])
from ktune.kernel.values import ValueType
from ktune.proxy.module.device import Device
held = Device()
held.add("vm.swappiness", ValueType.INT)
held.add("net.ipv4.tcp_fin_timeout", ValueType.INT)
held.begin(float(sys.argv[2]))
held.apply([(0, "17"), (1, "19")])
print(held.info().session, flush=True)
time.sleep(600)
"""


def holder(lasts_s: float = LONG_S) -> tuple[subprocess.Popen[bytes], int]:
    """A process that holds a lease on two knobs, and its session's number."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, os.getcwd(), str(lasts_s)], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    return process, int(process.stdout.readline())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_the_death_of_the_owner_restores(device: Device, number: signal.Signals) -> None:
    before = live(SWAPPINESS), live(FIN)
    process, session = holder()
    assert live(SWAPPINESS) == 17
    process.send_signal(number)
    process.wait()  # whoever waits for the death finds all back
    assert (live(SWAPPINESS), live(FIN)) == before
    result = device.result(session)
    assert (result.state, result.reason, result.restored) == (State.RESTORED, Reason.CLOSE, 2)


def busy_owner() -> int:
    """The pid of a process that begins a lease and then writes without end."""
    ready, told = os.pipe()
    pid = os.fork()
    if pid:
        os.close(told)
        assert os.read(ready, 1) == b"x"
        os.close(ready)
        return pid
    try:
        held = Device()
        held.add(SWAPPINESS, INT)
        held.add(FIN, INT)
        held.begin(LONG_S)
        os.write(told, b"x")
        n = 0
        while True:
            n += 1
            held.apply([(0, str(10 + n % 50)), (1, str(20 + n % 50))])
    finally:
        os._exit(1)


def test_an_owner_killed_in_the_middle_of_its_writes_leaves_nothing_behind() -> None:
    before = live(SWAPPINESS), live(FIN)
    chosen = random.Random(7)
    for _ in range(100):
        pid = busy_owner()
        for _ in range(chosen.randrange(3000)):
            pass
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        assert (live(SWAPPINESS), live(FIN)) == before


def test_an_owner_that_hangs_past_its_deadline_is_undone(device: Device) -> None:
    before = live(SWAPPINESS)
    process, session = holder(lasts_s=0.5)
    process.send_signal(signal.SIGSTOP)
    wait_until(lambda: live(SWAPPINESS) == before)
    result = device.result(session)
    assert (result.state, result.reason) == (State.RESTORED, Reason.DEADLINE)
    process.kill()
    process.wait()
    assert live(SWAPPINESS) == before


def test_a_renewed_lease_outlives_its_first_deadline(device: Device) -> None:
    before = live(SWAPPINESS)
    device.add(SWAPPINESS, INT)
    device.begin(0.3)
    device.apply([(0, "17")])
    device.renew(LONG_S)
    clock = Device()
    clock.add(FIN, INT)
    clock.begin(0.6)
    wait_until(lambda: clock.result().state is State.RESTORED)
    clock.close()
    assert live(SWAPPINESS) == 17
    device.close()
    assert live(SWAPPINESS) == before


def test_what_is_committed_stays(device: Device) -> None:
    before = live(SWAPPINESS)
    device.add(SWAPPINESS, INT)
    device.begin(0.3)
    device.apply([(0, "17")])
    device.commit()
    device.close()
    assert live(SWAPPINESS) == 17
    write(SWAPPINESS, str(before))


def test_a_file_that_a_child_inherits_holds_the_lease_until_the_last_close() -> None:
    before = live(SWAPPINESS)
    device = Device()
    device.add(SWAPPINESS, INT)
    device.begin(LONG_S)
    device.apply([(0, "17")])
    child = subprocess.Popen(["sleep", "600"], pass_fds=(device.fd,))
    device.close()
    assert live(SWAPPINESS) == 17
    child.kill()
    child.wait()
    assert live(SWAPPINESS) == before


def test_the_module_can_not_be_unloaded_under_a_lease(device: Device) -> None:
    device.add(SWAPPINESS, INT)
    device.begin(LONG_S)
    device.apply([(0, "17")])
    done = subprocess.run(["rmmod", "ktune"], capture_output=True, text=True)
    assert done.returncode and "in use" in done.stderr
    assert live(SWAPPINESS) == 17


# --- what others write ----------------------------------------------------------------------------


def test_restore_keeps_what_somebody_else_wrote(device: Device) -> None:
    before = live(SWAPPINESS)
    device.add(SWAPPINESS, INT)
    device.add(RMEM, VECTOR)
    device.begin(LONG_S)
    device.apply([(0, "17"), (1, "4096 65536 999424")])
    write(SWAPPINESS, "42")
    result = device.release()
    assert (result.foreign, result.restored) == (1, 1)
    assert live(SWAPPINESS) == 42
    assert device.knob(0).foreign
    write(SWAPPINESS, str(before))


def test_a_switch_does_not_write_over_what_somebody_else_wrote(device: Device) -> None:
    before = live(SWAPPINESS)
    device.add(SWAPPINESS, INT)
    device.begin(LONG_S)
    device.apply([(0, "17")])
    write(SWAPPINESS, "42")
    (item,) = device.apply([(0, "18")])
    assert (item.done, item.errno, item.text) == (Done.FOREIGN, errno.EBUSY, "42")
    write(SWAPPINESS, "17")  # ours by accident, once witnessed it stays theirs
    device.close()
    assert live(SWAPPINESS) == 17
    write(SWAPPINESS, str(before))


def test_a_knob_that_the_client_saw_written_by_others_is_kept(device: Device) -> None:
    before = live(SWAPPINESS)
    device.add(SWAPPINESS, INT)
    device.begin(LONG_S)
    device.apply([(0, "17")])
    device.keep(0)
    device.close()
    assert live(SWAPPINESS) == 17
    write(SWAPPINESS, str(before))


# --- couplings ------------------------------------------------------------------------------------


def test_thresholds_that_bound_each_other_come_back(device: Device) -> None:
    low, high = live(LOW), live(HIGH)
    device.add(LOW, INT)
    device.add(HIGH, INT)
    device.begin(LONG_S)
    done = device.apply([(0, str(high + 1_000_000)), (1, str(high + 2_000_000))])
    assert [item.done for item in done] == [Done.APPLIED] * 2
    assert device.release().failed == 0
    assert (live(LOW), live(HIGH)) == (low, high)


def test_what_would_not_go_back_is_tried_again_until_it_does() -> None:
    low, high = live(LOW), live(HIGH)
    device = Device()
    device.add(LOW, INT)
    device.begin(LONG_S)
    device.apply([(0, "1000")])
    write(HIGH, str(low - 1))  # the original is refused as long as this is so
    result = device.release()
    assert (result.state, result.failed, result.first_failed) == (State.RESTORING, 1, LOW)
    assert device.knob(0).errno == errno.EINVAL
    session = device.info().session
    device.close()
    assert subprocess.run(["rmmod", "ktune"], capture_output=True).returncode
    write(HIGH, str(high))
    wait_until(lambda: live(LOW) == low)
    other = Device()
    wait_until(lambda: other.result(session).state is State.RESTORED)
    assert other.result(session).rounds > 1
    other.close()


def pair(device: Device) -> None:
    device.add(RATIO, INT)
    device.add(BYTES, INT)
    device.couple(Couple.EITHER_OR, 0, 1)
    device.couple(Couple.EITHER_OR, 1, 0)
    device.begin(LONG_S)


def test_the_bytes_form_gives_the_ratio_back(device: Device) -> None:
    before = live(RATIO)
    pair(device)
    device.apply([(1, str(512 << 20))])
    assert (live(RATIO), live(BYTES)) == (0, 512 << 20)
    assert device.release().failed == 0
    assert (live(RATIO), live(BYTES)) == (before, 0)


def test_a_ratio_set_where_bytes_were_in_force_gives_the_bytes_back(device: Device) -> None:
    before = live(RATIO)
    write(BYTES, str(300 << 20))
    pair(device)
    device.apply([(0, "33")])
    assert (live(RATIO), live(BYTES)) == (33, 0)
    assert device.release().failed == 0
    assert (live(RATIO), live(BYTES)) == (0, 300 << 20)
    write(RATIO, str(before))


def test_a_pair_that_was_zero_becomes_zero_again(device: Device) -> None:
    before = live(BACK_RATIO)
    write(BACK_RATIO, "0")
    device.add(BACK_RATIO, INT)
    device.add(BACK_BYTES, INT)
    device.couple(Couple.EITHER_OR, 0, 1)
    device.couple(Couple.EITHER_OR, 1, 0)
    device.begin(LONG_S)
    device.apply([(1, str(64 << 20))])
    assert device.release().failed == 0
    assert (live(BACK_RATIO), live(BACK_BYTES)) == (0, 0)
    write(BACK_RATIO, str(before))


def test_a_foreign_member_keeps_its_pair(device: Device) -> None:
    before = live(RATIO)
    pair(device)
    device.apply([(1, str(512 << 20))])
    write(RATIO, "42")
    assert device.release().restored == 0
    assert (live(RATIO), live(BYTES)) == (42, 0)
    write(RATIO, str(before))


def test_a_scheduler_comes_back_with_what_it_reset(device: Device, loop: LoopDevice) -> None:
    loop.write("scheduler", "mq-deadline")
    loop.write("iosched/fifo_batch", "32")
    loop.write("nr_requests", "96")
    device.add(loop.knob("scheduler"), CHOICE)
    device.add(loop.knob("nr_requests"), INT)
    device.add(loop.knob("iosched/fifo_batch"), INT, watch=True)
    device.couple(Couple.DRAGS, 0, 1)
    device.couple(Couple.DRAGS, 0, 2)
    device.begin(LONG_S)
    (item,) = device.apply([(0, "none")])
    assert item.done is Done.APPLIED
    assert not os.path.exists(loop.knob("iosched/fifo_batch"))
    result = device.release()
    assert (result.failed, loop.read("scheduler")) == (0, "mq-deadline")
    assert (loop.read("iosched/fifo_batch"), loop.read("nr_requests")) == (32, 96)


def test_a_device_that_vanishes_is_gone_and_the_rest_restored(
    device: Device, loop: LoopDevice
) -> None:
    before = live(SWAPPINESS)
    device.add(loop.knob("read_ahead_kb"), INT)
    device.add(SWAPPINESS, INT)
    device.begin(LONG_S)
    device.apply([(0, "64"), (1, "17")])
    loop.remove()
    gone, kept = device.apply([(0, "32"), (1, "18")])
    assert (gone.done, kept.done) == (Done.GONE, Done.APPLIED)
    result = device.release()
    assert (result.gone, result.restored, live(SWAPPINESS)) == (1, 1, before)


# --- staged assignments ---------------------------------------------------------------------------


def test_staged_assignments_are_switched_without_naming_values(device: Device) -> None:
    before = live(SWAPPINESS), live(RMEM, VECTOR)
    device.add(SWAPPINESS, INT)
    device.add(RMEM, VECTOR)
    device.begin(LONG_S)
    device.stage(1, [(0, "17")])
    device.stage(2, [(1, "4096 65536 999424")])
    for slot, expected in (
        (1, (17, before[1])),
        (2, (before[0], (4096, 65536, 999424))),
        (0, before),
        (1, (17, before[1])),
    ):
        device.switch(slot)
        assert (live(SWAPPINESS), live(RMEM, VECTOR)) == expected
    with refused(errno.ENOENT):
        device.switch(3)
    for bad in (0, 16, 1 << 31):
        with refused(errno.EINVAL):
            device.stage(bad, [(0, "17")])
    with refused(errno.ERANGE):
        device.stage(1, [(0, "9999")])
    device.switch(1)
    device.close()
    assert (live(SWAPPINESS), live(RMEM, VECTOR)) == before


def test_a_staged_bytes_form_displaces_the_ratio_and_the_baseline_brings_it_back(
    device: Device,
) -> None:
    before = live(RATIO)
    pair(device)
    device.stage(1, [(1, str(512 << 20))])
    device.stage(2, [(0, "33")])
    device.switch(1)
    assert (live(RATIO), live(BYTES)) == (0, 512 << 20)
    device.switch(2)
    assert (live(RATIO), live(BYTES)) == (33, 0)
    device.switch(1)
    device.switch(0)
    assert (live(RATIO), live(BYTES)) == (before, 0)


# --- telling --------------------------------------------------------------------------------------


@pytest.fixture
def trace() -> Iterator[Callable[[], str]]:
    (TRACING / "trace").write_text("")
    (TRACING / "events/ktune/enable").write_text("1")
    yield (TRACING / "trace").read_text
    (TRACING / "events/ktune/enable").write_text("0")


def test_trace_points_tell_of_writes_restores_and_refusals(
    device: Device, trace: Callable[[], str]
) -> None:
    device.add(SWAPPINESS, INT)
    device.begin(LONG_S)
    device.apply([(0, "17")])
    with refused(errno.ERANGE):
        device.apply([(0, "999")])
    device.release()
    said = trace()
    original = device.knob(0).original
    assert f'ktune_apply: session={device.info().session} knob=vm.swappiness before="' in said
    assert f'before="{original}" after="17" outcome=1 error=0' in said
    assert f'ktune_restore: session={device.info().session} knob=vm.swappiness before="17"' in said
    assert "ktune_refused:" in said and "error=-34" in said


def test_counters_count(device: Device) -> None:
    before = device.info()
    device.add(SWAPPINESS, INT)
    device.begin(LONG_S)
    device.apply([(0, "17")])
    device.release()
    with refused(errno.EBADFD):
        device.add(RATIO, INT)
    after = device.info()
    assert (after.abi, after.rules > 300, after.version) == (wire.ABI, True, "1.0.0")
    assert after.applied == before.applied + 2  # the write and the way back
    assert (after.restored, after.refused) == (before.restored + 1, before.refused + 1)


def test_the_end_of_a_lease_wakes_whoever_polls(device: Device) -> None:
    import select

    poller = select.poll()
    poller.register(device.fd, select.POLLIN)
    assert not poller.poll(0)
    device.add(SWAPPINESS, INT)
    device.begin(0.2)
    assert poller.poll(10_000)
    assert device.result().reason is Reason.DEADLINE


# --- hostile --------------------------------------------------------------------------------------


def test_a_reader_of_the_device_may_only_look() -> None:
    fd = os.open(wire.DEVICE, os.O_RDONLY | os.O_CLOEXEC)
    fcntl.ioctl(fd, wire.IOC_INFO, bytearray(wire._INFO.size))
    with refused(errno.EBADF):
        fcntl.ioctl(fd, wire.IOC_COMMIT)
    os.close(fd)


REQUESTS = tuple(value for name, value in vars(wire).items() if name.startswith("IOC_"))


def test_bad_pointers_are_told_and_not_followed(device: Device) -> None:
    device.add(SWAPPINESS, INT)
    device.begin(LONG_S)
    raw = ctypes.CDLL(None, use_errno=True).ioctl
    for address in (0, 1, 0xFFFF_8000_0000_0000, (1 << 64) - 8, 0x1000):
        for request in REQUESTS:
            if request in (wire.IOC_COMMIT, wire.IOC_RELEASE):
                continue
            code = raw(device.fd, ctypes.c_ulong(request), ctypes.c_ulong(address))
            assert (code, ctypes.get_errno()) == (-1, errno.EFAULT)
        items = wire._SET.pack(1, 0, 0, 0, address, 0, 0)
        with refused(errno.EFAULT):
            fcntl.ioctl(device.fd, wire.IOC_APPLY, bytearray(items))


def test_a_struct_that_ends_at_the_end_of_memory_is_read_no_further(device: Device) -> None:
    page = mmap.mmap(-1, mmap.PAGESIZE)
    guard = (ctypes.c_char * mmap.PAGESIZE).from_buffer(page)
    end = ctypes.addressof(guard) + mmap.PAGESIZE
    libc = ctypes.CDLL(None, use_errno=True)
    libc.munmap(ctypes.c_void_p(end), ctypes.c_size_t(mmap.PAGESIZE))
    code = libc.ioctl(device.fd, ctypes.c_ulong(wire.IOC_ADD), ctypes.c_ulong(end - 100))
    assert (code, ctypes.get_errno()) == (-1, errno.EFAULT)
    del guard


def test_reserved_fields_and_sizes_are_checked(device: Device) -> None:
    device.add(SWAPPINESS, INT)
    device.add(RATIO, INT)
    with refused(errno.EINVAL):
        fcntl.ioctl(device.fd, wire.IOC_BEGIN, wire._LEASE.pack(10**9, 0, 0, 1))
    with refused(errno.EINVAL):
        fcntl.ioctl(device.fd, wire.IOC_COUPLE, wire._COUPLE.pack(1, 0, 1, 9))
    with refused(errno.EINVAL):
        fcntl.ioctl(device.fd, wire.IOC_COUPLE, wire._COUPLE.pack(9, 0, 1, 0))
    device.begin(LONG_S)
    for count in (0, wire.KNOBS_MAX + 1, 0xFFFFFFFF):
        with refused(errno.EINVAL):
            fcntl.ioctl(device.fd, wire.IOC_APPLY, wire._SET.pack(count, 0, 0, 0, 0, 0, 0))
    unended = wire._ITEM.pack(0, 0, 0, 0, b"1" * wire.TEXT_MAX)
    buffer = ctypes.create_string_buffer(unended, len(unended))
    with refused(errno.EINVAL):
        fcntl.ioctl(
            device.fd,
            wire.IOC_APPLY,
            wire._SET.pack(1, 0, 0, 0, ctypes.addressof(buffer), 0, 0),
        )
    for request in (wire._request(3, 1, 8), wire._request(2, 1, wire._ADD.size), 0, 0xBA00, 0x5401):
        with refused(errno.ENOTTY):
            fcntl.ioctl(device.fd, request, bytearray(4096))


def test_ten_thousand_random_requests_change_nothing_for_good() -> None:
    """Well-formed and broken ones by turns, on sessions in every state; what is not in a lease
    at the end was never written, and all that was comes back."""
    chosen = random.Random(20260101)
    before = {name: path_of(name).read_text() for name in (SWAPPINESS, RMEM, RATIO, BYTES, THP)}
    kinds = {SWAPPINESS: INT, RMEM: VECTOR, RATIO: INT, BYTES: INT, THP: CHOICE}
    texts = ("17", "33", "0", "-1", "4096 65536 999424", "always", "never", "536870912", "\x7f", "")
    device = Device()
    answered = {True: 0, False: 0}
    for _ in range(12_000):
        at = chosen.randrange(20)
        small = chosen.choice((0, 1, 2, 3, 7, 255, 256, 0xFFFFFFFF))
        try:
            if at == 0 and chosen.random() < 0.3:
                device.close()
                device = Device()
            elif at <= 3:
                name = chosen.choice(list(kinds))
                device.add(name, kinds[name], watch=chosen.random() < 0.3)
            elif at == 4:
                device.couple(chosen.choice(list(Couple)), small % 6, chosen.randrange(6))
            elif at == 5:
                device.begin(chosen.choice((0.001, 0.05, 5.0, 600.0)))
            elif at <= 9:
                items = [(chosen.randrange(6), chosen.choice(texts)) for _ in range(small % 5)]
                device.apply(items)
            elif at == 10:
                device.stage(chosen.randrange(17), [(small % 6, chosen.choice(texts))])
            elif at == 11:
                device.switch(small)
            elif at == 12 and chosen.random() < 0.1:
                device.release()
            elif at == 13:
                device.knob(small)
            elif at == 14:
                device.renew(chosen.choice((0.001, 1.0, 600.0)))
            elif at == 15:
                device.result(chosen.randrange(50))
            else:
                request = chosen.choice((*REQUESTS, chosen.getrandbits(32)))
                if request in (wire.IOC_COMMIT, wire.IOC_KEEP):
                    continue
                raw = bytearray(chosen.randbytes(4096))
                if chosen.random() < 0.5:
                    raw[: 4 * 64] = struct.pack("=64I", *(chosen.randrange(4) for _ in range(64)))
                fcntl.ioctl(device.fd, request, raw)
            answered[True] += 1
        except OSError as error:
            assert error.errno not in (errno.EIO, errno.ENOMEM)
            answered[False] += 1
    device.close()
    assert min(answered.values()) > 1000
    assert {name: path_of(name).read_text() for name in before} == before


def slabs() -> dict[str, int]:
    """Objects in use by slab cache; slub_debug keeps them apart."""
    found = {}
    for line in Path("/proc/slabinfo").read_text().splitlines()[2:]:
        name, active = line.split()[:2]
        if name.startswith(("kmalloc-", "filp", "dentry")):
            found[name] = int(active)
    return found


def test_a_thousand_leases_leak_nothing() -> None:
    def cycle() -> None:
        device = Device()
        device.add(SWAPPINESS, INT)
        device.add(RMEM, VECTOR)
        device.begin(LONG_S)
        device.stage(1, [(0, "21")])
        device.apply([(0, "17"), (1, "4096 65536 999424")])
        device.switch(1)
        device.close()

    def used() -> tuple[int, int]:
        return (
            int(Path("/proc/sys/fs/file-nr").read_text().split()[0]),
            sum(count for name, count in slabs().items() if name.startswith("kmalloc-")),
        )

    for _ in range(100):
        cycle()
    os.sync()
    files, objects = used()
    for _ in range(1000):
        cycle()
    wait_until(lambda: used()[0] < files + 100)  # files of a worker are freed a little later
    wait_until(lambda: used()[1] < objects + 700)  # one object a lease would be a thousand
    assert Path("/sys/module/ktune/refcnt").read_text().strip() == "0"


def test_it_unloads_and_loads_again_twenty_times() -> None:
    before = live(SWAPPINESS)
    module = Path(os.environ.get("KTUNE_GUEST_MODULES", "/k")) / "ktune.ko"
    for _ in range(20):
        with_lease = Device()
        with_lease.add(SWAPPINESS, INT)
        with_lease.begin(LONG_S)
        with_lease.apply([(0, "17")])
        with_lease.close()
        subprocess.run(["rmmod", "ktune"], check=True)
        subprocess.run(["insmod", str(module)], check=True)
    assert live(SWAPPINESS) == before

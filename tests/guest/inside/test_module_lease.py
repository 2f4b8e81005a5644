"""A lease of /dev/ktune ends well, however its owner ends; what others write is kept."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys

import pytest

from ktune.proxy.module.device import Device, Done, Reason, State
from tests.guest.inside.module_rig import (
    FIN,
    INT,
    LONG_S,
    RATIO,
    RMEM,
    SWAPPINESS,
    VECTOR,
    live,
    needs_module,
    refused,
    write,
)
from tests.proxy.rig import wait_until

pytestmark = needs_module


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

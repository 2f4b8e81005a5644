"""Knobs that hang together, and staged assignments, by /dev/ktune."""

from __future__ import annotations

import errno
import os
import subprocess

from ktune.proxy.module.device import Couple, Device, Done, State
from tests.guest.inside.module_rig import (
    BACK_BYTES,
    BACK_RATIO,
    BYTES,
    CHOICE,
    HIGH,
    INT,
    LONG_S,
    LOW,
    RATIO,
    RMEM,
    SWAPPINESS,
    VECTOR,
    live,
    needs_module,
    refused,
    write,
)
from tests.proxy.rig import LoopDevice, wait_until

pytestmark = needs_module


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

"""What can be added to a session of /dev/ktune, and within which limits."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ktune.kernel.namespaces import CLONE_NEWNET, unshare
from ktune.kernel.values import ValueType
from ktune.proxy.module.device import Couple, Device, Done, KernelLimits
from tests.guest.inside.module_rig import (
    BYTES,
    CHOICE,
    HIGH,
    INT,
    LONG_S,
    LOW,
    RATIO,
    RMEM,
    SWAPPINESS,
    THP,
    VECTOR,
    live,
    needs_module,
    refused,
)

pytestmark = needs_module


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

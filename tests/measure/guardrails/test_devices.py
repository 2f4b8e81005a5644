"""Error counters: texts, folders as a kernel shows them, and a real ext4 that reports an error."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktune.kernel.namespaces import NamespaceRef
from ktune.measure.guardrails.counters import (
    aer_total,
    find_counters,
    named_numbers,
    network_errors,
    one_number,
)
from ktune.measure.guardrails.devices import DeviceErrors, open_net_dev
from ktune.measure.guardrails.kmsg import KernelLog, KernelWarnings
from ktune.measure.guardrails.source import Unwatchable
from ktune.measure.guardrails.watch import Guardrails, Wanted
from ktune.measure.scope import EphemeralScope
from ktune.profile.guards import DeviceKind, Trouble

from .ext4 import ext4_on_loop

ALL = tuple(DeviceKind)
BTRFS = "write_errs 0\nread_errs 0\nflush_errs 0\ncorruption_errs 0\ngeneration_errs 0\n"
FILES = {
    "block/sda/device/ioerr_cnt": "0x1\n",
    "block/sda/device/iotmo_cnt": "0x0\n",
    "block/vda/device/vendor": "x\n",
    "class/nvme/nvme0/device/aer_dev_fatal": "Undefined 0\nDLP 0\nTOTAL_ERR_FATAL 0\n",
    "block/md0/md/degraded": "0\n",
    "fs/ext4/sda1/errors_count": "3\n",
    "fs/ext4/sda1/warning_count": "0\n",
    "fs/btrfs/0f0f-1/devinfo/1/error_stats": BTRFS,
}


@pytest.fixture
def sys_tree(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def watch(tree: Path, *, above: int = 0, devices: tuple[str, ...] = ()) -> DeviceErrors:
    guard = DeviceErrors(
        [DeviceKind.DISK, DeviceKind.FILESYSTEM, DeviceKind.RAID],
        devices,
        above=above,
        sys=str(tree),
    )
    guard.open()
    return guard


def test_every_kind_of_counter_is_found(sys_tree: Path) -> None:
    found = {(item.kind.value, item.device) for item in find_counters(ALL, sys=str(sys_tree))}
    assert found == {
        ("disk", "sda"),
        ("disk", "nvme0"),
        ("raid", "md0"),
        ("filesystem", "sda1"),
        ("filesystem", "btrfs:0f0f-1:1"),
    }


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("block/sda/device/ioerr_cnt", "0x11\n", "sda: 16 new I/O errors"),
        (
            "class/nvme/nvme0/device/aer_dev_fatal",
            "DLP 1\nTOTAL_ERR_FATAL 1\n",
            "nvme0: 1 new PCI errors (aer_dev_fatal)",
        ),
        ("block/md0/md/degraded", "1\n", "md0: 1 new missing devices"),
        ("fs/ext4/sda1/errors_count", "4\n", "sda1: 1 new file system errors"),
        ("fs/ext4/sda1/warning_count", "2\n", "sda1: 2 new file system warnings"),
        (
            "fs/btrfs/0f0f-1/devinfo/1/error_stats",
            BTRFS.replace("corruption_errs 0", "corruption_errs 2"),
            "btrfs:0f0f-1:1: 2 new file system errors",
        ),
    ],
)
def test_growth_is_told_once_and_what_was_there_before_never(
    sys_tree: Path, name: str, text: str, said: str
) -> None:
    guard = watch(sys_tree)
    assert guard.crossed(0.0) is None
    (sys_tree / name).write_text(text)
    assert guard.crossed(1.0) == said
    assert guard.crossed(2.0) is None
    guard.close()


def test_a_limit_above_zero_adds_up_over_looks(sys_tree: Path) -> None:
    guard = watch(sys_tree, above=2)
    said = []
    for count in (4, 5, 6):
        (sys_tree / "fs/ext4/sda1/errors_count").write_text(f"{count}\n")
        said.append(guard.crossed(float(count)))
    assert said == [None, None, "sda1: 3 new file system errors"]
    guard.close()


def test_other_devices_are_not_looked_at(sys_tree: Path) -> None:
    guard = watch(sys_tree, devices=("md*",))
    (sys_tree / "fs/ext4/sda1/errors_count").write_text("9\n")
    assert guard.crossed(1.0) is None
    assert guard.watched == ["md0: missing devices"]
    guard.close()


def test_a_counter_that_begins_anew_is_no_growth(sys_tree: Path) -> None:
    guard = watch(sys_tree)
    path = sys_tree / "fs/ext4/sda1/errors_count"
    path.write_text("0\n")
    assert guard.crossed(1.0) is None
    path.write_text("1\n")
    assert guard.crossed(2.0) == "sda1: 1 new file system errors"
    guard.close()


def test_a_counter_that_stops_making_sense_is_dropped(sys_tree: Path) -> None:
    guard = watch(sys_tree)
    (sys_tree / "fs/ext4/sda1/errors_count").write_text("gone\n")
    assert guard.crossed(1.0) is None
    assert "sda1: file system errors" not in guard.watched
    guard.close()


def test_a_device_that_comes_later_is_found_and_its_past_does_not_count(sys_tree: Path) -> None:
    guard = watch(sys_tree)
    assert guard.crossed(1.0) is None
    late = sys_tree / "fs/ext4/sdb1"
    late.mkdir()
    (late / "errors_count").write_text("5\n")
    assert guard.crossed(62.0) is None
    (late / "errors_count").write_text("6\n")
    assert guard.crossed(63.0) == "sdb1: 1 new file system errors"
    guard.close()


def test_nothing_to_look_at_is_said(tmp_path: Path) -> None:
    with pytest.raises(Unwatchable, match="nothing here counts errors of: raid"):
        DeviceErrors([DeviceKind.RAID], sys=str(tmp_path)).open()


@pytest.mark.parametrize("parse", [one_number, named_numbers, aer_total, network_errors])
@given(text=st.binary(max_size=300))
def test_hostile_texts_are_numbers_or_errors(parse: Callable[[bytes], object], text: bytes) -> None:
    with contextlib.suppress(ValueError):
        parse(text)


NET_DEV = b"""Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo
    lo: 100 1 0 0 0 0 0 0 100 1 0 0 0 0 0 0
  eth0:1 2 3 0 0 0 0 0 5 6 7 0 0 0 0 0
"""


def test_receive_and_transmit_errors_are_added() -> None:
    assert network_errors(NET_DEV) == {"lo": 0, "eth0": 10}
    assert network_errors(NET_DEV, ("l?",)) == {"lo": 0}


def test_the_interfaces_of_the_scope_are_watched() -> None:
    with EphemeralScope() as scope:
        guard = DeviceErrors([DeviceKind.NETWORK], namespace=scope.ref)
        guard.open()
        assert guard.crossed(0.0) is None
        guard.close()
        file = open_net_dev(scope.ref)
        assert set(network_errors(file.read())) == {"lo"}
        file.close()


def test_a_namespace_by_another_path_is_entered_for_a_moment(root: None, tmp_path: Path) -> None:
    before = os.readlink("/proc/self/ns/net")
    with EphemeralScope() as scope:
        named = tmp_path / "netns"
        named.touch()
        subprocess.run(["mount", "--bind", scope.ref.netns, str(named)], check=True)
        try:
            file = open_net_dev(NamespaceRef(str(named)))
            assert set(network_errors(file.read())) == {"lo"}
            file.close()
        finally:
            subprocess.run(["umount", str(named)], check=True)
    assert os.readlink("/proc/self/ns/net") == before


def test_a_real_file_system_error_crosses(root: None, tmp_path: Path) -> None:
    """The counter, the kernel log, and unmounting although the counter is held open."""
    with contextlib.ExitStack() as stack:
        name = stack.enter_context(ext4_on_loop(tmp_path))
        trigger = Path(f"/sys/fs/ext4/{name}/trigger_fs_error")
        if not os.access(trigger, os.W_OK):
            pytest.skip("this kernel can't be asked for an error")
        guard = DeviceErrors([DeviceKind.FILESYSTEM], (name,))
        warnings = KernelWarnings(KernelLog(), frozenset({Trouble.IO_ERROR}))
        warnings.every_s = 3600.0  # so that only being woken finds it
        rails = stack.enter_context(Guardrails([Wanted(warnings)]))
        assert rails.wait(0.0) is None
        guard.open()
        assert guard.watched == [f"{name}: file system errors", f"{name}: file system warnings"]
        assert guard.crossed(0.0) is None

        trigger.write_text("a test of ktune")

        assert guard.crossed(1.0) == f"{name}: 1 new file system errors"
        assert guard.crossed(2.0) is None
        said = rails.wait(60.0)
        assert said is not None and f"EXT4-fs error (device {name}): trigger_test_error" in said
        stack.close()
        assert guard.crossed(3.0) is None
        assert guard.watched == []
        guard.close()

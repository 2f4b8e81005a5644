"""Error counters of devices and file systems: which there are here, and what their texts say.

Sources: Documentation/ABI/testing/sysfs-fs-ext4 (`errors_count`, `warning_count`),
Documentation/scsi (`ioerr_cnt`, `iotmo_cnt`, hexadecimal), Documentation/ABI/testing/sysfs-bus-pci-
devices-aer_stats (NVMe has no counters of its own in sysfs; its PCI function has), Documentation/
admin-guide/md.rst (`degraded`), fs/btrfs/sysfs.c (`error_stats`), proc_net_dev(5).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from glob import glob

from ktune.profile.guards import DeviceKind


@dataclass(frozen=True)
class ErrorCounter:
    """A file with a number that grows with errors."""

    kind: DeviceKind
    device: str
    what: str
    path: str
    parse: Callable[[bytes], int]


def one_number(text: bytes) -> int:
    """A file that is one number, decimal or hexadecimal. Raises ValueError.

    >>> one_number(b"0x1f\\n"), one_number(b"12\\n")
    (31, 12)
    """
    word = text.strip()
    if not re.fullmatch(rb"0x[0-9a-fA-F]{1,16}|[0-9]{1,20}", word):
        raise ValueError(f"no counter: {text[:40]!r}")
    return int(word, 16 if word.startswith(b"0x") else 10)


def named_numbers(text: bytes) -> int:
    """The sum of `name number` lines (btrfs error_stats). Raises ValueError.

    >>> named_numbers(b"write_errs 1\\nread_errs 2\\n")
    3
    """
    return sum(one_number(row.partition(b" ")[2]) for row in text.splitlines())


def aer_total(text: bytes) -> int:
    """The line TOTAL_ERR_* of aer_dev_fatal or aer_dev_nonfatal. Raises ValueError."""
    for row in text.splitlines():
        name, _, number = row.partition(b" ")
        if name.startswith(b"TOTAL_ERR_"):
            return one_number(number)
    raise ValueError("no line TOTAL_ERR_")


def network_errors(text: bytes, devices: Sequence[str] = ()) -> dict[str, int]:
    """Receive and transmit errors by interface (/proc/net/dev). Raises ValueError."""
    found = {}
    for row in text.splitlines()[2:]:
        name, colon, rest = row.rpartition(b":")
        fields = rest.split()
        if not colon or len(fields) < 16:
            raise ValueError(f"no interface: {row[:40]!r}")
        device = name.strip().decode("utf-8", "replace")
        if chosen(device, devices):
            found[device] = one_number(fields[2]) + one_number(fields[10])
    return found


def chosen(device: str, devices: Sequence[str]) -> bool:
    """Whether one of the patterns names it (`sd*`, as fnmatch(3)); no pattern: all are."""
    return not devices or any(fnmatchcase(device, pattern) for pattern in devices)


def find_counters(
    kinds: Sequence[DeviceKind], devices: Sequence[str] = (), *, sys: str = "/sys"
) -> list[ErrorCounter]:
    """Those of `devices` that there are now. Network interfaces are no files: see
    `network_errors`."""
    return [
        counter
        for counter in _all(sys)
        if counter.kind in kinds and chosen(counter.device, devices)
    ]


def _all(sys: str) -> Iterator[ErrorCounter]:
    for name, what in (("ioerr_cnt", "I/O errors"), ("iotmo_cnt", "I/O timeouts")):
        for path in sorted(glob(f"{sys}/block/*/device/{name}")):
            yield ErrorCounter(DeviceKind.DISK, path.split("/")[-3], what, path, one_number)
    for name in ("aer_dev_fatal", "aer_dev_nonfatal"):
        for path in sorted(glob(f"{sys}/class/nvme/*/device/{name}")):
            what = f"PCI errors ({name})"
            yield ErrorCounter(DeviceKind.DISK, path.split("/")[-3], what, path, aer_total)
    for path in sorted(glob(f"{sys}/block/md*/md/degraded")):
        yield ErrorCounter(
            DeviceKind.RAID, path.split("/")[-3], "missing devices", path, one_number
        )
    for name, what in (
        ("errors_count", "file system errors"),
        ("warning_count", "file system warnings"),
    ):
        for path in sorted(glob(f"{sys}/fs/ext4/*/{name}")):
            device = os.path.basename(os.path.dirname(path))
            yield ErrorCounter(DeviceKind.FILESYSTEM, device, what, path, one_number)
    for path in sorted(glob(f"{sys}/fs/btrfs/*/devinfo/*/error_stats")):
        parts = path.split("/")
        device = f"btrfs:{parts[-4]}:{parts[-2]}"
        yield ErrorCounter(DeviceKind.FILESYSTEM, device, "file system errors", path, named_numbers)

"""Counters out of /proc/stat and /proc/diskstats, as the module reads them, beside user space."""

from __future__ import annotations

import ctypes as c
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktune.measure import fingerprint
from tests.kmod.core import Counter

PROC = {
    "stat": "/proc/stat",
    "vmstat": "/proc/vmstat",
    "diskstats": "/proc/diskstats",
    "cpu": "/proc/pressure/cpu",
    "memory": "/proc/pressure/memory",
    "io": "/proc/pressure/io",
    "netdev": "/proc/net/dev",
}
OF_STAT = ("cpu_all", "cpu_busy", "ctxt", "processes")
OF_DISKS = ("disk_reads", "disk_read_sectors", "disk_writes", "disk_write_sectors")


def fed(lib: c.CDLL, text: str, piece: int, *, disks: bool) -> dict[str, int]:
    values = (c.c_uint64 * len(Counter))()
    raw = text.encode()
    lib.lines_fed(disks, raw, len(raw), piece, values)
    return {item.name: values[item] for item in Counter if values[item]}


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    missing = [path for path in PROC.values() if not Path(path).exists()]
    if missing:
        pytest.skip(f"no {missing[0]}")
    return {name: Path(path).read_text() for name, path in PROC.items()}


@pytest.mark.parametrize("piece", [1, 7, 4096, 1 << 20])
def test_this_machines_own_counters(lib: c.CDLL, texts: dict[str, str], piece: int) -> None:
    ours = fingerprint.counters_of(texts)
    theirs = fed(lib, texts["stat"], piece, disks=False) | fed(
        lib, texts["diskstats"], piece, disks=True
    )
    assert theirs == {name: ours[name] for name in (*OF_STAT, *OF_DISKS) if ours[name]}
    assert theirs["ctxt"] > 0


names = st.one_of(
    st.from_regex(fingerprint._WHOLE_DISK),
    st.from_regex(
        r"(vd|sd|xvd|nvme|mmcblk|dasd|loop|zram|dm-)[a-z0-9]{0,4}(n[0-9]{1,2})?(p[0-9])?"
    ),
    st.text("abdmnpsvx0129", max_size=8),
).filter(lambda name: name.isascii() and not re.search(r"[\s\0]", name))


@given(names)
def test_the_same_disks_are_whole(lib: c.CDLL, name: str) -> None:
    expected = fingerprint._WHOLE_DISK.match(name) is not None
    assert bool(lib.is_disk(name.encode(), len(name))) == expected


@given(st.text("cpu0129 \nctxtprocesses-.vda", max_size=600), st.integers(1, 50))
def test_nonsense_is_no_counter(lib: c.CDLL, text: str, piece: int) -> None:
    for disks in (False, True):
        fed(lib, text, piece, disks=disks)
    assert fed(lib, "ctxt\nctxt x\nctxt 12345678901234567890\nctxt -1\n", piece, disks=False) == {}


def test_a_line_longer_than_any_that_counts_is_skipped_and_the_next_is_read(lib: c.CDLL) -> None:
    text = "ctxt " + "1 " * 4000 + "\nctxt 5\nprocesses 6\n"
    assert fed(lib, text, 64, disks=False) == {"ctxt": 5, "processes": 6}


def test_a_partition_is_not_counted_with_its_disk(lib: c.CDLL) -> None:
    line = " 254 {} {} 10 0 80 5 20 0 160 7 0 9 12\n"
    text = line.format(0, "vda") + line.format(1, "vda1") + line.format(2, "loop0")
    assert fed(lib, text, 9, disks=True) == {
        "disk_reads": 10,
        "disk_read_sectors": 80,
        "disk_writes": 20,
        "disk_write_sectors": 160,
    }

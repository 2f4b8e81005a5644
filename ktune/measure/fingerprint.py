"""What the workload looks like from outside: whole numbers from counters, over one interval.

Sources: proc_stat(5), Documentation/accounting/psi.rst, Documentation/admin-guide/iostats.rst,
proc_vmstat(5), proc_pid_net(5). The files are opened once and read with pread(2): a look costs some
hundred microseconds. Counters are the host's, those of net/dev the network namespace's in which the
file was opened.
"""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from ktune.errors import KtuneError
from ktune.kernel.namespaces import CLONE_NEWNET, NamespaceRef, setns

_SECTOR_BYTES = 512
"""diskstats counts in these, whatever the device's own sector (iostats.rst)."""
_WHOLE_DISK = re.compile(r"(vd[a-z]+|sd[a-z]+|xvd[a-z]+|nvme\d+n\d+|mmcblk\d+|dasd[a-z]+)\Z")
_PROC_NETNS = re.compile(r"/proc/([0-9]+)/ns/net\Z")
_READ_BYTES = 1 << 20
_COUNTERS = (
    *("cpu_all", "cpu_busy", "ctxt", "processes", "pgmajfault", "pgpgin"),
    *("disk_reads", "disk_read_sectors", "disk_writes", "disk_write_sectors"),
    *("packets", "net_bytes", "cpu_stalled_us", "memory_stalled_us", "io_stalled_us"),
)


@dataclass(frozen=True)
class Counters:
    """One reading; all of them only grow. Times in seconds."""

    at_s: float
    values: Mapping[str, float]


class Fingerprint:
    """Takes fingerprints. Context manager: holds open files.

    `netdev`: the path of the scope's `net/dev` (`/proc/PID/net/dev` for a namespace). Raises
    OSError, ValueError.
    """

    def __init__(
        self,
        *,
        netdev: str = "/proc/thread-self/net/dev",
        proc: str = "/proc",
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock_s = clock_s
        self._files: dict[str, int] = {}
        paths = {
            "stat": f"{proc}/stat",
            "vmstat": f"{proc}/vmstat",
            "diskstats": f"{proc}/diskstats",
            "cpu": f"{proc}/pressure/cpu",
            "memory": f"{proc}/pressure/memory",
            "io": f"{proc}/pressure/io",
            "netdev": netdev,
        }
        try:
            for name, path in paths.items():
                self._files[name] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except BaseException:
            self.close()
            raise
        self._before = self._read()

    @classmethod
    def of(cls, scope: NamespaceRef | None) -> Fingerprint:
        """Of a scope; None: of the host. Raises KtuneError."""
        try:
            if scope is None:
                return cls()
            match = _PROC_NETNS.match(scope.netns)
            if match:
                return cls(netdev=f"/proc/{match[1]}/net/dev")
            return _made_in(scope, cls)
        except (OSError, ValueError) as error:
            raise KtuneError(f"the kernel's counters can't be read: {error}") from error

    def take(self) -> dict[str, int]:
        """The features since the last call (or since the start). Raises OSError, ValueError."""
        before, self._before = self._before, self._read()
        return features_between(before, self._before)

    def close(self) -> None:
        """Close the files."""
        while self._files:
            os.close(self._files.popitem()[1])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _read(self) -> Counters:
        texts = {
            name: os.pread(fd, _READ_BYTES, 0).decode("ascii", "replace")
            for name, fd in self._files.items()
        }
        return Counters(self._clock_s(), counters_of(texts))


def _made_in(scope: NamespaceRef, make: Callable[[], Fingerprint]) -> Fingerprint:
    """Made by a thread in the namespace: a file of /proc/self/net stays with the namespace in which
    it was opened."""

    def there() -> Fingerprint:
        setns(scope.netns, CLONE_NEWNET)
        return make()

    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(there).result()


def counters_of(texts: Mapping[str, str]) -> dict[str, float]:
    """The counters in the texts of the files (`stat`, `vmstat`, ...).

    Raises:
        ValueError: a text is not of its form, or a counter is missing or no number.
    """
    found: dict[str, float] = {}
    try:
        found.update(_stat(texts["stat"]))
        found.update(_vmstat(texts["vmstat"]))
        found.update(_disks(texts["diskstats"]))
        found.update(_netdev(texts["netdev"]))
        for resource in ("cpu", "memory", "io"):
            found[f"{resource}_stalled_us"] = _stalled_us(texts[resource])
    except IndexError as error:
        raise ValueError("a line of a counter file is cut short") from error
    wrong = [name for name in _COUNTERS if not math.isfinite(found.get(name, math.nan))]
    if wrong:
        raise ValueError(f"no number for {', '.join(wrong)}")
    return found


def features_between(before: Counters, after: Counters) -> dict[str, int]:
    """Features of the time between two readings; 0 where nothing happened."""
    passed_s = max(after.at_s - before.at_s, 1e-9)
    delta = {
        name: max(0.0, value - before.values.get(name, value))
        for name, value in after.values.items()
    }

    def rate(name: str) -> int:
        return round(delta[name] / passed_s)

    reads, writes = delta["disk_reads"], delta["disk_writes"]
    packets = delta["packets"]
    return {
        "cpu_busy": _percent(delta["cpu_busy"], delta["cpu_all"]),
        "cpu_pressure": _percent(delta["cpu_stalled_us"] / 1e6, passed_s),
        "memory_pressure": _percent(delta["memory_stalled_us"] / 1e6, passed_s),
        "io_pressure": _percent(delta["io_stalled_us"] / 1e6, passed_s),
        "disk_requests": round((reads + writes) / passed_s),
        "disk_read_share": _percent(reads, reads + writes),
        "read_kib_per_request": _kib_each(delta["disk_read_sectors"], reads),
        "write_kib_per_request": _kib_each(delta["disk_write_sectors"], writes),
        "major_faults": rate("pgmajfault"),
        "file_pages_read_kib": rate("pgpgin"),
        "packets": rate("packets"),
        "bytes_per_packet": round(delta["net_bytes"] / packets) if packets else 0,
        "context_switches": rate("ctxt"),
        "forks": rate("processes"),
    }


def _percent(part: float, whole: float) -> int:
    return min(100, round(100 * part / whole)) if whole > 0 else 0


def _kib_each(sectors: float, requests: float) -> int:
    return round(sectors * _SECTOR_BYTES / 1024 / requests) if requests else 0


def _stat(text: str) -> dict[str, float]:
    found = {}
    for line in text.splitlines():
        name, *fields = line.split() or [""]
        if name == "cpu":  # user nice system idle iowait irq softirq steal; guests are in user
            ticks = [float(item) for item in fields[:8]]
            found["cpu_all"] = sum(ticks)
            found["cpu_busy"] = sum(ticks) - ticks[3] - ticks[4]
        elif name in ("ctxt", "processes"):
            found[name] = float(fields[0])
    return found


def _vmstat(text: str) -> dict[str, float]:
    wanted = ("pgmajfault", "pgpgin")
    rows = (line.split() for line in text.splitlines())
    return {row[0]: float(row[1]) for row in rows if row and row[0] in wanted}


def _disks(text: str) -> dict[str, float]:
    """Whole disks only: a partition's requests are its disk's."""
    names = ("disk_reads", "disk_read_sectors", "disk_writes", "disk_write_sectors")
    sums = dict.fromkeys(names, 0.0)
    for line in text.splitlines():
        fields = line.split()
        if len(fields) < 11 or not _WHOLE_DISK.match(fields[2]):
            continue
        for name, index in zip(names, (3, 5, 7, 9), strict=True):
            sums[name] += float(fields[index])
    return sums


def _netdev(text: str) -> dict[str, float]:
    packets = bytes_all = 0.0
    for line in text.splitlines()[2:]:
        fields = line.partition(":")[2].split()
        bytes_all += float(fields[0]) + float(fields[8])
        packets += float(fields[1]) + float(fields[9])
    return {"packets": packets, "net_bytes": bytes_all}


def _stalled_us(text: str) -> float:
    for line in text.splitlines():
        if line.startswith("some "):
            return float(line.rpartition("total=")[2])
    raise ValueError("no line `some` in a pressure file")

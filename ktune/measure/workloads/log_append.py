"""A log that is appended to, and made durable group by group. Standard library only.

usage: log_append --folder PATH [--records N] [--size BYTES] [--group N] [--warm-up N]

As a write-ahead log or a message queue: `--group` records of `--size` bytes, then fdatasync(2). The
file is new in each run, grows as it is written (so that each sync has metadata to write too) and is
removed in the end. `--records` counts whole records; the groups of `--warm-up` records come first
and are left out of the numbers.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress

from ktune.measure.workloads.options import OptionError, parse
from ktune.measure.workloads.schedule import enough_for, percentile

DEFAULTS = {"folder": "", "records": 8000, "size": 512, "group": 8, "warm-up": 400}
_OURS = "ktune-log-append"
_NS = 1e9


def main(argv: Sequence[str]) -> int:
    """Append, print `key=value` lines."""
    try:
        options = parse(argv, DEFAULTS)
        folder, records, size = (options[name] for name in ("folder", "records", "size"))
        group, warm_up = options["group"], options["warm-up"]
        if not folder:
            raise OptionError("--folder is needed")
        if not (0 < group <= records and 0 < size <= 1 << 20 and warm_up >= 0):
            raise OptionError("expected 0 < --group <= --records, 0 < --size <= 1M, --warm-up >= 0")
        if records % group or warm_up % group:
            raise OptionError("--records and --warm-up want whole groups")
        seconds, syncs = append(folder, records, size, group, warm_up)
    except (OSError, OptionError) as error:
        print(f"log_append: {error}", file=sys.stderr)
        return 1
    print(f"records={records}")
    print(f"seconds={seconds:.6f}")
    print(f"records_per_s={records / seconds:.3f}")
    ordered = sorted(syncs)
    for word, share in (("p50", 0.5), ("p99", 0.99)):
        if enough_for(share, len(ordered)):
            print(f"sync_{word}_ms={percentile(ordered, share) / 1e6:.6f}")
    print(f"sync_max_ms={ordered[-1] / 1e6:.6f}")
    return 0


def append(
    folder: str, records: int, size: int, group: int, warm_up: int
) -> tuple[float, list[int]]:
    """(seconds, ns of each sync) of what comes after the warm-up. Raises OSError."""
    os.makedirs(folder, mode=0o700, exist_ok=True)
    # A name of our own: what else is there is somebody's. A run that was killed may have left one.
    path = os.path.join(folder, _OURS)
    with suppress(FileNotFoundError):
        os.unlink(path)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
    fd = os.open(path, flags, 0o600)
    try:
        record = os.urandom(size)
        clock = time.perf_counter_ns
        _groups(fd, record, group, warm_up // group)
        started = clock()
        syncs = _groups(fd, record, group, records // group)
        return (clock() - started) / _NS, syncs
    finally:
        os.close(fd)
        os.unlink(path)


def _groups(fd: int, record: bytes, group: int, count: int) -> list[int]:
    clock, syncs = time.perf_counter_ns, []
    for _ in range(count):
        for _ in range(group):
            os.write(fd, record)
        begun = clock()
        os.fdatasync(fd)
        syncs.append(clock() - begun)
    return syncs


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

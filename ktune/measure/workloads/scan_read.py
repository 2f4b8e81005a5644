"""Sequential read(2) of a cold file, in small blocks. Standard library only.

usage: scan_read --file PATH [--size BYTES] [--bytes BYTES] [--block BYTES] [--pages N] [--seed N]

A reader of small blocks waits for the disk once for each `read_ahead_kb` (mm/readahead.c,
page_cache_sync_ra): the more of it, the better. Reads `--bytes` from a start that the seed chooses;
with `--pages` it first touches so many random pages as `mmap_read` does: both phases in turn. Only
this file's cache is dropped before. The file is made once.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Sequence

from ktune.measure.page_cache import drop_page_cache
from ktune.measure.workloads.mmap_read import ensure_file, touch
from ktune.measure.workloads.options import OptionError, parse

DEFAULTS = {
    "file": "",
    "size": 1 << 30,
    "bytes": 64 << 20,
    "block": 4 << 10,
    "pages": 0,
    "seed": 1,
}


def main(argv: Sequence[str]) -> int:
    """Read, print `key=value` lines."""
    try:
        options = parse(argv, DEFAULTS)
        if not options["file"]:
            raise OptionError("--file is needed")
        if not 0 < options["block"] <= options["bytes"] <= options["size"]:
            raise OptionError("expected 0 < --block <= --bytes <= --size")
        file, size, count, block = (options[name] for name in ("file", "size", "bytes", "block"))
        ensure_file(file, size)
        drop_page_cache([file])
        touched_s = touch(file, options["pages"], options["seed"])[0] if options["pages"] else 0.0
        start = start_of(size, count, block, options["seed"])
        seconds, done = scan(file, start, count, block)
    except (OSError, OptionError) as error:
        print(f"scan_read: {error}", file=sys.stderr)
        return 1
    print(f"bytes={done}")
    print(f"seconds={touched_s + seconds:.6f}")
    print(f"bytes_per_s={done / seconds:.3f}")
    return 0


def start_of(size: int, count: int, block: int, seed: int) -> int:
    """Where to begin so that `count` bytes follow: a whole number of blocks."""
    return random.Random(seed).randrange((size - count) // block + 1) * block


def scan(path: str, start: int, count: int, block: int) -> tuple[float, int]:
    """(seconds, bytes) of reading `count` bytes from `start`, `block` at a time."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        buffer = bytearray(block)
        done = 0
        started = time.perf_counter()
        while done < count:
            got = os.preadv(fd, [buffer], start + done)
            if got == 0:
                break
            done += got
        return time.perf_counter() - started, done
    finally:
        os.close(fd)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

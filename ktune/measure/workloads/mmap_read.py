"""Random page touches of a cold memory-mapped file. Standard library only.

usage: mmap_read --file PATH [--size BYTES] [--pages N] [--seed N]

Each touch of a page that is not cached is a major fault, and the kernel reads `read_ahead_kb`
around it (mm/filemap.c, do_sync_mmap_readahead): good when neighbours are wanted next, wasted
work here. A fixed number of pages in a fixed order; only this file's cache is dropped before.
The file is made once, of bytes that no storage can compress, after a look at the free space.
"""

from __future__ import annotations

import mmap
import os
import random
import sys
import time
from collections.abc import Sequence

from ktune.measure.page_cache import drop_page_cache
from ktune.measure.workloads.options import OptionError, parse

DEFAULTS = {"file": "", "size": 1 << 30, "pages": 4096, "seed": 1}
_PAGE = mmap.PAGESIZE
_CHUNK = 4 << 20
_KEEP_FREE = 1 << 30


class NoSpace(OSError):
    """Making the file would fill the file system."""


def main(argv: Sequence[str]) -> int:
    """Touch the pages, print `key=value` lines."""
    try:
        options = parse(argv, DEFAULTS)
        if not options["file"]:
            raise OptionError("--file is needed")
        ensure_file(options["file"], options["size"])
        drop_page_cache([options["file"]])
        seconds, checksum = touch(options["file"], options["pages"], options["seed"])
    except (OSError, OptionError) as error:
        print(f"mmap_read: {error}", file=sys.stderr)
        return 1
    print(f"pages={options['pages']}")
    print(f"checksum={checksum}")
    print(f"seconds={seconds:.6f}")
    print(f"pages_per_s={options['pages'] / seconds:.3f}")
    return 0


def ensure_file(path: str, size: int) -> None:
    """Make the data file unless it is there in that size. Raises OSError, NoSpace."""
    try:
        if os.stat(path).st_size == size:
            return
    except FileNotFoundError:
        pass
    folder = os.path.dirname(path) or "."
    os.makedirs(folder, mode=0o700, exist_ok=True)
    space = os.statvfs(folder)
    if space.f_bavail * space.f_frsize < size + _KEEP_FREE:
        need = (size + _KEEP_FREE) >> 20
        raise NoSpace(0, f"{folder} needs {need} MiB free for the data file (1 GiB stays free)")
    unfinished = f"{path}.{os.getpid()}.tmp"
    try:
        _fill(unfinished, size)
        os.rename(unfinished, path)
    except BaseException:
        os.unlink(unfinished)
        raise


def touch(path: str, pages: int, seed: int) -> tuple[float, int]:
    """(seconds, checksum) of reading one byte of each of `pages` random pages."""
    chooser = random.Random(seed)
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
        count = len(data) // _PAGE
        order = [chooser.randrange(count) * _PAGE for _ in range(pages)]
        checksum = 0
        started = time.perf_counter()
        for offset in order:
            checksum += data[offset]
        return time.perf_counter() - started, checksum


def _fill(path: str, size: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        left = size
        while left:
            left -= os.write(fd, os.urandom(min(left, _CHUNK)))
        os.fsync(fd)
    finally:
        os.close(fd)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

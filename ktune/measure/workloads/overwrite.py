"""Overwrites small pieces of large files on a full file system. Standard library only.

usage: overwrite --folder PATH [--fill SHARE] [--files N] [--writes N] [--write-size BYTES]
                 [--sync-every N] [--seed N]

As a database or a mail store on a log-structured file system: files are made until `--fill` of the
free space is taken, then N pieces at random places are written anew, with fsync of a file after
each `--sync-every`. Such a file system writes them elsewhere, so cleaning has to find room
meanwhile. The folder must be there; files of an earlier window are removed first.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
import time
from collections.abc import Sequence

from ktune.kernel.wording import counted
from ktune.measure.workloads.options import OptionError, parse

DEFAULTS = {
    **{"folder": "", "fill": 0.8, "files": 4, "writes": 4000, "write-size": 4096},
    **{"sync-every": 16, "seed": 1},
}
_OURS = "ktune-overwrite"
_CHUNK = 1 << 20


def main(argv: Sequence[str]) -> int:
    """Do it, print `key=value` lines."""
    try:
        options = parse(argv, DEFAULTS)
        files, writes, piece = (options[name] for name in ("files", "writes", "write-size"))
        every = options["sync-every"]
        if not options["folder"]:
            raise OptionError("--folder is needed")
        if files < 1 or writes < 1 or not 512 <= piece <= _CHUNK or every < 1:
            raise OptionError("--files, --writes, --sync-every from 1, --write-size 512 to 1M")
        if not 0 < options["fill"] <= 0.95:
            raise OptionError("--fill above 0, at most 0.95")
        root = os.path.join(options["folder"], _OURS)
        shutil.rmtree(root, ignore_errors=True)
        os.mkdir(root, 0o700)
        try:
            length = _length(root, options["fill"], files)
            if length < piece:
                raise OptionError(f"{options['folder']} has no room for {counted(files, 'file')}")
            paths = [os.path.join(root, str(number)) for number in range(files)]
            for path in paths:
                fill(path, length)
            syncs, seconds = overwrite(paths, length, options)
        finally:
            shutil.rmtree(root, ignore_errors=True)
    except (OSError, OptionError) as error:
        print(f"overwrite: {error}", file=sys.stderr)
        return 1
    syncs.sort()
    print(f"writes={writes}")
    print(f"file_bytes={length}")
    print(f"seconds={seconds:.6f}")
    print(f"writes_per_s={writes / seconds:.3f}")
    print(f"sync_p99_ms={syncs[-(-len(syncs) * 99 // 100) - 1] * 1000:.4f}")
    return 0


def _length(root: str, share: float, files: int) -> int:
    """Bytes of each file, in whole chunks where they are that large."""
    space = os.statvfs(root)
    length = int(space.f_bavail * space.f_frsize * share) // files
    return length // _CHUNK * _CHUNK or length


def fill(path: str, length: int) -> None:
    """A file of random bytes, on disk. Raises OSError."""
    block = random.Random(path).randbytes(min(_CHUNK, length))
    with open(path, "xb", buffering=0) as file:
        for start in range(0, length, len(block)):
            file.write(block[: length - start])
        os.fsync(file.fileno())


def overwrite(
    paths: Sequence[str], length: int, options: dict[str, int]
) -> tuple[list[float], float]:
    """Seconds of each fsync, and of everything. Raises OSError."""
    chooser = random.Random(options["seed"])
    piece, every = options["write-size"], options["sync-every"]
    block = chooser.randbytes(piece)
    opened = [os.open(path, os.O_WRONLY | os.O_CLOEXEC) for path in paths]
    syncs = []
    try:
        began = time.perf_counter()
        for number in range(1, options["writes"] + 1):
            fd = opened[chooser.randrange(len(opened))]
            os.pwrite(fd, block, chooser.randrange(length // piece) * piece)
            if number % every == 0 or number == options["writes"]:
                asked = time.perf_counter()
                os.fsync(fd)
                syncs.append(time.perf_counter() - asked)
        return syncs, time.perf_counter() - began
    finally:
        for fd in opened:
            os.close(fd)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

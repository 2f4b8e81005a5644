"""Many small files: write, list and look at, read, remove. Standard library only.

usage: small_files --folder PATH [--files N] [--least BYTES] [--most BYTES] [--durable 0|1]
       [--seed N]

As a mail store, a build tree or a package manager: each file is written under another name and
renamed, a hundred to a folder, then all are looked at and read in another order and removed. With
`--durable 1` each is on disk before it gets its name (fsync), as a mail store must have it; else
writing back is the kernel's own affair. The folder is made; what an interrupted run left there is
removed.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
import time
from collections.abc import Sequence

from ktune.measure.workloads.options import OptionError, parse

DEFAULTS = {"folder": "", "files": 4000, "least": 512, "most": 16 << 10, "durable": 0, "seed": 1}
_PER_FOLDER = 100
_OURS = "ktune-small-files"


def main(argv: Sequence[str]) -> int:
    """Do it, print `key=value` lines."""
    try:
        options = parse(argv, DEFAULTS)
        files, least, most = (options[name] for name in ("files", "least", "most"))
        if not options["folder"]:
            raise OptionError("--folder is needed")
        if files < 1 or not 0 <= least <= most <= 16 << 20:
            raise OptionError("expected --files from 1 on and 0 <= --least <= --most <= 16M")
        # A folder of our own in it: what is there otherwise is somebody's.
        root = os.path.join(options["folder"], _OURS)
        shutil.rmtree(root, ignore_errors=True)
        os.makedirs(root, mode=0o700)
        try:
            times = work(root, sizes(files, least, most, options["seed"]), options)
        finally:
            shutil.rmtree(root, ignore_errors=True)
    except (OSError, OptionError) as error:
        print(f"small_files: {error}", file=sys.stderr)
        return 1
    seconds = sum(times.values())
    print(f"files={files}")
    print(f"seconds={seconds:.6f}")
    print(f"files_per_s={files / seconds:.3f}")
    for name, took in times.items():
        print(f"{name}_seconds={took:.6f}")
    return 0


def sizes(files: int, least: int, most: int, seed: int) -> list[int]:
    """How large each file is, in bytes: small ones are as frequent as in real trees (the
    logarithm is uniform)."""
    chooser = random.Random(seed)
    low, high = least + 1, most + 1
    return [round(low * (high / low) ** chooser.random()) - 1 for _ in range(files)]


def work(root: str, lengths: list[int], options: dict[str, int]) -> dict[str, float]:
    """Seconds of each part. Raises OSError."""
    chooser = random.Random(options["seed"] + 1)
    block = chooser.randbytes(max(lengths))
    paths = [
        os.path.join(root, f"{number // _PER_FOLDER:05}", f"{number:07}")
        for number in range(len(lengths))
    ]
    order = chooser.sample(range(len(paths)), len(paths))
    times = {}
    started = time.perf_counter()
    for path, length in zip(paths, lengths, strict=True):
        _write(path, block[:length], durable=bool(options["durable"]))
    times["write"] = time.perf_counter() - started
    started = time.perf_counter()
    found = sum(entry.stat().st_size for top in os.scandir(root) for entry in os.scandir(top))
    times["look"] = time.perf_counter() - started
    if found != sum(lengths):
        raise OSError(0, f"{root}: {found} bytes were found, {sum(lengths)} were written")
    started = time.perf_counter()
    for number in order:
        with open(paths[number], "rb", buffering=0) as file:
            file.readall()
    times["read"] = time.perf_counter() - started
    started = time.perf_counter()
    for number in order:
        os.unlink(paths[number])
    times["remove"] = time.perf_counter() - started
    return times


def _write(path: str, data: bytes, *, durable: bool) -> None:
    folder = os.path.dirname(path)
    unfinished = path + ".tmp"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        fd = os.open(unfinished, flags, 0o600)
    except FileNotFoundError:
        os.mkdir(folder, 0o700)
        fd = os.open(unfinished, flags, 0o600)
    try:
        os.write(fd, data)
        if durable:
            os.fsync(fd)
    finally:
        os.close(fd)
    os.rename(unfinished, path)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

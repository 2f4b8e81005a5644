"""Touches more memory than there is, and a file beside it. Standard library only.

usage: memory_touch [--size BYTES] [--runs N] [--run-pages N] [--file PATH] [--file-size BYTES]
                    [--file-share SHARE] [--seed N]

For a window with little memory: SIZE bytes of anonymous memory are filled, then each of N runs
reads neighbouring pages from a random place on and writes every fourth. What was swapped out comes
back as the kernel reads ahead (vm.page-cluster): neighbours are wanted here, what is beyond the run
is not. A share of the runs reads a file instead, whose cache competes with the memory
(vm.swappiness); it is made once and its cache (no other's) dropped at the beginning.
"""

from __future__ import annotations

import mmap
import os
import random
import sys
import time
from collections.abc import Sequence

from ktune.measure.page_cache import drop_page_cache
from ktune.measure.workloads.mmap_read import ensure_file
from ktune.measure.workloads.options import OptionError, parse
from ktune.measure.workloads.pointer_chase import fault_in

DEFAULTS = {
    **{"size": 192 << 20, "runs": 2000, "run-pages": 32, "seed": 1},
    **{"file": "", "file-size": 64 << 20, "file-share": 0.25},
}
_PAGE = mmap.PAGESIZE
_MIB = 1 << 20
_WRITE_EVERY = 4


def main(argv: Sequence[str]) -> int:
    """Fill, touch, print `key=value` lines."""
    try:
        options = parse(argv, DEFAULTS)
        size, runs, length = options["size"], options["runs"], options["run-pages"]
        share = options["file-share"] if options["file"] else 0.0
        if size < 2 * _MIB or size % (2 * _MIB) or runs < 100 or length < 1 or not 0 <= share < 1:
            raise OptionError(
                "--size in steps of 2M, --runs from 100, --run-pages from 1, --file-share < 1"
            )
        if min(size, options["file-size"]) < length * _PAGE:
            raise OptionError("--run-pages is more than there are")
        if options["file"]:
            ensure_file(options["file"], options["file-size"])
            drop_page_cache([options["file"]])
        with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
            fill_s = fault_in(memory)
            plan = order(runs, share, size - length * _PAGE, options)
            times = touch(memory, options["file"], plan, length)
    except (OSError, OptionError) as error:
        print(f"memory_touch: {error}", file=sys.stderr)
        return 1
    times.sort()
    seconds = sum(times)
    print(f"touches={runs * length}")
    print(f"seconds={seconds:.6f}")
    print(f"touches_per_s={runs * length / seconds:.3f}")
    print(f"run_p99_ms={times[-(-runs * 99 // 100) - 1] * 1000:.4f}")
    print(f"fill_mib_per_s={size / _MIB / fill_s:.3f}")
    return 0


def order(runs: int, share: float, last: int, options: dict[str, int]) -> list[tuple[bool, int]]:
    """(of the file?, offset) of each run; the same for the same seed."""
    chooser = random.Random(options["seed"])
    last_of_file = options["file-size"] - options["run-pages"] * _PAGE
    found = []
    for _ in range(runs):
        of_file = chooser.random() < share
        end = last_of_file if of_file else last
        found.append((of_file, chooser.randrange(end // _PAGE + 1) * _PAGE))
    return found


def touch(
    memory: mmap.mmap, file: str, plan: Sequence[tuple[bool, int]], length: int
) -> list[float]:
    """Seconds of each run."""
    fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC) if file else -1
    times = []
    try:
        for of_file, start in plan:
            began = time.perf_counter()
            for offset in range(start, start + length * _PAGE, _PAGE):
                if of_file:
                    os.pread(fd, _PAGE, offset)
                elif offset // _PAGE % _WRITE_EVERY:
                    memory[offset]
                else:
                    memory[offset] = 2
            times.append(time.perf_counter() - began)
    finally:
        if fd >= 0:
            os.close(fd)
    return times


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

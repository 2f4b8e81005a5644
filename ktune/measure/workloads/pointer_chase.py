"""A chain of dependent reads through anonymous memory. Standard library only.

usage: pointer_chase [--size BYTES] [--steps N] [--seed N]

Each read says where the next one is, one place in each page of 4 KiB, in an order that no
prefetcher knows: what is measured is how long an address takes to translate. Memory in small pages
needs an entry of the TLB for each; huge pages (THP) cover 512 of them by one. The memory is new in
each run, so that a setting of huge pages counts for it; what its page faults take is told too. The
interpreter's own share of a step is the same whatever the setting.
"""

from __future__ import annotations

import mmap
import random
import sys
import time
from collections.abc import Sequence

from ktune.measure.workloads.options import OptionError, parse

DEFAULTS = {"size": 512 << 20, "steps": 2_000_000, "seed": 1}
_PAGE = 4096
_WORD = 8
_CHUNK = 2 << 20
_MIB = 1 << 20


def main(argv: Sequence[str]) -> int:
    """Fault the memory in, chase, print `key=value` lines."""
    try:
        options = parse(argv, DEFAULTS)
        size, steps = options["size"], options["steps"]
        if size < _CHUNK or size & (size - 1) or steps < 1:
            raise OptionError("--size wants a power of two from 2M on, --steps at least 1")
        with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
            fault_s = fault_in(memory)
            with memoryview(memory) as raw, raw.cast("Q") as words:
                first = link(words, options["seed"])
                seconds, last = chase(words, first, steps)
    except (OSError, OptionError) as error:
        print(f"pointer_chase: {error}", file=sys.stderr)
        return 1
    print(f"steps={steps}")
    print(f"last={last}")
    print(f"seconds={seconds:.6f}")
    print(f"steps_per_s={steps / seconds:.3f}")
    print(f"fault_mib_per_s={size / _MIB / fault_s:.3f}")
    return 0


def fault_in(memory: mmap.mmap) -> float:
    """Seconds until every page is there."""
    something = b"\1" * _CHUNK
    started = time.perf_counter()
    for offset in range(0, len(memory), _CHUNK):
        memory[offset : offset + _CHUNK] = something
    return time.perf_counter() - started


def link(words: memoryview[int], seed: int) -> int:
    """Make one circle through all pages; where it begins, as an index of a word.

    Page i is followed by (a i + c) modulo the number of pages, a power of two: with a = 5 modulo 8
    and c odd that visits each once (Hull and Dobell, 1962).
    """
    pages = len(words) * _WORD // _PAGE
    chooser = random.Random(seed)
    factor = chooser.randrange(pages) // 8 * 8 + 5
    offset = chooser.randrange(pages) | 1
    # Another cache line in each page, lest all lie in the same few sets of the cache.
    lines = [chooser.randrange(_PAGE // 64) * 64 // _WORD for _ in range(pages)]
    per_page = _PAGE // _WORD
    for page in range(pages):
        following = (page * factor + offset) % pages
        words[page * per_page + lines[page]] = following * per_page + lines[following]
    return lines[0]


def chase(words: memoryview[int], first: int, steps: int) -> tuple[float, int]:
    """(seconds, where it ended) of so many reads."""
    at = first
    started = time.perf_counter()
    for _ in range(steps):
        at = words[at]
    return time.perf_counter() - started, at


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

"""Hot memory in use beside a file that was read once and is cold. Standard library only.

usage: cold_memory --file PATH [--cold BYTES] [--hot BYTES] [--rounds N] [--pause-ms MS]

For proactive reclaim: a file of `--cold` bytes (made once) is read into the page cache, then every
page of `--hot` bytes is written in each of N rounds, a pause apart. In the end it counts how much
of the file is still cached (mincore(2)): memory that nobody would have missed. What the hot part
lost shows in the time of its rounds; pauses are not in it.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
import time
from collections.abc import Sequence

from ktune.measure.page_cache import drop_page_cache
from ktune.measure.workloads.mmap_read import ensure_file
from ktune.measure.workloads.options import OptionError, parse
from ktune.measure.workloads.pointer_chase import fault_in

DEFAULTS = {"file": "", "cold": 128 << 20, "hot": 16 << 20, "rounds": 400, "pause-ms": 10}
_PAGE = mmap.PAGESIZE
_MIB = 1 << 20
_CHUNK = 1 << 20
_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.mmap.restype = ctypes.c_void_p
_LIBC.mmap.argtypes = (
    *(ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int),
    *(ctypes.c_int, ctypes.c_int, ctypes.c_long),
)
_LIBC.mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p)
_LIBC.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_FAILED = ctypes.c_void_p(-1).value


def main(argv: Sequence[str]) -> int:
    """Read, use, count, print `key=value` lines."""
    try:
        options = parse(argv, DEFAULTS)
        file, cold, hot = options["file"], options["cold"], options["hot"]
        rounds, pause_s = options["rounds"], options["pause-ms"] / 1000
        if not file:
            raise OptionError("--file is needed")
        if cold < _PAGE or hot < 2 * _MIB or hot % (2 * _MIB) or rounds < 1 or pause_s < 0:
            raise OptionError("--cold from a page on, --hot in steps of 2M, --rounds from 1")
        ensure_file(file, cold)
        drop_page_cache([file])
        with mmap.mmap(-1, hot, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
            fault_in(memory)
            _read(file)
            times = use(memory, rounds, pause_s)
            left = cached_bytes(file)
    except (OSError, OptionError) as error:
        print(f"cold_memory: {error}", file=sys.stderr)
        return 1
    times.sort()
    seconds = sum(times)
    print(f"rounds={rounds}")
    print(f"seconds={seconds:.6f}")
    print(f"touches_per_s={rounds * (hot // _PAGE) / seconds:.3f}")
    print(f"round_p99_ms={times[-(-rounds * 99 // 100) - 1] * 1000:.4f}")
    # Never quite zero: gains are ratios.
    print(f"cold_mib={max(left, _PAGE) / _MIB:.4f}")
    return 0


def use(memory: mmap.mmap, rounds: int, pause_s: float) -> list[float]:
    """Seconds of each round."""
    times = []
    for number in range(rounds):
        began = time.perf_counter()
        for offset in range(0, len(memory), _PAGE):
            memory[offset] = number & 0xFF
        times.append(time.perf_counter() - began)
        time.sleep(pause_s)
    return times


def cached_bytes(path: str) -> int:
    """How much of a file is in the page cache. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(fd).st_size
        where = _LIBC.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, fd, 0)
    finally:
        os.close(fd)
    if where == _FAILED:
        raise OSError(ctypes.get_errno(), f"mmap {path}")
    try:
        pages = ctypes.create_string_buffer(-(-size // _PAGE))
        if _LIBC.mincore(where, size, pages):
            raise OSError(ctypes.get_errno(), f"mincore {path}")
    finally:
        _LIBC.munmap(where, size)
    return sum(byte & 1 for byte in pages.raw) * _PAGE


def _read(path: str) -> None:
    with open(path, "rb", buffering=0) as file:
        while file.read(_CHUNK):
            pass


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

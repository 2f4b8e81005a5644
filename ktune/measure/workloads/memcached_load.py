"""get and set of memcached's text protocol at a fixed rate (open loop). Standard library only.

usage: memcached_load (--unix PATH | [--host ADDRESS] --port N) [--keys N] [--key-size BYTES]
       [--value-size BYTES] [--value-max BYTES] [--reads SHARE] [--fill 0|1] [--rate N]
       [--requests N] [--warm-up N] [--connections N] [--per-connection N] [--spacing
       poisson|constant] [--timeout SECONDS] [--late-after MS] [--late-share SHARE] [--seed N]

Like mcperf and mutilate: small requests over many connections at a rate of one's own choosing.
Each key is written once before; a read of nothing is a miss. Protocol: doc/protocol.txt of
memcached.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from ktune.measure.workloads.load_run import Load, run
from ktune.measure.workloads.open_loop import Answer
from ktune.measure.workloads.store_mix import DEFAULTS, Mix, Operations, fill, mix_from

_LONGEST_KEY = 250
_STORED, _END = b"STORED\r\n", b"END\r\n"
_GOOD, _MISS = Answer(), Answer(miss=True)
_ERRORS = (b"ERROR", b"CLIENT_ERROR", b"SERVER_ERROR", b"NOT_STORED")


class Memcached:
    """get and set, and what comes back."""

    def __init__(self, mix: Mix) -> None:
        self._operations = Operations(mix)

    def request(self, number: int) -> bytes:
        """The next command."""
        key, value = self._operations.draw()
        return b"get %b\r\n" % key if value is None else write(key, value)

    def answer(self, data: bytes, *, ended: bool) -> Answer | None:
        """One answer; None until it is whole."""
        if data == _STORED:
            return _GOOD
        if data == _END:
            return _MISS
        end = data.find(b"\r\n")
        if end < 0:
            return None
        words = data[:end].split()
        if len(words) == 4 and words[0] == b"VALUE" and words[3].isdigit():
            whole = end + 2 + int(words[3]) + 2 + len(_END)
            if len(data) < whole:
                return None
            if len(data) == whole and data.endswith(b"\r\n" + _END):
                return _GOOD
            return Answer("an answer longer than it announced", closes=True)
        if words and words[0] in _ERRORS:
            line = data[:end][:80].decode("latin-1")
            return Answer(f"the server answered {line!r}", closes=words[0] != _ERRORS[-1])
        return Answer(f"no answer of memcached: {data[:40]!r}", closes=True)


def write(key: bytes, value: bytes) -> bytes:
    """A set without flags or an end of its life.

    >>> write(b"k1", b"abc")
    b'set k1 0 0 3\\r\\nabc\\r\\n'
    """
    return b"set %b 0 0 %d\r\n%b\r\n" % (key, len(value), value)


def memcached(options: Mapping[str, Any], load: Load) -> Memcached:
    """The dialect of these options; fills the cache. Raises OptionError, LoadFailed."""
    mix = mix_from(options, _LONGEST_KEY)
    if options["fill"]:
        fill(load.target, mix, write, _STORED, load.manner.timeout_s)
    return Memcached(mix)


def main(argv: Sequence[str]) -> int:
    """Run the load, print `key=value` lines."""
    return run("memcached_load", DEFAULTS, list(argv), memcached)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

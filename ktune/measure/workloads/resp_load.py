"""GET and SET of the Redis protocol at a fixed rate (open loop). Standard library only.

usage: resp_load (--unix PATH | [--host ADDRESS] --port N) [--keys N] [--key-size BYTES]
       [--value-size BYTES] [--value-max BYTES] [--reads SHARE] [--fill 0|1] [--rate N]
       [--requests N] [--warm-up N] [--connections N] [--per-connection N] [--spacing
       poisson|constant] [--timeout SECONDS] [--late-after MS] [--late-share SHARE] [--seed N]

For Redis, Valkey, KeyDB... (RESP2, https://redis.io/docs/latest/develop/reference/protocol-spec/).
Each key is written once before, so that reads find something; a read of nothing is a miss.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from ktune.measure.workloads.load_run import Load, run
from ktune.measure.workloads.open_loop import Answer
from ktune.measure.workloads.store_mix import DEFAULTS, Mix, Operations, fill, mix_from

_LONGEST_KEY = 1024
_GOOD, _MISS = Answer(), Answer(miss=True)
_NIL = (b"$-1\r\n", b"_\r\n")


class Resp:
    """GET and SET, and what comes back."""

    def __init__(self, mix: Mix) -> None:
        self._operations = Operations(mix)

    def request(self, number: int) -> bytes:
        """The next command."""
        key, value = self._operations.draw()
        if value is None:
            return b"*2\r\n$3\r\nGET\r\n$%d\r\n%b\r\n" % (len(key), key)
        return write(key, value)

    def answer(self, data: bytes, *, ended: bool) -> Answer | None:
        """One reply: a simple string, an error, or a bulk string; None until it is whole."""
        end = data.find(b"\r\n")
        if end < 0:
            return None
        kind, line, rest = data[:1], data[1:end], len(data) - end - 2
        if kind == b"$" and line.isdigit():
            missing = int(line) + 2 - rest
            return None if missing > 0 else _end(-missing)
        if data in _NIL:
            return _MISS
        if kind == b"-":
            return Answer(f"the server answered {line[:80].decode('latin-1')!r}")
        if kind == b"+":
            return _end(rest)
        return Answer(f"no reply of Redis: {data[:40]!r}", closes=True)


def _end(too_many: int) -> Answer:
    return Answer("the server sent more than one reply", closes=True) if too_many else _GOOD


def write(key: bytes, value: bytes) -> bytes:
    """A SET.

    >>> write(b"k1", b"abc")
    b'*3\\r\\n$3\\r\\nSET\\r\\n$2\\r\\nk1\\r\\n$3\\r\\nabc\\r\\n'
    """
    return b"*3\r\n$3\r\nSET\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (len(key), key, len(value), value)


def resp(options: Mapping[str, Any], load: Load) -> Resp:
    """The dialect of these options; fills the store. Raises OptionError, LoadFailed."""
    mix = mix_from(options, _LONGEST_KEY)
    if options["fill"]:
        fill(load.target, mix, write, b"+OK\r\n", load.manner.timeout_s)
    return Resp(mix)


def main(argv: Sequence[str]) -> int:
    """Run the load, print `key=value` lines."""
    return run("resp_load", DEFAULTS, list(argv), resp)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

"""Reads and writes of a key-value store: what the Redis and memcached loads have in common.

Standard library only.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ktune.measure.workloads.options import OptionError
from ktune.measure.workloads.target import LoadFailed, Target

DEFAULTS: Mapping[str, Any] = {
    "port": 0,
    "keys": 10_000,
    "key-size": 24,
    "value-size": 256,
    "value-max": 0,
    "reads": 0.9,
    "fill": 1,
}
"""`reads` is the share of reads; a write's value has `value-size` bytes, or any size up to
`value-max`. `fill` 0 leaves out writing each key once before."""
MAX_VALUE_BYTES = 64 << 20
_BATCH_BYTES = 64 * 1024


@dataclass(frozen=True)
class Mix:
    """Keys are drawn uniformly; sizes in bytes."""

    keys: int
    key_size: int
    value_size: int
    value_max: int
    reads: float
    seed: int

    @property
    def values(self) -> Values:
        """Where the values of this mix come from."""
        return Values(self.value_size, self.value_max, random.Random(self.seed + 1))

    def key(self, number: int) -> bytes:
        """The key of a number below `keys`.

        >>> Mix(1000, 8, 1, 1, 0.9, 1).key(42)
        b'k0000042'
        """
        return b"k%0*d" % (self.key_size - 1, number)


class Values:
    """Bytes that nothing can compress, of the sizes that were asked for."""

    def __init__(self, least: int, most: int, chooser: random.Random) -> None:
        self._least, self._most, self._chooser = least, max(least, most), chooser
        self._block = chooser.randbytes(self._most)

    def draw(self) -> bytes:
        """The next value."""
        if self._least == self._most:
            return self._block
        return self._block[: self._chooser.randint(self._least, self._most)]


class Operations:
    """The requests of a mix in their order: (key, None) is a read, (key, value) a write."""

    def __init__(self, mix: Mix) -> None:
        self._mix, self._values = mix, mix.values
        self._chooser = random.Random(mix.seed)

    def draw(self) -> tuple[bytes, bytes | None]:
        """The next operation."""
        mix, chooser = self._mix, self._chooser
        key = mix.key(int(chooser.random() * mix.keys))
        return (key, None) if chooser.random() < mix.reads else (key, self._values.draw())


def mix_from(options: Mapping[str, Any], longest_key: int) -> Mix:
    """The options of a store's load, checked. Raises OptionError."""
    mix = Mix(
        options["keys"],
        options["key-size"],
        options["value-size"],
        options["value-max"] or options["value-size"],
        options["reads"],
        options["seed"],
    )
    if mix.keys < 1 or not 0 <= mix.reads <= 1:
        raise OptionError("--keys wants at least 1, --reads a share from 0 to 1")
    least = len(str(mix.keys - 1)) + 1
    if not least <= mix.key_size <= longest_key:
        raise OptionError(
            f"--key-size wants {least} to {longest_key} bytes for {mix.keys} keys, "
            f"got {mix.key_size}"
        )
    if not 1 <= mix.value_size <= mix.value_max <= MAX_VALUE_BYTES:
        raise OptionError(f"expected 1 <= --value-size <= --value-max <= {MAX_VALUE_BYTES}")
    return mix


def fill(
    target: Target,
    mix: Mix,
    write: Callable[[bytes, bytes], bytes],
    written: bytes,
    timeout_s: float,
) -> None:
    """Write each key once; `written` is the line that the server answers. Raises LoadFailed."""
    with target.connect(timeout_s) as connection:
        for requests, count in _batches(mix, write):
            try:
                connection.sendall(requests, socket.MSG_NOSIGNAL)
                _expect(connection, written, count)
            except OSError as error:
                why = "no answer in time" if isinstance(error, TimeoutError) else error.strerror
                raise LoadFailed(f"filling {target} failed: {why}") from None


def _batches(mix: Mix, write: Callable[[bytes, bytes], bytes]) -> Iterator[tuple[bytes, int]]:
    values = mix.values
    waiting, count = bytearray(), 0
    for number in range(mix.keys):
        waiting += write(mix.key(number), values.draw())
        count += 1
        if len(waiting) >= _BATCH_BYTES:
            yield bytes(waiting), count
            waiting, count = bytearray(), 0
    if count:
        yield bytes(waiting), count


def _expect(connection: socket.socket, line: bytes, count: int) -> None:
    wanted, got = line * count, b""
    while len(got) < len(wanted):
        data = connection.recv(65536)
        got += data
        if not data or not wanted.startswith(got):
            lines = [found for found in got.split(b"\r\n") if found + b"\r\n" != line]
            said = next((found for found in lines if found), b"")[:80]
            words = f"it answered {said.decode('latin-1')!r}" if said else "it hung up"
            raise LoadFailed(f"filling the store failed: {words}")

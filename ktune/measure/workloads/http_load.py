"""HTTP/1.1 requests at a fixed rate (open loop). Standard library only.

usage: http_load (--unix PATH | [--host ADDRESS] --port N) [--path PATH] [--files N] [--rate N]
       [--requests N] [--warm-up N] [--connections N] [--per-connection N] [--spacing
       poisson|constant] [--timeout SECONDS] [--late-after MS] [--late-share SHARE] [--seed N]

GET requests for `--path`; with `--files N` a `{}` in it is each time another number below N, drawn
by the seed. `--per-connection 1` opens a connection for each request, and says so to the server.
Anything but a status of 200 to 299 is an error, a redirect too. Messages: RFC 9112.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ktune.measure.workloads.load_run import Load, run
from ktune.measure.workloads.open_loop import Answer
from ktune.measure.workloads.options import OptionError

DEFAULTS = {"port": 0, "path": "/", "files": 0}
_LONGEST_HEAD = 64 * 1024
_BEGIN, _END = b"HTTP/1.", b"\r\n\r\n"


class _Head(NamedTuple):
    error: str
    length: int
    """Of the body in bytes; -1: until the connection ends."""
    chunked: bool
    closes: bool


class Http:
    """GET, and what comes back."""

    def __init__(self, path: str, files: int, host: str, seed: int, *, close: bool) -> None:
        self._path, self._files = path, files
        self._chooser = random.Random(seed)
        closing = "Connection: close\r\n" if close else ""
        self._rest = f" HTTP/1.1\r\nHost: {host}\r\nUser-Agent: ktune\r\n{closing}\r\n".encode()
        self._fixed = b"GET " + path.encode() + self._rest
        self._known: tuple[bytes, _Head] = (b"", _Head("", 0, False, False))

    def request(self, number: int) -> bytes:
        """The next GET."""
        if not self._files:
            return self._fixed
        path = self._path.replace("{}", str(self._chooser.randrange(self._files)))
        return b"GET " + path.encode() + self._rest

    def answer(self, data: bytes, *, ended: bool) -> Answer | None:
        """One response; None until it is whole."""
        end = data.find(_END)
        if end < 0:
            if data[: len(_BEGIN)] != _BEGIN[: len(data)]:
                return Answer(f"no HTTP/1.1: {data[:40]!r}", closes=True)
            too_long = len(data) > _LONGEST_HEAD
            return Answer("no HTTP: a header without end", closes=True) if too_long else None
        head = self._head(data[:end])
        body = len(data) - end - len(_END)
        if head.chunked:
            length = chunked_length(data, end + len(_END))
            if length is None:
                return None
            if length < 0:
                return Answer("no HTTP: a chunk without a size", closes=True)
        else:
            length = head.length
        if length < 0:
            return Answer(head.error, closes=True) if ended else None
        if body < length:
            return None
        if body > length:
            return Answer("the server sent more than it announced", closes=True)
        return Answer(head.error, closes=head.closes or ended)

    def _head(self, text: bytes) -> _Head:
        """Servers send the same header again and again."""
        if self._known[0] != text:
            self._known = (text, read_head(text))
        return self._known[1]


def read_head(text: bytes) -> _Head:
    """Status line and fields of a response (RFC 9112, sections 4 and 6)."""
    first, *lines = text.decode("latin-1").split("\r\n")
    version, _, status = first.partition(" ")
    code = status[:3]
    if not version.startswith("HTTP/1.") or not code.isdecimal() or len(code) != 3:
        return _Head(f"no HTTP/1.1: {first[:40]!r}", -1, False, True)
    fields = {}
    for line in lines:
        name, _, value = line.partition(":")
        fields[name.strip().lower()] = value.strip()
    error = "" if code[0] == "2" else f"the server answered {status.strip()[:60]}"
    chunked = fields.get("transfer-encoding", "").lower().endswith("chunked")
    length = fields.get("content-length", "")
    wanted = fields.get("connection", "").lower()
    closes = wanted == "close" or (version == "HTTP/1.0" and wanted != "keep-alive")
    if code in ("204", "304"):
        return _Head(error, 0, False, closes)
    if code[0] == "1":
        return _Head(error, 0, False, True)
    return _Head(error, int(length) if length.isdecimal() else -1, chunked, closes)


def chunked_length(data: bytes, start: int) -> int | None:
    """Bytes of a chunked body from `start` to its end (RFC 9112, section 7.1); None: not whole.
    -1 for what is no chunk."""
    at = start
    while True:
        end = data.find(b"\r\n", at)
        if end < 0:
            return None
        try:
            size = int(data[at:end].partition(b";")[0], 16)
        except ValueError:
            return -1
        if size == 0:
            break
        at = end + 2 + size + 2
    # Trailers end with an empty line; without any, the line after the last chunk is it.
    if data.startswith(b"\r\n", end + 2):
        return end + 4 - start
    last = data.find(_END, end)
    return None if last < 0 else last + len(_END) - start


def http(options: Mapping[str, Any], load: Load) -> Http:
    """The dialect of these options. Raises OptionError."""
    path = options["path"]
    if not path.startswith("/") or any(c <= " " or c > "~" for c in path):
        raise OptionError(f"--path wants an absolute path without blanks, got {path!r}")
    if options["files"] < 0 or bool(options["files"]) != ("{}" in path):
        raise OptionError("--files N goes with a {} in --path")
    host = "localhost" if load.target.unix else str(load.target)
    close = load.manner.per_connection == 1
    return Http(path, options["files"], host, load.seed, close=close)


def main(argv: Sequence[str]) -> int:
    """Run the load, print `key=value` lines."""
    return run("http_load", DEFAULTS, list(argv), http)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

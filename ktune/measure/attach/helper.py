"""Child program that handles what strangers wrote: metric pages and log lines against patterns.

It enters the scope's namespace, gives up every right, and then serves one request after the other:
one JSON object a line on the socket at standard input. A page that never ends, a pattern that runs
for ever or a parser's fault thus costs a child without rights, which the tuner kills by its
deadline. Pages: Prometheus exposition formats, text format 0.0.4, parsed by prometheus_client; only
lines of the wanted series are given to it, so that megabytes of others cost nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import encodings.idna  # noqa: F401 - http.client asks for it, when we may read no files any more
import http.client
import ipaddress
import json
import os
import re
import resource
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from ktune.kernel.namespaces import NamespaceRef, enter
from ktune.measure import rights

MAX_PAGE = 16 << 20
_MAX_LINE = 1 << 16
_MAX_SAMPLES = 20_000
_MEMORY = 512 << 20
_FILES = 64
_SHOWN = 60
_SUFFIXES = ("", "_bucket", "_count", "_sum", "_total", "_created")
_PAGE = "text/plain"


class BadPage(Exception):
    """The page can't be had, or is none."""


def main(argv: Sequence[str]) -> int:
    """Give up rights, then serve until the socket closes."""
    args = _arguments(argv)
    control = socket.socket(fileno=os.dup(0))
    if args.netns:
        enter(NamespaceRef(args.netns, args.userns or None))
    rights.no_core_dumps()
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_FILES, _FILES))
    if args.uid >= 0:
        rights.change_user(args.uid, args.gid, [])
    if args.uid > 0 or args.userns:
        rights.drop_capabilities()
    rights.die_with_parent(args.parent)
    rights.no_new_privileges()
    with control, control.makefile("rb") as requests:
        control.sendall(b'{"ready": true}\n')
        for line in requests:
            control.sendall(json.dumps(_served(json.loads(line))).encode() + b"\n")
    return 0


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--uid", type=int, default=-1)
    parser.add_argument("--gid", type=int, default=-1)
    parser.add_argument("--netns", default="")
    parser.add_argument("--userns", default="")
    return parser.parse_args(list(argv))


def _served(request: dict[str, Any]) -> dict[str, Any]:
    try:
        if request["op"] == "scrape":
            text = fetch(request["host"], request["port"], request["target"], request["timeout_s"])
            return {"series": [_plain(found) for found in select(text, request["names"])]}
        if request["op"] == "page":
            return _printed(request["text"], request["names"])
        return {"values": matches(request["pattern"], request["lines"])}
    except BadPage as problem:
        return {"problem": str(problem)}
    except MemoryError:
        return {"problem": "it needs more memory than is allowed"}


def _printed(text: str, names: Sequence[str]) -> dict[str, Any]:
    """A page that a workload printed: one that is none is that workload's word."""
    try:
        return {"series": [_plain(found) for found in select(text, names)]}
    except BadPage as problem:
        return {"bad_page": str(problem)}


def fetch(host: str, port: int, target: str, timeout_s: float) -> str:
    """The text of a page by GET, without following anything. Raises BadPage."""
    until_s = time.monotonic() + timeout_s
    connection = http.client.HTTPConnection(_address(host), port, timeout=timeout_s)
    try:
        headers = {"Host": f"{host}:{port}", "Accept": "text/plain;version=0.0.4"}
        connection.request("GET", target, headers=headers)
        answer = connection.getresponse()
        _check(answer)
        parts = []
        size = 0
        while part := answer.read1(1 << 16):
            parts.append(part)
            size += len(part)
            if size > MAX_PAGE:
                raise BadPage(f"the page is larger than {MAX_PAGE >> 20} MiB")
            if time.monotonic() > until_s:
                raise BadPage(f"no end of the page within {timeout_s:g} s")
        if answer.length:  # http.client says nothing of a body that was cut off
            raise BadPage("the page broke off")
    except TimeoutError:
        raise BadPage(f"no answer within {timeout_s:g} s") from None
    except OSError as error:
        raise BadPage(error.strerror or str(error)) from None
    except http.client.HTTPException as error:
        raise BadPage(f"no proper HTTP answer ({type(error).__name__})") from None
    finally:
        connection.close()
    return b"".join(parts).decode("utf-8", "replace")


def _address(host: str) -> str:
    """`localhost` is the loopback address, whatever a resolver says."""
    if host == "localhost":
        return "127.0.0.1"
    with contextlib.suppress(ValueError):
        return str(ipaddress.ip_address(host))
    return host


def _check(answer: http.client.HTTPResponse) -> None:
    if 300 <= answer.status < 400:
        raise BadPage(f"it redirects elsewhere (HTTP {answer.status}), which is not followed")
    if answer.status != 200:
        raise BadPage(f"HTTP {answer.status} {answer.reason[:_SHOWN]}")
    kind = answer.headers.get_content_type() if answer.headers.get("content-type") else ""
    # OpenMetrics has other units and exemplars; who was asked for text may not answer that
    if kind and kind != _PAGE:
        raise BadPage(f"it answers {kind[:_SHOWN]}, not metrics")
    length = answer.length
    if length is not None and length > MAX_PAGE:
        raise BadPage(f"the page is larger than {MAX_PAGE >> 20} MiB")


def select(text: str, names: Sequence[str]) -> Iterator[tuple[str, list[Any]]]:
    """For each wanted name: the type that the page gives it ("untyped" for none), its samples.

    A sample is (name, labels, value, time in seconds or None). Raises BadPage.
    """
    for name in names:
        lines = _lines_of(text, name)
        try:
            families = list(text_string_to_metric_families(lines))
        except (ValueError, IndexError, KeyError) as error:
            raise BadPage(f"not the Prometheus text format near {name} ({error})") from None
        samples = [sample for family in families for sample in family.samples]
        if len(samples) > _MAX_SAMPLES:
            raise BadPage(f"{name} has {len(samples)} series (at most {_MAX_SAMPLES})")
        kind = next((family.type for family in families if family.type != "unknown"), "untyped")
        if not samples:
            start = " ".join(text[:_SHOWN].split())
            raise BadPage(f"the page has no series {name} (it begins with {start!r})")
        yield kind, samples


def _lines_of(text: str, name: str) -> str:
    """The lines about one name. A counter's family name is the series' without `_total`."""
    starts = tuple(f"{name}{suffix}{mark}" for suffix in _SUFFIXES for mark in ("{", " ", "\t"))
    comments = tuple(
        f"# TYPE {family}{mark}"
        for family in {name, name.removesuffix("_total")}
        for mark in (" ", "\t")
    )
    kept = []
    for line in text.splitlines():
        bare = line.lstrip()
        if bare.startswith(starts) or bare.startswith(comments):
            if len(line) > _MAX_LINE:
                raise BadPage(f"a line of {name} is longer than {_MAX_LINE >> 10} KiB")
            kept.append(line)
    return "\n".join(kept) + "\n"


def _plain(found: tuple[str, list[Any]]) -> dict[str, Any]:
    kind, samples = found
    return {
        "type": kind,
        "samples": [
            [sample.name, dict(sample.labels), _number(sample.value), sample.timestamp]
            for sample in samples
        ],
    }


def _number(value: float) -> str:
    """JSON has no NaN and no infinity."""
    return repr(float(value))


def matches(pattern: str, lines: Sequence[str]) -> list[str | None]:
    """For each matching line what the group `value` captured, None without such a group."""
    compiled = re.compile(pattern)
    has_value = "value" in compiled.groupindex
    found = (compiled.search(line) for line in lines)
    return [hit["value"] if has_value else None for hit in found if hit]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Reads knob files in a network namespace: a short-lived child program. Standard library only.

`python -m ktune.kernel.nsread --netns=PATH [--userns=PATH]` enters a namespace, `--new[=user]`
makes one (with `=user` in a user namespace of its own, for which no privilege is needed). It
reads a JSON list of paths from standard input and prints a JSON object: path ->
`{"text": ..., "writable": bool}` or `{"errno": n}`. It writes nothing. Exit code 3 and a line on
standard error where the namespace can't be entered or made.

A child, because a process that has threads can't enter a user namespace (setns(2)), and so that
the caller stays where it is.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass

from ktune.kernel.namespaces import NamespaceRef, enter, new_network
from ktune.kernel.tunable import read_text

_CANNOT_ENTER = 3
_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Reading:
    """One file: its text, or the errno of the attempt."""

    text: str | None
    errno: int = 0
    writable: bool = False


class NamespaceError(OSError):
    """A namespace could not be made or entered; the text says why."""


def read_here(paths: Iterable[str]) -> dict[str, Reading]:
    """Read files as this process sees them. Never raises OSError: each reading has its errno."""
    return {path: _read(path) for path in paths}


def read_in(namespace: NamespaceRef | None, paths: Iterable[str]) -> dict[str, Reading]:
    """Read files in a namespace; None makes a fresh one, with a user namespace unless root.

    Raises NamespaceError.
    """
    if namespace is not None:
        options = namespace.argv()
    else:
        options = ["--new" if os.geteuid() == 0 else "--new=user"]
    child = subprocess.run(
        [sys.executable, "-P", "-m", __name__, *options],
        input=json.dumps(list(paths)),
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
    )
    if child.returncode:
        lines = child.stderr.strip().splitlines()
        raise NamespaceError(lines[-1] if lines else f"reader ended with {child.returncode}")
    return {
        path: Reading(item.get("text"), item.get("errno", 0), item.get("writable", False))
        for path, item in json.loads(child.stdout).items()
    }


def main(argv: list[str] | None = None) -> int:
    """The child program."""
    parser = argparse.ArgumentParser(prog="ktune.kernel.nsread")
    parser.add_argument("--netns")
    parser.add_argument("--userns")
    parser.add_argument("--new", nargs="?", const="net", choices=("net", "user"))
    args = parser.parse_args(argv)
    paths = [str(path) for path in json.load(sys.stdin)]
    try:
        if args.new:
            new_network(with_user_namespace=args.new == "user")
        elif args.netns:
            enter(NamespaceRef(args.netns, args.userns))
    except OSError as error:
        print(f"{error.strerror or error}", file=sys.stderr)
        return _CANNOT_ENTER
    json.dump({path: _as_json(reading) for path, reading in read_here(paths).items()}, sys.stdout)
    return 0


def _as_json(reading: Reading) -> dict[str, object]:
    if reading.text is None:
        return {"errno": reading.errno}
    return {"text": reading.text, "writable": reading.writable}


def _read(path: str) -> Reading:
    try:
        text = read_text(path)
    except OSError as error:
        return Reading(None, error.errno or 5)
    return Reading(text, 0, os.access(path, os.W_OK, effective_ids=True))


if __name__ == "__main__":
    sys.exit(main())

"""`python -m tests.guest`: run tests, or any command, in guests with Debian's kernels."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from pathlib import Path

from .kernels import newest
from .machine import MODULE_SOURCE, Guest
from .needs import GuestError

PYTEST = ("python", "-m", "pytest", "-p", "no:cacheprovider", "-o", "timeout=300", "--durations=5")
TESTS = ("tests/guest/inside",)
"""What `make test-kernel` runs in each guest."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.guest", description=__doc__)
    parser.add_argument("--series", action="append", help="kernel series, several times (6.1)")
    parser.add_argument("--module", type=Path, default=MODULE_SOURCE, help="source of the module")
    parser.add_argument("--no-module", action="store_true", help="load no module of ours")
    parser.add_argument("--memory-mib", type=int, default=1536)
    parser.add_argument("--cpus", type=int, default=1)
    parser.add_argument("--limit-s", type=float, default=900.0, help="a run longer than this hangs")
    parser.add_argument("--append", default="", help="more words for the kernel command line")
    parser.add_argument("--in-memory", action="store_true", help="a guest that can sleep")
    parser.add_argument("--log", type=Path, help="file for the kernel's own words")
    parser.add_argument("--shell", action="store_true", help="the words are a command, not tests")
    parser.add_argument("words", nargs="*", metavar="TEST", help="arguments for pytest")
    asked = parser.parse_args()
    module = asked.module if asked.module.is_dir() and not asked.no_module else None
    command = shlex.join(asked.words if asked.shell else [*PYTEST, *(asked.words or TESTS)])
    good = True
    for series in asked.series or ["6.1"]:
        good &= _run(series, module, command, asked)
    return 0 if good else 1


def _run(series: str, module: Path | None, command: str, asked: argparse.Namespace) -> bool:
    begun = time.monotonic()
    try:
        kernel = newest(series)
        fetched = time.monotonic()
        what = f"with {module.name}/" if module else "without a module of ours"
        print(f"guest: Linux {kernel.release}, {what}: {command}", flush=True)
        verdict = Guest(
            kernel,
            module,
            memory_mib=asked.memory_mib,
            cpus=asked.cpus,
            limit_s=asked.limit_s,
            append=asked.append,
            in_memory=asked.in_memory,
            log=asked.log,
        ).run(command)
    except GuestError as error:
        print(f"guest: {error}", file=sys.stderr)
        return False
    took_s = time.monotonic() - fetched
    for problem in verdict.problems:
        print(f"guest: {problem}", file=sys.stderr)
    told = "good" if verdict.good else f"FAILED (exit code {verdict.code})"
    print(
        f"guest: Linux {kernel.release}: {told} in {took_s:.0f} s "
        f"(and {fetched - begun:.0f} s for the kernel)",
        flush=True,
    )
    return verdict.good


if __name__ == "__main__":
    sys.exit(main())

"""`python -m tests.guest`: run tests, or any command, in guests with Debian's kernels."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from tests.depth import WHOLE

from .booting import RELEASE_VARIABLE
from .kernels import Kernel, newest
from .machine import MODULE_SOURCE, Guest
from .needs import GuestError

PYTEST = ("python", "-m", "pytest", "-v", "-p", "no:cacheprovider", "-o", "timeout=1200")
_LONG = ("-o", "timeout=7200")
QUICK = () if WHOLE else ("-m", "not full")


@dataclass(frozen=True)
class Share:
    """Tests that run in one guest; those `in_memory` send it to sleep.

    `cpus`: above 1 where a watch, its guardian, its workload and a test that looks on run at once.
    `booted`: tests that run here and boot machines with systemd themselves (`booting.py`).
    """

    name: str
    tests: Sequence[str]
    in_memory: bool = False
    cpus: int = 1
    booted: bool = False


_RUNS = "tests/guest/inside/test_kernel_*.py"

STANDARD = (
    Share("runs by the kernel", [str(path) for path in sorted(Path().glob(_RUNS))]),
    Share("the proxy's behaviour", ["tests/proxy/test_behaviour.py", "-k", "module or BPF"]),
    Share(
        "inside, faults",
        ["tests/guest/inside", f"--ignore-glob={_RUNS}", "tests/faults/test_guardian_faults.py"],
    ),
)
"""What `make test-kernel` runs, the longest first: as many guests at once as there are CPUs. The
back end of plain files has its turn in `make test-full`; with the guard beside it, it runs here."""

_ASLEEP = "tests/guest/asleep"
_SLEEPERS = ("passes_in_sleep", "that_slept", "sleep_in_a_baseline", "sleep_ends_in")
SLOW = (
    Share("boots with systemd", ["tests/guest/booted"], booted=True),
    Share("set clocks", [_ASLEEP, "-k", f"not ({' or '.join(_SLEEPERS)})"], in_memory=True, cpus=2),
    *(Share(f"sleep: {one}", [_ASLEEP, "-k", one], in_memory=True, cpus=2) for one in _SLEEPERS),
)
"""What `make test-full` runs beside it. One sleep a guest: after it this emulation's clocks do not
always go on."""


@dataclass(frozen=True)
class Report:
    """What became of one guest; `text` is for people."""

    good: bool
    text: str


def main() -> int:
    asked = _parser().parse_args()
    # A guest's folder is removed, and its QEMU ended, also when this is told to end.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        kernels = [newest(series) for series in asked.series or ["6.1"]]
    except GuestError as error:
        print(f"guest: {error}", file=sys.stderr)
        return 1
    if asked.words:
        name = shlex.join(asked.words)
        share = Share(name, asked.words, asked.in_memory, asked.cpus, asked.booted)
        good = all(_run(kernel, share, asked, live=True).good for kernel in kernels)
    else:
        good = _all_shares(kernels, asked)
    return 0 if good else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.guest", description=__doc__)
    parser.add_argument("--series", action="append", help="kernel series, several times (6.1)")
    parser.add_argument("--module", type=Path, default=MODULE_SOURCE, help="source of the module")
    parser.add_argument("--no-module", action="store_true", help="load no module of ours")
    parser.add_argument("--memory-mib", type=int, default=1536)
    parser.add_argument("--cpus", type=int, default=1)
    parser.add_argument("--limit-s", type=float, default=1800.0, help="a longer run has hung")
    parser.add_argument("--append", default="", help="more words for the kernel command line")
    parser.add_argument("--in-memory", action="store_true", help="a guest that can sleep")
    parser.add_argument(
        "--booted", action="store_true", help="tests that boot machines with systemd"
    )
    parser.add_argument("--log", type=Path, help="file for the kernel's own words")
    parser.add_argument("--shell", action="store_true", help="the words are a command, not tests")
    parser.add_argument("words", nargs="*", metavar="TEST", help="arguments for pytest")
    return parser


def _all_shares(kernels: Sequence[Kernel], asked: argparse.Namespace) -> bool:
    """Their outputs come one after the other, each when its guest is done."""
    good = True
    with ThreadPoolExecutor(max_workers=len(os.sched_getaffinity(0))) as pool:
        runs = [
            pool.submit(_run, kernel, share, asked, live=False)
            for kernel in kernels
            for share in (*STANDARD, *(SLOW if WHOLE else ()))
        ]
        for run in runs:
            report = run.result()
            print(report.text, end="", flush=True)
            good &= report.good
    return good


def _run(kernel: Kernel, share: Share, asked: argparse.Namespace, *, live: bool) -> Report:
    if share.booted:
        return _run_booted(kernel, share, live=live)
    begun = time.monotonic()
    module = asked.module if asked.module.is_dir() and not asked.no_module else None
    command = shlex.join(
        share.tests if asked.shell else [*PYTEST, *(() if live else QUICK), *share.tests]
    )
    output = sys.stdout if live else StringIO()
    with_module = f"with {module.name}/" if module else "without a module of ours"
    print(f"guest: Linux {kernel.release}, {with_module}: {share.name}", flush=True)
    guest = Guest(
        kernel,
        module,
        memory_mib=asked.memory_mib,
        cpus=max(asked.cpus, share.cpus),
        limit_s=asked.limit_s,
        append=asked.append,
        in_memory=share.in_memory,
        log=asked.log,
    )
    try:
        verdict = guest.run(command, output)
    except GuestError as error:
        print(f"guest: {error}", file=output)
        told, good = "FAILED", False
    else:
        for problem in verdict.problems:
            print(f"guest: {problem}", file=output)
        good = verdict.good
        told = "good" if good else f"FAILED (exit code {verdict.code})"
    print(_ended(kernel, share, told, begun), file=output)
    return Report(good, output.getvalue() if isinstance(output, StringIO) else "")


def _run_booted(kernel: Kernel, share: Share, *, live: bool) -> Report:
    """The tests run on this machine, which they leave alone; everything is in those they boot."""
    begun = time.monotonic()
    print(f"guest: Linux {kernel.release}, booted by systemd: {share.name}", flush=True)
    done = subprocess.run(
        [sys.executable, *PYTEST[1:], *_LONG, *(["-s"] if live else QUICK), *share.tests],
        env={**os.environ, RELEASE_VARIABLE: kernel.release},
        stdin=subprocess.DEVNULL,
        stdout=None if live else subprocess.PIPE,
        stderr=None if live else subprocess.STDOUT,
        text=True,
    )
    told = "FAILED" if done.returncode else "good"
    end = _ended(kernel, share, told, begun)
    if live:
        print(end)
    return Report(done.returncode == 0, "" if live else f"{done.stdout}{end}\n")


def _ended(kernel: Kernel, share: Share, told: str, begun: float) -> str:
    took_s = time.monotonic() - begun
    return f"guest: Linux {kernel.release}: {share.name}: {told} in {took_s:.0f} s"


if __name__ == "__main__":
    sys.exit(main())

"""What all benchmarks stand on: scratch folders, a namespace, statistics, tables.

Promises: what is started here is ended here, by process id; every knob that is written belongs to
a network namespace of the benchmark's own; times are medians of interleaved rounds.
"""

from __future__ import annotations

import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ktune.kernel.namespaces import CLONE_NEWNET, setns, unshare

BENCHMARKS = Path(__file__).resolve().parents[1]
KTUNE = (sys.executable, "-m", "ktune")
_CLONE_NEWNS = 0x00020000
_RUNTIME = Path("/run/ktune")
_BPFFS = Path("/sys/fs/bpf")


@dataclass(frozen=True)
class Spread:
    """A sample of times or ratios, as the median with its quartiles and largest value."""

    median: float
    low: float
    high: float
    largest: float
    count: int

    def text(self, scale: float = 1.0, digits: int = 1) -> str:
        """`median [lower quartile, upper quartile]`."""
        middle, low, high = (
            f"{value * scale:.{digits}f}" for value in (self.median, self.low, self.high)
        )
        return f"{middle} [{low}, {high}]"


def spread(values: Iterable[float]) -> Spread:
    """Of at least one value."""
    found = sorted(values)
    if len(found) == 1:
        return Spread(found[0], found[0], found[0], found[0], 1)
    low, middle, high = statistics.quantiles(found, n=4, method="inclusive")
    return Spread(middle, low, high, found[-1], len(found))


def table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table as Markdown, so that it can go into a document as it is."""
    lines = [list(head), *(list(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    print(f"\n### {title}\n")
    for number, line in enumerate(lines):
        print(
            "| "
            + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
            + " |"
        )
        if number == 0:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")
    sys.stdout.flush()


def note(text: str) -> None:
    """A line below a table."""
    print(f"\n{text}", flush=True)


def machine() -> str:
    """The class of this machine, and when: without it no figure means anything."""
    with open("/proc/meminfo", encoding="ascii") as file:
        gib = int(file.readline().split()[1]) / 2**20
    kernel = ".".join(platform.release().split(".")[:2])
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, {gib:.0f} GiB, Linux "
        f"{kernel}, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}"
    )


@contextmanager
def scratch(folder: str | None = None) -> Iterator[Path]:
    """A folder that others may enter (workloads run as another user), removed at the end."""
    path = Path(tempfile.mkdtemp(prefix="ktune-benchmark-", dir=folder))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path)


def own_runtime_folder() -> None:
    """As root: a /run/ktune of this process tree's own, so that neither the leases of this host
    nor ours are seen by the other. Ends with this process (a mount namespace)."""
    if os.geteuid() != 0:
        return
    _RUNTIME.mkdir(mode=0o700, exist_ok=True)
    unshare(_CLONE_NEWNS)
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "mode=700,size=64m", "ktune-benchmark", str(_RUNTIME)],
        check=True,
    )
    if _BPFFS.is_dir():  # what a benchmark pins ends with it
        subprocess.run(["mount", "-t", "bpf", "ktune-benchmark", str(_BPFFS)], check=False)


def can_make_namespaces() -> bool:
    """Real root, for now: the namespace's knobs are read from outside."""
    return os.geteuid() == 0


class Net:
    """A network namespace; its files are opened and written without ktune."""

    def __enter__(self) -> Net:
        self._holder = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "echo ready; exec sleep 3600"],
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout is not None
        self._holder.stdout.readline()
        self.path = f"/proc/{self._holder.pid}/ns/net"
        return self

    def __exit__(self, *_: object) -> None:
        self._holder.kill()
        self._holder.wait()
        assert self._holder.stdout is not None
        self._holder.stdout.close()

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Inside, /proc/sys/net is the namespace's (for this thread)."""
        back = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            setns(self.path, CLONE_NEWNET)
            try:
                yield
            finally:
                setns(f"/proc/self/fd/{back}", CLONE_NEWNET)
        finally:
            os.close(back)


def interleaved(rounds: int, sides: Mapping[str, Callable[[int], float]]) -> dict[str, list[float]]:
    """Run every side once per round, in turn, so that a noisy minute hits all of them."""
    found: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds):
        for name, run in sides.items():
            found[name].append(run(number))
    return found


def verdict(value: float, target: float, *, at_most: bool) -> str:
    """`met` or `missed`, for the table."""
    return "met" if (value <= target if at_most else value >= target) else "MISSED"

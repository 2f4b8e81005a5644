"""How fast the bundled generators drive on one CPU: load_rate.py [SERVER...] [--seconds N].

Each server runs on CPU 0 and the generator on the last CPU, over a Unix socket. The rate rises
until the generator refuses its own window (its delays, not the server's), then the gap is halved
--steps times. Printed for the highest rate that was kept and for half of it: latencies, the
generator's own delay and the CPU time it took for a request. A server that is not installed is
left out and named.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from costs.rig import machine, note, scratch, table

from ktune.measure.job import NO_RESULT

_NOBODY = 65534
_READY_S = 20.0
_FIRST_RATE, _GROWTH, _CONNECTIONS = 2000.0, 1.6, 16


@dataclass(frozen=True)
class Server:
    """How it is started in a folder, and the load that goes with it."""

    program: str
    package: str
    command: Callable[[Path], Sequence[str]]
    load: str
    options: tuple[str, ...]


@dataclass(frozen=True)
class Kept:
    """A rate that the generator kept."""

    rate: float
    numbers: Mapping[str, float]
    cpu_us: float
    """User and system time of the generator for a request, start included."""


def _nginx(folder: Path) -> Sequence[str]:
    (folder / "file").write_bytes(b"x" * 1024)
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log stderr; events {{}}\n"
        f"http {{ access_log off; keepalive_requests 1000000; {temporary}\n"
        f"server {{ listen unix:{folder}/socket; root {folder}; }} }}\n"
    )
    return ("nginx", "-e", "stderr", "-p", str(folder), "-c", f"{folder}/nginx.conf")


SERVERS = {
    "redis": Server(
        "redis-server",
        "redis-server",
        lambda folder: (
            *("redis-server", "--port", "0", "--unixsocket", f"{folder}/socket"),
            *("--save", "", "--dir", str(folder)),
        ),
        "resp_load",
        ("--keys", "1000"),
    ),
    "memcached": Server(
        "memcached",
        "memcached",
        lambda folder: ("memcached", "-s", f"{folder}/socket", "-t", "1"),
        "memcached_load",
        ("--keys", "1000"),
    ),
    "nginx": Server("nginx", "nginx-light", _nginx, "http_load", ("--path", "/file")),
}


@contextmanager
def serving(server: Server, folder: Path) -> Iterator[Path]:
    """Its socket, while it runs as nobody on CPU 0."""
    user = {"user": _NOBODY, "group": _NOBODY} if not os.geteuid() else {}
    if user:
        os.chown(folder, _NOBODY, _NOBODY)
    process = subprocess.Popen(
        ["taskset", "-c", "0", *server.command(folder)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        **user,
    )
    try:
        until_s = time.monotonic() + _READY_S
        while not _listens(folder / "socket"):
            if process.poll() is not None or time.monotonic() > until_s:
                raise SystemExit(f"{server.program} does not answer")
            time.sleep(0.05)
        yield folder / "socket"
    finally:
        process.kill()
        process.wait()


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


def drive(server: Server, sock: Path, rate: float, seconds: float) -> Kept | None:
    """One load at this rate; None where the generator could not keep it."""
    requests = max(1000, round(rate * seconds))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [
            *("taskset", "-c", str(max(os.sched_getaffinity(0)))),
            *(sys.executable, "-m", f"ktune.measure.workloads.{server.load}"),
            *("--unix", str(sock), "--rate", str(rate), "--requests", str(requests)),
            *("--connections", str(_CONNECTIONS), *server.options),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode == NO_RESULT:
        return None
    if done.returncode:
        raise SystemExit(done.stderr.strip())
    pairs = (line.split("=") for line in done.stdout.splitlines())
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    numbers = {name: float(value) for name, value in pairs}
    return Kept(rate, numbers, cpu_s / (requests * 1.1) * 1e6)


def highest(server: Server, sock: Path, seconds: float, steps: int) -> Kept | None:
    """The highest rate that the generator kept."""
    best, rate = None, _FIRST_RATE
    while (kept := drive(server, sock, rate, seconds)) is not None:
        best, rate = kept, rate * _GROWTH
    for _ in range(steps if best else 0):
        middle = (best.rate + rate) / 2
        kept = drive(server, sock, middle, seconds)
        if kept is None:
            rate = middle
        else:
            best = kept
    return best


def _row(name: str, kept: Kept) -> list[str]:
    found = kept.numbers
    return [
        name,
        f"{kept.rate:.0f}",
        f"{found['rate_per_s']:.0f}",
        *(f"{found[f'latency_{word}_ms']:.3f}" for word in ("p50", "p99", "max")),
        f"{found['own_delay_p99_ms']:.3f}",
        f"{kept.cpu_us:.1f}",
    ]


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("servers", nargs="*", default=list(SERVERS), metavar="SERVER")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--steps", type=int, default=3)
    options = parser.parse_args()
    rows = []
    for name in options.servers:
        server = SERVERS[name]
        if shutil.which(server.program) is None:
            note(f"{name} is left out: apt-get install {server.package}")
            continue
        with scratch(None) as folder, serving(server, folder) as sock:
            best = highest(server, sock, options.seconds, options.steps)
            half = drive(server, sock, best.rate / 2, options.seconds) if best else None
        if best is None:
            note(f"{name}: not even {_FIRST_RATE:.0f} requests/s: the machine is too busy")
            continue
        rows += [_row(name, kept) for kept in (best, half) if kept]
    head = ["server", "asked /s", "done /s", "p50 ms", "p99 ms", "max ms", "own p99 ms", "us CPU"]
    table("Highest rate kept on one CPU, and half of it", head, rows)
    note(machine())


if __name__ == "__main__":
    main()

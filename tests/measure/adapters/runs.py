"""What is recorded, and run live: one short command of each tool, and against which server."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

from tests.measure.adapters import servers

Server = Callable[[], AbstractContextManager[dict[str, str]]]


@contextlib.contextmanager
def nobody() -> Iterator[dict[str, str]]:
    """No server."""
    yield {}


@dataclass(frozen=True)
class Run:
    """A command; `{words}` in it are the server's. `version` makes the tool name its version."""

    name: str
    tool: str
    package: str
    command: tuple[str, ...]
    fields: str
    server: Server = nobody
    version: tuple[str, ...] = ("--version",)
    warm_up: int = 0
    root: bool = False
    """It has to run as root."""
    fails: str = ""
    """What is said of its failure."""
    bundled: str = ""
    """The module, where it is a load of our own."""
    recorded: tuple[str, ...] = ()
    """Files of the window's folder that belong to the recording: how their names begin."""

    @property
    def wanted(self) -> frozenset[str]:
        """Names of the fields."""
        return frozenset(self.fields.split())

    def argv(self, words: dict[str, str]) -> tuple[str, ...]:
        """The command with the server's words; a skip where the program is missing."""
        program, *rest = self.command
        if self.bundled:
            return (program, *(word.format(**words) for word in rest))
        at = (
            servers.postgres_program(program)
            if program == "pgbench"
            else servers.needs(program, self.package)
        )
        return (at, *(word.format(**words) for word in rest))


_FIO = ("fio", "--name=job", "--output-format=json", "--size=4M", "--bs=4k")
_PG = ("pgbench", "-n", "-h", "{host}", "-U", "{user}")
_PG_FILES = ("pgbench_log",)

RUNS = (
    Run(
        "fio-read",
        "fio",
        "fio",
        (*_FIO, "--rw=randread", "--lat_percentiles=1"),
        "iops bandwidth bytes ios runtime latency_min latency_mean latency_max latency_stddev"
        " latency_p50 latency_p99 latency_p99.9 read.iops clat_p99",
    ),
    Run(
        "fio-mixed-sync",
        "fio",
        "fio",
        (*_FIO, "--rw=randrw", "--fsync=16", "--numjobs=2", "--group_reporting"),
        "iops read.iops write.iops write.clat_p99 sync.latency_mean latency_mean",
    ),
    Run(
        "fio-data-sync",
        "fio",
        "fio",
        (*_FIO, "--io_size=256k", "--rw=randwrite", "--fdatasync=1", "--lat_percentiles=1"),
        "write.iops sync.ios sync.latency_mean sync.latency_p99",
    ),
    Run(
        "fio-paced",
        "fio",
        "fio",
        (*_FIO, "--rw=write", "--rate_iops=4000", "--ioengine=libaio", "--iodepth=8"),
        "write.iops write.latency_mean clat_p50",
    ),
    Run(
        "pgbench",
        "pgbench",
        "postgresql",
        (*_PG, "-c", "4", "-j", "2", "-t", "250", "--log", "bench"),
        "tps transactions latency_mean latency_stddev latency_max latency_p50 latency_p99 failed"
        " connection_time",
        server=servers.postgres,
        recorded=_PG_FILES,
    ),
    Run(
        "pgbench-rate",
        "pgbench",
        "postgresql",
        (*_PG, "-S", "-c", "2", "-t", "300", "-R", "600", "-L", "50", "-l", "bench"),
        "tps transactions latency_mean latency_p95 lag_mean skipped",
        server=servers.postgres,
        warm_up=100,
        recorded=_PG_FILES,
    ),
    Run(
        "ktune-load-memcached",
        "ktune-load",
        "ktune",
        (
            "ktune-memcached-load",
            *("--unix", "{socket}", "--rate", "2000", "--requests", "1000", "--warm-up", "100"),
            *("--keys", "100", "--late-share", "1"),
        ),
        "rps requests time misses reconnects latency_mean latency_max latency_p50 latency_p90"
        " latency_p99 latency_p99.9",
        server=servers.memcached,
        bundled="ktune.measure.workloads.memcached_load",
    ),
    Run(
        "ktune-load-http",
        "ktune-load",
        "ktune",
        (
            "ktune-http-load",
            *("--port", "{port}", "--rate", "1000", "--requests", "300", "--late-share", "1"),
        ),
        "rps latency_p50 latency_p99 latency_max",
        server=servers.nginx,
        bundled="ktune.measure.workloads.http_load",
    ),
    Run(
        "sysbench-cpu",
        "sysbench",
        "sysbench",
        ("sysbench", "--events=400", "--time=0", "--percentile=99", "cpu", "run"),
        "events time events_per_s latency_min latency_mean latency_max latency_p99",
    ),
    Run(
        "sysbench-memory",
        "sysbench",
        "sysbench",
        ("sysbench", "--events=0", "--time=0", "memory", "--memory-total-size=200M", "run"),
        "bandwidth events time",
    ),
    Run(
        "redis-benchmark",
        "redis-benchmark",
        "redis-tools",
        ("redis-benchmark", "--csv", "-s", "{socket}", "-n", "4000", "-c", "8", "-t", "set,get"),
        "set.rps get.rps get.latency_mean get.latency_min get.latency_p50 get.latency_p95"
        " get.latency_p99 get.latency_max",
        server=servers.redis,
    ),
    Run(
        "wrk",
        "wrk",
        "wrk",
        ("wrk", "-t1", "-c4", "-d1s", "--latency", "http://127.0.0.1:{port}/"),
        "rps requests bandwidth latency_mean latency_stddev latency_max latency_p50 latency_p75"
        " latency_p90 latency_p99",
        server=servers.nginx,
        version=("-v",),
    ),
    Run(
        "iperf3-tcp",
        "iperf3",
        "iperf3",
        ("iperf3", "--json", "-c", "127.0.0.1", "-p", "{port}", "--bytes", "64M", "-P", "2"),
        "sent received bytes time retransmits rtt_mean cpu_local cpu_remote",
        server=servers.iperf3,
    ),
    Run(
        "iperf3-udp",
        "iperf3",
        "iperf3",
        ("iperf3", "-u", "-J", "-c", "127.0.0.1", "-p", "{port}", "-b", "50M", "-n", "2M"),
        "sent jitter lost",
        server=servers.iperf3,
    ),
    Run(
        "stress-ng",
        "stress-ng",
        "stress-ng",
        (
            "stress-ng",
            "--metrics-brief",
            "--switch",
            "1",
            "--switch-ops",
            "5000",
            "--pipe",
            "1",
            "--pipe-ops",
            "5000",
        ),
        "switch.bogo_ops switch.bogo_ops_per_s pipe.real_time pipe.user_time pipe.system_time"
        " pipe.bogo_ops_per_cpu_s",
    ),
    Run(
        "stress-ng-yaml",
        "stress-ng",
        "stress-ng",
        (
            "stress-ng",
            "--metrics",
            "--yaml",
            "stress.yaml",
            "--switch",
            "1",
            "--switch-ops",
            "5000",
        ),
        "bogo_ops bogo_ops_per_s real_time system_time bogo_ops_per_cpu_s",
        recorded=("stress.yaml",),
    ),
    Run(
        "hackbench",
        "hackbench",
        "rt-tests",
        ("hackbench", "-g", "1", "-l", "100"),
        "time",
    ),
    Run(
        "cyclictest",
        "cyclictest",
        "rt-tests",
        ("cyclictest", "-q", "-t2", "-l", "400", "-i", "1000", "--policy=other"),
        "cycles latency_min latency_mean latency_max",
        root=True,
    ),
    Run(
        "cyclictest-histogram",
        "cyclictest",
        "rt-tests",
        ("cyclictest", "-q", "-t2", "-l400", "-i1000", "--policy=other", "--histogram=9999"),
        "cycles latency_min latency_mean latency_max latency_p50",
        root=True,
    ),
)
"""Short: each takes about a second on a slow machine."""


FAILURES = (
    Run(
        "fio-full",
        "fio",
        "fio",
        (*_FIO, "--rw=write", "--filename=/dev/full"),
        "iops",
        fails="fio: job job failed: No space left on device (error 28)",
    ),
    Run(
        "pgbench-aborted",
        "pgbench",
        "postgresql",
        (*_PG, "-c", "2", "-t", "50", "-f", "{script}", "bench"),
        "tps",
        server=servers.postgres,
        fails='relation "nothing" does not exist',
    ),
    Run(
        "sysbench-fatal",
        "sysbench",
        "sysbench",
        ("sysbench", "--events=10", "--time=0", "fileio", "--file-test-mode=rndrd", "run"),
        "events",
        fails="sysbench: Cannot open file 'test_file.0'",
    ),
    Run(
        "redis-full",
        "redis-benchmark",
        "redis-tools",
        ("redis-benchmark", "--csv", "-s", "{socket}", "-n", "100", "-t", "set"),
        "rps",
        server=lambda: servers.redis("--maxmemory", "1"),
        fails="redis-benchmark: Error from server: OOM command not allowed",
    ),
    Run(
        "wrk-not-found",
        "wrk",
        "wrk",
        ("wrk", "-t1", "-c1", "-d1s", "http://127.0.0.1:{port}/nothing"),
        "rps",
        server=servers.nginx,
        version=("-v",),
        fails="answers were no success (neither 2xx nor 3xx)",
    ),
    Run(
        "iperf3-refused",
        "iperf3",
        "iperf3",
        ("iperf3", "--json", "-c", "127.0.0.1", "-p", "1", "--bytes", "1M"),
        "received",
        fails="iperf3: unable to connect to server: Connection refused",
    ),
    Run(
        "hackbench-fds",
        "hackbench",
        "rt-tests",
        ("prlimit", "--nofile=20", "hackbench", "-g", "2", "-l", "1"),
        "time",
        fails="hackbench: Creating fdpair (error: Too many open files)",
    ),
)
"""What fails, and with which words. iperf3 and wrk exit with 0."""

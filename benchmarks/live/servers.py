"""Real servers with a real load, each in a network namespace of its own: for live tuning.

Debian's redis-server with redis-benchmark, nginx with wrk. Server and load run as nobody, talk over
the namespace's loopback, and end with the block. The load makes its connections anew about once a
second, so that settings of new sockets count within a window.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ktune.measure.scope import EphemeralScope

_NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
_READY_S = 20.0
_FILE_BYTES = 256 << 10
_VALUE_BYTES = 16 << 10
REDIS_PORT, NGINX_PORT = 6379, 8080


@dataclass(frozen=True)
class Server:
    """One that can be started: what it needs, its command, its load, its metrics as YAML."""

    programs: tuple[str, ...]
    prepare: Callable[[Path], None]
    command: Callable[[Path], Sequence[str]]
    load: Callable[[Path], str]
    """A shell command of about a second, repeated without end."""
    ready: Callable[[Path], Sequence[str]]
    """Exits with 0 once the server answers."""
    metrics: Callable[[Path], str]
    objective: str
    safety: str = ""


@dataclass(frozen=True)
class Running:
    """A server under load."""

    scope: EphemeralScope
    pid: int


def missing(server: Server) -> list[str]:
    """Its programs that are not installed."""
    return [name for name in server.programs if shutil.which(name) is None]


@contextmanager
def under_load(server: Server, folder: Path) -> Iterator[Running]:
    """Start server and load; both are ended by process id."""
    server.prepare(folder)
    with EphemeralScope() as scope, ExitStack() as stack:
        enter = ("nsenter", f"--net={scope.ref.netns}", *_NOBODY)
        process = _started(stack, [*enter, *server.command(folder)])
        until_s = time.monotonic() + _READY_S
        while subprocess.run([*enter, *server.ready(folder)], capture_output=True).returncode:
            if time.monotonic() > until_s or process.poll() is not None:
                raise SystemExit(f"{server.programs[0]} does not answer")
            time.sleep(0.1)
        _started(stack, [*enter, "sh", "-c", f"while :; do {server.load(folder)}; done"])
        yield Running(scope, process.pid)


def _started(stack: ExitStack, words: Sequence[str]) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        list(words),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )

    def end() -> None:
        if process.poll() is None:
            os.killpg(
                process.pid, 9
            )  # the session that was started above, load generators included
        process.wait()

    stack.callback(end)
    return process


def _prepare_redis(folder: Path) -> None:
    (folder / "data").mkdir(mode=0o777)


def _prepare_nginx(folder: Path) -> None:
    (folder / "www").mkdir()
    (folder / "www" / "file").write_bytes(os.urandom(_FILE_BYTES))
    (folder / "own").mkdir()
    os.chown(folder / "own", 65534, 65534)
    temporary = "".join(
        f"{kind}_temp_path {folder}/own/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"""daemon off;
worker_processes 1;
pid {folder}/own/pid;
error_log {folder}/own/error.log;
events {{ worker_connections 512; }}
http {{
    {temporary}
    log_format brief '$status $body_bytes_sent $request_time';
    access_log {folder}/own/access.log brief;
    sendfile on;
    tcp_nopush on;
    server {{ listen 127.0.0.1:{NGINX_PORT}; root {folder}/www; }}
}}
"""
    )


_PROCESSOR = "processor: {from: proc, file: stat, field: utime, unit: s/s, plausible: [0, 1000]}"


def _redis_metrics(folder: Path) -> str:
    command = f"from: command, command: [redis-cli, -p, '{REDIS_PORT}', info, stats], as: rate"
    return f"""
    commands: {{{command}, field: total_commands_processed, unit: 1/s, plausible: [1, 1e8]}}
    refused: {{{command}, field: rejected_connections, unit: 1/s, plausible: [0, 1e6]}}
    {_PROCESSOR}
"""


def _nginx_metrics(folder: Path) -> str:
    log = f"from: log, path: {folder}/own/access.log, as: rate, unit: 1/s"
    return f"""
    requests: {{{log}, pattern: '^200 ', plausible: [1, 1e7]}}
    failed: {{{log}, pattern: '^5', plausible: [0, 1e7]}}
    {_PROCESSOR}
"""


SERVERS = {
    "redis": Server(
        programs=("redis-server", "redis-benchmark", "redis-cli"),
        prepare=_prepare_redis,
        command=lambda folder: shlex.split(
            f"redis-server --port {REDIS_PORT} --bind 127.0.0.1 --save '' --dir {folder}/data"
        ),
        load=lambda folder: (
            f"redis-benchmark -p {REDIS_PORT} -t set,get -n 10000 -c 20 -d {_VALUE_BYTES} -q"
        ),
        ready=lambda folder: ("redis-cli", "-p", str(REDIS_PORT), "ping"),
        metrics=_redis_metrics,
        objective="commands",
        safety="slo: [{metric: refused, at_most: 1, for: 500ms}]",
    ),
    "nginx": Server(
        programs=("nginx", "wrk"),
        prepare=_prepare_nginx,
        command=lambda folder: ("nginx", "-p", str(folder), "-c", f"{folder}/nginx.conf"),
        load=lambda folder: f"wrk -t1 -c10 -d1s http://127.0.0.1:{NGINX_PORT}/file",
        ready=lambda folder: ("wrk", "-t1", "-c1", "-d1s", f"http://127.0.0.1:{NGINX_PORT}/file"),
        metrics=_nginx_metrics,
        objective="requests",
        safety="slo: [{metric: failed, at_most: 1, for: 500ms}]",
    ),
}

"""Servers for load generators to run against: the test's own, unprivileged, on a Unix socket or the
loopback, their data in a folder that goes with the test."""

from __future__ import annotations

import contextlib
import glob
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PATIENCE_S = 30.0


def needs(program: str, package: str) -> str:
    """The program's path, or a skip that names its package."""
    found = shutil.which(program, path=PATH)
    if found is None:
        pytest.skip(f"needs {program}: apt-get install {package}")
    return found


def postgres_program(name: str) -> str:
    """A program of the newest PostgreSQL server, or a skip."""
    found = sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"))
    if not found:
        pytest.skip(f"needs {name}: apt-get install postgresql")
    return found[-1]


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A folder that an unprivileged user owns and anybody may enter."""
    with tempfile.TemporaryDirectory(prefix="ktune-test-") as path:
        os.chmod(path, 0o755)
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
        yield Path(path)


def unprivileged() -> dict[str, Any]:
    """For subprocess: as nobody, where the test is root."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def run_unprivileged(argv: Sequence[str], where: Path) -> None:
    """Run to its end; its words are in the error."""
    done = subprocess.run(
        argv, cwd=where, capture_output=True, text=True, env={"PATH": PATH}, **unprivileged()
    )
    assert done.returncode == 0, done.stdout + done.stderr


@contextlib.contextmanager
def running(argv: Sequence[str], where: Path, ready: Any) -> Iterator[None]:
    """A server until the end of the block; `ready()` is asked until it says True."""
    log = where / "log"
    with open(log, "wb") as words:
        process = subprocess.Popen(
            argv,
            cwd=where,
            stdin=subprocess.DEVNULL,
            stdout=words,
            stderr=words,
            env={"PATH": PATH, "HOME": str(where)},
            **unprivileged(),
        )
        try:
            until = time.monotonic() + _PATIENCE_S
            while not ready():
                assert process.poll() is None and time.monotonic() < until, log.read_text()
                time.sleep(0.02)
            yield
        finally:
            process.terminate()
            try:
                process.wait(_PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def answers(address: str | tuple[str, int]) -> bool:
    """Whether somebody listens there."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family) as probe:
        return probe.connect_ex(address) == 0


def free_port() -> int:
    """A port of the loopback that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def postgres() -> Iterator[dict[str, str]]:
    """PostgreSQL with pgbench's tables at scale 1: `host` (the socket's folder), `user`, and
    `script`, which fails."""
    initdb, server = postgres_program("initdb"), postgres_program("postgres")
    with folder() as where:
        data = str(where / "data")
        run_unprivileged([initdb, "-D", data, "-U", "bench", "-A", "trust", "--no-sync"], where)
        options = [f"-k{where}", "-clisten_addresses=", "-cfsync=off", "-cautovacuum=off"]
        argv = [server, "-D", data, *options]
        ready = [postgres_program("pg_isready"), "-q", "-h", str(where)]
        with running(argv, where, lambda: subprocess.run(ready).returncode == 0):
            at = ["-h", str(where), "-U", "bench"]
            run_unprivileged([postgres_program("createdb"), *at, "bench"], where)
            run_unprivileged([postgres_program("pgbench"), "-i", "-q", *at, "bench"], where)
            script = where / "wrong.sql"
            script.write_text("SELECT 1 FROM nothing;\n")
            yield {"host": str(where), "user": "bench", "script": str(script)}


@contextlib.contextmanager
def redis(*options: str) -> Iterator[dict[str, str]]:
    """Redis without persistence: `socket`."""
    server = needs("redis-server", "redis-server")
    with folder() as where:
        path = str(where / "redis.sock")
        argv = [server, "--port", "0", "--unixsocket", path, "--save", "", *options]
        with running(argv, where, lambda: answers(path)):
            yield {"socket": path}


@contextlib.contextmanager
def memcached() -> Iterator[dict[str, str]]:
    """memcached: `socket`."""
    server = needs("memcached", "memcached")
    with folder() as where:
        path = str(where / "memcached.sock")
        with running([server, "-s", path, "-m", "16", "-t", "1"], where, lambda: answers(path)):
            yield {"socket": path}


@contextlib.contextmanager
def nginx() -> Iterator[dict[str, str]]:
    """nginx with one page on the loopback: `port`."""
    server = needs("nginx", "nginx-light")
    with folder() as where:
        port = free_port()
        (where / "index.html").write_text("hello\n" * 20)
        (where / "nginx.conf").write_text(
            f"daemon off; pid {where}/pid; error_log stderr; worker_processes 1;\n"
            f"events {{}}\nhttp {{ access_log off; root {where}; "
            + "".join(
                f"{kind}_temp_path {where}/{kind}; "
                for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
            )
            + f"server {{ listen 127.0.0.1:{port}; }} }}\n"
        )
        argv = [server, "-e", "stderr", "-p", str(where), "-c", str(where / "nginx.conf")]
        with running(argv, where, lambda: answers(("127.0.0.1", port))):
            yield {"port": str(port)}


@contextlib.contextmanager
def iperf3() -> Iterator[dict[str, str]]:
    """An iperf3 server on the loopback: `port`."""
    server = needs("iperf3", "iperf3")
    with folder() as where:
        port = free_port()

        def listens() -> bool:
            """Connecting would be taken for a client."""
            wanted = f"0100007F:{port:04X} 00000000:0000 0A"
            return wanted in Path("/proc/net/tcp").read_text()

        argv = [server, "-s", "-B", "127.0.0.1", "-p", str(port)]
        with running(argv, where, listens):
            yield {"port": str(port)}

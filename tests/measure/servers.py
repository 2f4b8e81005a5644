"""Servers that the bundled generators are tried on: real ones, and one that misbehaves as told.

Each runs as an unprivileged user where root starts it, listens on a Unix socket in a folder of its
own, and is ended by its process id.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.proxy.rig import wait_until

# One thread, so that a stall is everybody's. Arguments: socket, behaviour, its number.
_ODD = """
import os, select, socket, sys, time
path, behaviour, number = sys.argv[1], sys.argv[2], float(sys.argv[3])
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen(0 if behaviour == "crowded" else 64)
poll, open_ = select.epoll(), {}
poll.register(listener.fileno(), select.EPOLLIN)
seen, waiting = 0, {}
OK, LINE = b"+OK\\r\\n", b"\\r\\n"
while True:
    for fd, _ in poll.poll():
        if fd == listener.fileno():
            connection, _ = listener.accept()
            open_[connection.fileno()] = connection
            poll.register(connection.fileno(), select.EPOLLIN)
            continue
        connection = open_[fd]
        try:
            data = connection.recv(1 << 20)
        except OSError:
            data = b""
        if not data:
            poll.unregister(fd)
            open_.pop(fd).close()
            continue
        seen += 1
        if behaviour == "stall" and seen == number:
            time.sleep(0.2)
        if behaviour in ("slow", "crowded"):
            time.sleep(number)
        if behaviour == "close" and seen % number == 0:
            poll.unregister(fd)
            open_.pop(fd).close()
        elif behaviour == "half" and seen == number:
            connection.send(b"$100" + LINE + b"half")
            poll.unregister(fd)
            open_.pop(fd).close()
        elif behaviour == "die" and seen == number:
            os.unlink(path)
            sys.exit()
        elif behaviour == "hang" and seen >= number:
            pass
        elif behaviour == "error" and seen % number == 0:
            connection.send(b"-OOM command not allowed when used memory > 'maxmemory'." + LINE)
        elif behaviour == "garbage":
            connection.send(b"SSH-2.0-OpenSSH" + LINE)
        elif behaviour == "twice":
            connection.send(OK + OK)
        elif behaviour == "bytewise":
            for byte in OK:
                connection.send(bytes([byte]))
        elif behaviour == "early":
            poll.unregister(fd)
            connection.send(OK)
        elif behaviour in ("deaf", "bye"):
            # Before the answer: a request that is sent at once after it must not get through.
            poll.unregister(fd)
            connection.shutdown(socket.SHUT_RD)
            connection.send(OK)
            if behaviour == "bye":
                open_.pop(fd).close()
        else:
            connection.send(OK)
"""


def unprivileged() -> dict[str, int]:
    """For subprocess: nobody, where root calls."""
    if os.geteuid():
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid}


@contextmanager
def folder() -> Iterator[Path]:
    """One that the server's user may write to and everybody may enter."""
    with tempfile.TemporaryDirectory(prefix="ktune-load-") as name:
        path = Path(name)
        path.chmod(0o755)
        if not os.geteuid():
            os.chown(path, unprivileged()["user"], unprivileged()["group"])
        yield path


@contextmanager
def running(
    argv: Sequence[str], sock: Path, user: Mapping[str, int]
) -> Iterator[subprocess.Popen[bytes]]:
    """The server, listening; ended on the way out."""
    with open(sock.parent / "output", "wb") as output:
        server = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, **user
        )
    try:
        wait_until(lambda: server.poll() is not None or listens(sock))
        assert server.poll() is None, (sock.parent / "output").read_text()
        yield server
    finally:
        server.kill()
        server.wait()


def listens(sock: Path) -> bool:
    """Does anybody accept connections there?"""
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(sock))
        except OSError:
            return False
        return True


@contextmanager
def odd(behaviour: str, number: float = 1) -> Iterator[Path]:
    """A server that answers +OK, and does otherwise as `behaviour` says."""
    argv = [sys.executable, "-I", "-S", "-c", _ODD]
    with folder() as home:
        sock = home / "odd.sock"
        with running([*argv, str(sock), behaviour, str(number)], sock, {}):
            yield sock


def program(name: str, package: str) -> str:
    """Its path; skips the test where it is not installed."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin")
    if not found:
        pytest.skip(f"no {name}: apt-get install {package}")
    return found


def free_port() -> int:
    """A port of the loopback that nobody has now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def redis(port: int = 0) -> Iterator[Path]:
    """Debian's Redis, nothing on disk; with a port it listens on the loopback too."""
    server = program("redis-server", "redis-server")
    with folder() as home:
        sock = home / "redis.sock"
        options = ["--port", str(port), "--unixsocket", str(sock), "--save", "", "--dir", str(home)]
        with running([server, *options], sock, unprivileged()):
            yield sock


@contextmanager
def memcached() -> Iterator[Path]:
    """Debian's memcached, 64 MiB."""
    server = program("memcached", "memcached")
    with folder() as home:
        sock = home / "memcached.sock"
        with running([server, "-s", str(sock), "-m", "64", "-t", "1"], sock, unprivileged()):
            yield sock


_NGINX = """
daemon off; master_process off; worker_processes 1; pid {home}/pid; error_log stderr;
events {{}}
http {{
  access_log off;
  client_body_temp_path {home}/a; proxy_temp_path {home}/b; fastcgi_temp_path {home}/c;
  uwsgi_temp_path {home}/d; scgi_temp_path {home}/e;
  server {{
    listen unix:{home}/nginx.sock; root {home}/files;
    keepalive_requests 50;
    location /moved {{ return 302 /; }}
    location /down {{ return 503; }}
    location /nothing {{ return 204; }}
  }}
}}
"""


@contextmanager
def nginx() -> Iterator[Path]:
    """Debian's nginx with a few files, closing each connection after fifty requests."""
    server = program("nginx", "nginx-light")
    with folder() as home:
        files = home / "files"
        files.mkdir()
        for number in range(4):
            (files / f"{number}.bin").write_bytes(b"x" * (number * 100_000 + 1))
        (home / "nginx.conf").write_text(_NGINX.format(home=home))
        sock = home / "nginx.sock"
        argv = [server, "-e", "stderr", "-p", str(home), "-c", str(home / "nginx.conf")]
        with running(argv, sock, unprivileged()):
            yield sock

"""The bundled generators against Debian's Redis, memcached and nginx."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from types import ModuleType

import pytest

from ktune.measure.workloads import http_load, memcached_load, resp_load
from tests.measure.servers import free_port, memcached, nginx, redis

pytestmark = pytest.mark.full

COMMON = ["--rate", "1500", "--requests", "1200", "--late-after", "2000"]
STORE = ["--keys", "300", "--value-size", "100", "--value-max", "3000"]


def numbers_of(
    load: ModuleType, sock: Path, capsys: pytest.CaptureFixture[str], *more: str
) -> dict[str, float]:
    """What a load that must succeed prints."""
    code = load.main(["--unix", str(sock), *COMMON, *more])
    shown = capsys.readouterr()
    assert (code, shown.err) == (0, "")
    return {name: float(value) for name, value in (x.split("=") for x in shown.out.splitlines())}


def check(numbers: dict[str, float]) -> None:
    """What must hold for every result."""
    assert numbers["requests"] == 1200
    assert numbers["errors"] == 0
    assert numbers["rate_per_s"] == pytest.approx(
        numbers["requests"] / numbers["seconds"], rel=1e-3
    )
    names = ["p50", "p90", "p99", "p999", "max"]
    latencies = [numbers[f"latency_{name}_ms"] for name in names]
    assert latencies[0] > 0
    assert latencies == sorted(latencies)


def asked(sock: Path, question: bytes) -> str:
    """What a server says to one question."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(sock))
        client.settimeout(5)
        client.sendall(question)
        return client.recv(1 << 16).decode()


def test_redis_does_what_the_load_says(capsys: pytest.CaptureFixture[str]) -> None:
    with redis() as sock:
        numbers = numbers_of(resp_load, sock, capsys, *STORE, "--warm-up", "100", "--reads", "0.8")
        said = asked(sock, b"INFO commandstats\r\n")
    check(numbers)
    assert numbers["misses"] == 0
    calls = {name: int(n) for name, n in re.findall(r"cmdstat_(get|set):calls=(\d+)", said)}
    assert calls["get"] + calls["set"] == 300 + 100 + 1200
    assert calls["get"] / 1300 == pytest.approx(0.8, abs=0.05)


def test_memcached_does_what_the_load_says(capsys: pytest.CaptureFixture[str]) -> None:
    with memcached() as sock:
        numbers = numbers_of(memcached_load, sock, capsys, *STORE, "--reads", "0.8")
        said = asked(sock, b"stats\r\n")
    check(numbers)
    assert numbers["misses"] == 0
    counts = {name: int(n) for name, n in re.findall(r"STAT (\w+) (\d+)\r", said)}
    assert counts["cmd_get"] + counts["cmd_set"] == 300 + 120 + 1200
    assert counts["get_hits"] == counts["cmd_get"]


@pytest.mark.parametrize(("server", "load"), [(redis, resp_load), (memcached, memcached_load)])
def test_reads_of_nothing_are_misses(
    server: type, load: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    with server() as sock:
        numbers = numbers_of(load, sock, capsys, *STORE, "--fill", "0", "--reads", "1")
    check(numbers)
    assert numbers["misses"] == 1200


@pytest.mark.parametrize("own", [0, 3])
def test_a_server_may_listen_on_a_port(own: int, capsys: pytest.CaptureFixture[str]) -> None:
    port = free_port()
    with redis(port):
        argv = ["--port", str(port), *COMMON, *STORE, "--per-connection", str(own)]
        code = resp_load.main(argv)
    shown = capsys.readouterr()
    assert (code, shown.err) == (0, "")
    numbers = {name: float(value) for name, value in (x.split("=") for x in shown.out.splitlines())}
    check(numbers)
    assert numbers["reconnects"] == 0 if own == 0 else 1320 / 3 - 8 <= numbers["reconnects"] <= 440


@pytest.mark.parametrize("own", [1, 7])
def test_connections_may_be_new_again_and_again(
    own: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with redis() as sock:
        numbers = numbers_of(resp_load, sock, capsys, *STORE, "--per-connection", str(own))
        said = asked(sock, b"INFO stats\r\n")
    check(numbers)
    made = int(re.search(r"total_connections_received:(\d+)", said)[1])  # type: ignore[index]
    # Beside them the one that fills, the test's own, and the look whether it listens.
    assert 1320 / own <= made <= 1320 / own + 8 + 5


def test_values_larger_than_a_sockets_buffer_go_both_ways(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with redis() as sock:
        code = resp_load.main(
            ["--unix", str(sock), "--rate", "100", "--requests", "60", "--keys", "5",
             "--value-size", "1M", "--reads", "0.5", "--late-after", "5000"]
        )  # fmt: skip
        shown = capsys.readouterr()
    assert (code, shown.err) == (0, "")
    assert "requests=60\nerrors=0\nmisses=0\n" in shown.out


def test_a_value_that_memcached_refuses_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with memcached() as sock:
        assert memcached_load.main(["--unix", str(sock), "--keys", "5", "--value-size", "2M"]) == 1
    assert "SERVER_ERROR object too large for cache" in capsys.readouterr().err


def test_nginx_serves_files_of_all_sizes(capsys: pytest.CaptureFixture[str]) -> None:
    with nginx() as sock:
        numbers = numbers_of(http_load, sock, capsys, "--path", "/{}.bin", "--files", "4")
    check(numbers)
    # It closes each connection after fifty requests, which is no error.
    assert numbers["reconnects"] >= 1320 / 50 - 8


def test_nginx_may_be_asked_over_new_connections(capsys: pytest.CaptureFixture[str]) -> None:
    with nginx() as sock:
        numbers = numbers_of(http_load, sock, capsys, "--path", "/nothing", "--per-connection", "1")
    check(numbers)
    assert numbers["reconnects"] == 1320 - 8


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/moved", "1320 of 1320 requests failed: the server answered 302 Moved Temporarily"),
        ("/down", "the server answered 503 Service Temporarily Unavailable (x1320)"),
        ("/none", "the server answered 404 Not Found"),
    ],
)
def test_anything_but_success_is_an_error(
    path: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with nginx() as sock:
        assert http_load.main(["--unix", str(sock), *COMMON, "--path", path]) == 1
    shown = capsys.readouterr()
    assert words in shown.err
    assert shown.out == ""


def test_the_wrong_server_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with redis() as sock:
        assert http_load.main(["--unix", str(sock), "--requests", "20"]) == 1
    assert "requests failed: " in capsys.readouterr().err

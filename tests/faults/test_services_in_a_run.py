"""A whole `ktune tune` beside a server of its own: whatever ends the run, the server is gone, the
knobs are back and the log is kept."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.commands import DONE, FIN, HOLD, Bench
from tests.faults.watched import Watched
from tests.measure.services.conftest import need
from tests.proxy.rig import Net, wait_until

SERVICE = [{"kind": "redis", "name": "srv", "port": 16390}]


@pytest.fixture
def served(net_bench: Bench) -> Iterator[Bench]:
    """A run with a Redis, and a state folder that a server can reach."""
    need("redis")
    state = Path(tempfile.mkdtemp(prefix="kt-"))
    state.chmod(0o711)
    net_bench.state = state
    net_bench.extra["services"] = SERVICE
    yield net_bench
    net_bench.close()
    shutil.rmtree(state)


def servers(bench: Bench) -> list[int]:
    """Its servers, by the socket in their command line."""
    found = subprocess.run(
        ["pgrep", "-f", "redis-server .*16390"], capture_output=True, text=True, check=False
    )
    return [int(line) for line in found.stdout.split() if _of(int(line), bench)]


def _of(pid: int, bench: Bench) -> bool:
    try:
        return str(bench.state) in os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        return False


def test_a_run_beside_a_server_finds_its_answer_and_keeps_the_log(served: Bench, net: Net) -> None:
    before = net.read(FIN)
    ended = served.tune()
    assert ended.code in DONE, ended.err
    assert net.read(FIN) == before
    assert servers(served) == []
    (log,) = served.state.glob("studies/*/services/srv.log")
    assert "Ready to accept connections" in log.read_text() or "ready to" in log.read_text()
    assert log.stat().st_mode & 0o777 == 0o600
    assert list((served.state / "services" / "run").iterdir()) == [
        *(served.state / "services" / "run").glob("srv-*.lock")
    ]


@pytest.mark.parametrize(
    "name", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.full)]
)
def test_a_run_that_is_ended_leaves_no_server_and_no_setting(
    served: Bench, net: Net, name: signal.Signals
) -> None:
    before = net.read(FIN)
    served.hook(HOLD)
    running = served.tune_until_hooked()
    (pid,) = servers(served)
    told = served.run("status").out
    assert "service srv of faults (redis " in told
    assert f"started by pid {running.pid}" in told
    running.signal(name)
    if name is signal.SIGTERM:
        assert running.end().code == 143
    wait_until(lambda: not servers(served))
    wait_until(lambda: net.read(FIN) == before)
    assert pid not in servers(served)
    if name is signal.SIGKILL:
        assert "ended with its run" in served.run("status").out
    served.hook("")
    assert served.tune().code in DONE  # what was left is no obstacle


def test_a_server_that_dies_in_every_window_ends_the_run_with_every_knob_back(
    served: Bench, net: Net
) -> None:
    before = net.read(FIN)
    served.hook(f"redis-cli -s {served.state}/services/run/srv-*/s/redis.sock shutdown; sleep 9")
    ended = served.tune()
    assert ended.code == 1
    assert "srv (redis) ended with exit code 0" in ended.err
    assert net.read(FIN) == before
    assert servers(served) == []


def test_a_server_of_another_version_is_refused_before_anything_is_made(served: Bench) -> None:
    served.extra["services"] = [{**SERVICE[0], "version": ">= 99"}]
    ended = served.tune()
    assert ended.code == 4
    assert "service srv: redis >= 99 is wanted, here is" in ended.err
    assert not list(served.state.glob("studies/*"))
    told = served.run("plan", str(served.profile))
    assert "redis >= 99 is wanted" in told.out
    assert "tune refuses (exit 4)" in told.out


def test_a_port_that_is_taken_is_named_and_nothing_is_written(served: Bench, net: Net) -> None:
    before = net.read(FIN)
    subprocess.run(
        ["nsenter", f"--net={net.ref.netns}", "ip", "link", "set", "lo", "up"], check=True
    )
    words = ["nsenter", f"--net={net.ref.netns}", "redis-server", "--port", "16390", "--save", ""]
    other = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    try:
        ping = ["nsenter", f"--net={net.ref.netns}", "redis-cli", "-p", "16390", "ping"]
        wait_until(lambda: subprocess.run(ping, capture_output=True).returncode == 0)
        ended = served.tune()
    finally:
        other.kill()
        other.wait()
    assert ended.code == 1
    assert "service srv (redis): port 16390 of 127.0.0.1 is taken by another program" in ended.err
    assert net.read(FIN) == before


def test_doctor_names_the_servers_that_are_here(served: Bench) -> None:
    found = {item["name"]: item for item in served.run("doctor", "--json").json}
    assert found["service: redis"]["answer"] == "works"
    assert "redis-server" in found["service: redis"]["detail"]
    assert {f"service: {kind}" for kind in ("postgresql", "nginx", "memcached")} <= set(found)


@pytest.mark.full
def test_a_watch_has_its_server_and_gives_it_up_for_a_run_that_asks(
    served: Bench, net: Net
) -> None:
    watched = Watched(served, net)
    running = watched.start("--interval", "100ms", "--probation-every", "200ms", "--quiet")
    wait_until(lambda: watched.pairs >= 1 or not running.alive, 60)
    assert running.alive, running.end().err
    assert len(servers(served)) == 1  # it stays up for the next pair
    ended = served.tune("--search-only")
    assert ended.code in DONE, ended.err
    pairs = watched.pairs
    wait_until(lambda: watched.pairs > pairs or not running.alive, 60)
    assert running.alive, running.end().err
    assert "ready to accept" in (served.state / "services" / "logs" / "srv.log").read_text().lower()
    running.signal(signal.SIGKILL)
    wait_until(lambda: not servers(served))

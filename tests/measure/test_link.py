"""The emulated long link on the real kernel, in namespaces of the tests' own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys

import pytest

from ktune.errors import KtuneError, RefusedError
from ktune.kernel.namespaces import NamespaceRef
from ktune.measure.link.link import LongLink
from ktune.measure.scope import EphemeralScope
from ktune.measure.specs import FlushTcpMetrics, LinkSpec, MetricSpec, WorkloadSpec
from ktune.measure.window import Validity
from tests.measure.helpers import ROOT, TRANSFER, all_gone, running, shell, transfer, window

LinkIn = tuple[EphemeralScope, LongLink]


def set_buffers(scope: EphemeralScope, largest: int) -> None:
    """Both buffers, from outside, as an administrator would."""
    for name in ("tcp_rmem", "tcp_wmem"):
        subprocess.run(
            [
                *("nsenter", f"--net={scope.ref.netns}"),
                *(
                    ["--preserve-credentials", f"--user={scope.ref.userns}"]
                    * bool(scope.ref.userns)
                ),
                *("sh", "-c", f"echo 4096 131072 {largest} > /proc/sys/net/ipv4/{name}"),
            ],
            check=True,
        )


def test_whole_transfers_go_both_ways(link: LinkIn) -> None:
    scope, _ = link
    result = window(transfer("16M", "24M"), scope=scope.ref)
    assert result.validity is Validity.VALID, result.reason
    assert result.metrics["bytes"] == 40 << 20
    assert result.metrics["up_mbit_per_s"] > 10
    assert result.metrics["down_mbit_per_s"] > 10


def test_windows_follow_each_other_with_fresh_sockets(link: LinkIn) -> None:
    scope, _ = link
    assert all(window(transfer("1M", "1M"), scope=scope.ref).valid for _ in range(3))


def remembered(scope: EphemeralScope) -> list[str]:
    """What TCP remembers of its peers there."""
    enter = ["nsenter", f"--net={scope.ref.netns}"]
    done = subprocess.run([*enter, "ip", "tcp_metrics"], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_what_tcp_remembers_is_flushed(root: None, link: LinkIn) -> None:
    if not shutil.which("ip"):
        pytest.skip("needs ip (Debian: iproute2)")
    scope, _ = link
    assert window(transfer("1M", "1M"), scope=scope.ref).valid
    assert remembered(scope)
    flush = shell("echo x=1", metrics=(MetricSpec("x"),), resets=(FlushTcpMetrics(),))
    assert window(flush, scope=scope.ref).valid
    assert not remembered(scope)


def test_each_connection_goes_to_an_address_that_is_new_to_tcp(root: None, link: LinkIn) -> None:
    if not shutil.which("ip"):
        pytest.skip("needs ip (Debian: iproute2)")
    scope, _ = link
    assert window(transfer("1M", "1M"), scope=scope.ref).valid
    assert window(transfer("1M", "1M"), scope=scope.ref).valid
    assert len({line.split()[0] for line in remembered(scope)}) >= 3


def test_a_client_that_dies_in_a_transfer_does_not_hurt_the_next(link: LinkIn) -> None:
    scope, _ = link
    cut = WorkloadSpec(("--up", "8G"), (MetricSpec("bytes"),), bundled=TRANSFER, timeout_s=0.3)
    assert window(cut, scope=scope.ref).validity is Validity.CANDIDATE_FAILED
    assert window(transfer("1M", "1M"), scope=scope.ref).valid


def test_larger_buffers_carry_more_over_a_long_way(tun: None) -> None:
    with EphemeralScope() as scope, LongLink(LinkSpec(rtt_s=0.03), scope.ref):
        rates = []
        for largest in (1 << 20, 32 << 20):
            set_buffers(scope, largest)
            result = window(transfer("24M", "24M"), scope=scope.ref)
            assert result.valid, result.reason
            rates.append(result.metrics)
    for way in ("up_mbit_per_s", "down_mbit_per_s"):
        assert rates[1][way] > 1.3 * rates[0][way]


def test_the_round_trip_time_is_there(tun: None) -> None:
    script = """python3 - <<'EOF' || exit 9
import socket, time
t = time.perf_counter()
s = socket.create_connection(("10.9.0.2", 5001), 5)
print("x=%f" % (1000 * (time.perf_counter() - t)))
EOF"""
    with EphemeralScope() as scope, LongLink(LinkSpec(rtt_s=0.05), scope.ref):
        metric = MetricSpec("x", plausible=(50, 5000))
        result = window(shell(script, metrics=(metric,)), scope=scope.ref)
    assert result.valid, result.reason


def test_a_rate_is_never_exceeded(tun: None) -> None:
    spec = LinkSpec(rtt_s=0.002, rate_bit_s=200e6, queue_bytes=1 << 20)
    with EphemeralScope() as scope, LongLink(spec, scope.ref):
        result = window(transfer("4M", "4M"), scope=scope.ref)
    assert result.valid, result.reason
    assert result.metrics["up_mbit_per_s"] < 200
    assert result.metrics["down_mbit_per_s"] < 200


def test_a_dead_link_voids_the_window(link: LinkIn) -> None:
    scope, long_link = link
    assert long_link.health() is None
    assert long_link.pid is not None
    os.kill(long_link.pid, signal.SIGKILL)
    all_gone([long_link.pid])
    result = window(transfer("1M", "1M"), scope=scope.ref, health=(long_link.health,))
    assert (result.validity, "link" in result.reason) == (Validity.VOID, True)


def test_a_link_without_its_scope_is_refused() -> None:
    with pytest.raises(RefusedError, match="could not enter the scope"):
        LongLink(LinkSpec(), NamespaceRef("/nonexistent/netns")).__enter__()


def test_without_the_tun_device_the_refusal_names_it() -> None:
    from ktune.measure.link.link import _check

    with pytest.raises(RefusedError, match="sudo make tune"):
        _check("refused make the TUN device of the scope\t13\tPermission denied")
    with pytest.raises(RefusedError, match="modprobe tun"):
        _check("refused make the TUN device of the scope\t2\tNo such file")
    with pytest.raises(KtuneError, match="died"):
        _check("")


TUNER = """
import os, sys; sys.path.insert(0, sys.argv[1])
from ktune.measure.link.link import LongLink
from ktune.measure.runner import CommandSource
from ktune.measure.scope import EphemeralScope
from ktune.measure.specs import LinkSpec, MetricSpec, WorkloadSpec
script = "setsid sleep 99 & echo $! > /proc/self/fd/2; sleep 99"
load = WorkloadSpec(("sh", "-c", script), (MetricSpec("x"),))
with EphemeralScope() as scope, LongLink(LinkSpec(), scope.ref) as link:
    with CommandSource(load, scope=scope.ref) as source:
        def poll():
            if source._spawner.pid and not done:
                done.append(print(scope.pid, link.pid, source._spawner.pid, flush=True))
        done = []
        source.run(poll)
"""


def children_of(pid: int) -> list[int]:
    found = [pid]
    for parent in found:
        done = subprocess.run(["pgrep", "-P", str(parent)], capture_output=True, text=True)
        found += [int(child) for child in done.stdout.split()]
    return found


def test_nothing_of_a_window_survives_a_killed_tuner(tun: None) -> None:
    process = subprocess.Popen([sys.executable, "-c", TUNER, str(ROOT)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    helpers = [int(word) for word in process.stdout.readline().split()]
    everyone: list[int] = []
    while len(everyone) < len(helpers) + 4:  # the server, the shell, two sleeps
        everyone = [pid for helper in helpers for pid in children_of(helper)]
    process.kill()
    process.communicate()
    assert all_gone(everyone), [pid for pid in everyone if running(pid)]

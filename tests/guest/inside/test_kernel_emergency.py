"""The kernel's emergency and a policy that was committed through the module: the kernel has let go
of it, so the watch brings the baseline back, at once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ktune.errors import ExitCode
from ktune.measure.guardrails.kernel_emergency import KernelEmergency
from ktune.measure.guardrails.watch import Guardrails, Wanted
from ktune.proxy.module import modes
from tests.faults.commands import FIN, RATE, Bench
from tests.faults.conftest import bench
from tests.faults.watched import POLICY, Watched
from tests.guest.inside.module_rig import needs_module
from tests.proxy.rig import HostNet, Paths, lease, wait_until

__all__ = ["bench"]
pytestmark = needs_module
LONG_LOOKS = (
    *("--interval", "1h", "--probation-every", "0s", "--holdback-every", "1h"),
    *("--proxy", "module", "--quiet"),
)
"""Whatever is seen before an hour is over was not found by a look."""


def write_mode(word: str) -> None:
    (modes.SYSFS / "mode").write_text(word)


@pytest.fixture
def watched(bench: Bench) -> Iterator[Watched]:
    bench.knobs = {"sysctl": {FIN: {"range": [70, 200]}, RATE: {"range": [1001, 1999]}}}
    net = HostNet()
    yield Watched(bench, net)
    if modes.shown("mode") == "emergency":
        write_mode("idle")
    net.close()


def test_it_is_a_guardrail_that_wakes() -> None:
    with Guardrails([Wanted(KernelEmergency())]) as rails:
        rails.start_window()
        assert rails.wait(0.0) is None
        write_mode("emergency")
        try:
            said = "the kernel module is in an emergency: asked for in sysfs"
            assert rails.wait(60.0) == said
            assert not rails.quiet()
        finally:
            write_mode("idle")
        assert rails.quiet()
        assert rails.wait(0.5) is None


def test_an_emergency_of_the_kernel_takes_a_watched_policy_back_at_once(watched: Watched) -> None:
    running = watched.start(*LONG_LOOKS)
    wait_until(lambda: "WatchStarted" in watched.events_so_far() or not running.alive, 60)
    assert running.alive, running.end().err
    write_mode("emergency")
    wait_until(lambda: watched.live == watched.baseline or not running.alive)
    ended = running.end()
    assert ended.code == ExitCode.ROLLED_BACK
    assert watched.live == watched.baseline
    # The other where it fell on a write of a pair.
    assert {"GuardrailCrossed", "LeaseFailed"} & set(watched.events())
    assert any(item["emergency"] for item in watched.status["lockouts"])


def test_what_nobody_watches_stays_and_status_says_so(watched: Watched) -> None:
    words = ("apply", str(watched.file), "--yes", "--proxy", "module")
    assert watched.bench.run(*words).code == ExitCode.OK
    write_mode("emergency")
    assert watched.live == POLICY
    shown = watched.bench.run("status").out
    assert "EMERGENCY of the kernel module: asked for in sysfs; it grants no lease; end it" in shown
    assert "policies that nobody watches stay in force; undo: ktune" in shown
    assert watched.status["kernel_emergency"] == "asked for in sysfs"
    assert watched.bench.run("rollback").code == ExitCode.OK
    assert watched.live == watched.baseline


def test_a_lease_that_is_refused_says_that_it_is_an_emergency(paths: Paths) -> None:
    write_mode("emergency")
    try:
        with (
            lease(paths, FIN) as held,
            pytest.raises(Exception, match="emergency: asked for in sysfs"),
        ):
            held.apply({FIN: 17}, deadline_s=60)
    finally:
        write_mode("idle")

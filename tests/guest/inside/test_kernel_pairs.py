"""`ktune tune --proxy module` on a service that runs: the kernel switches between the sides of the
proof's pairs, and no stall of ktune's can mix them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ktune.evidence.coin import Order, toss
from ktune.evidence.pairs import Arm
from ktune.proxy.journal import decode
from ktune.proxy.module import modes
from ktune.records.finalists import Finalists, fix_finalists
from ktune.records.paths import StatePaths
from ktune.records.study import Study, list_studies
from ktune.records.types import Phase, WindowRecord
from tests.cli.support import HOME, Cli
from tests.guest.inside.module_rig import FIN, live, needs_module, write
from tests.proxy.rig import wait_until

pytestmark = needs_module
BASELINE, BEST = 60, 100
LIMIT_S = 900.0
STALL_MOST_S = 3.4
"""A lease on a service lasts 5 s, and was renewed up to 1.25 s before."""
PROFILE = """
ktune: 1
kind: profile
name: scheduled
scope: host
workload:
  attach: {{pid: {pid}}}
  measure: {{for: 1s, every: 1s}}
  renews: [new_socket]
  metrics:
    speed:
      from: command
      command: [sed, "s/^/speed=/", /proc/sys/net/ipv4/tcp_fin_timeout]
      unit: 1/s
      plausible: [1, 1000]
knobs:
  sysctl:
    net.ipv4.tcp_fin_timeout: {{range: [55, 110]}}
objectives: [{{metric: speed, direction: maximize}}]
search: {{trials: 1, stop_after: 1, baseline_every: 1, sampler: random, seed: 11, simplify: false}}
promotion: {{pairs: {{min: 5, max: 12, after: 10}}}}
"""
"""The number of a window is the mean of what the knob said in it: a mixed one would show."""


@pytest.fixture(autouse=True)
def knob() -> Iterator[None]:
    before = live(FIN)
    write(FIN, str(BASELINE))
    yield
    write(FIN, str(before))


class Run:
    """`ktune tune` under way."""

    def __init__(self, cli: Cli, *words: object) -> None:
        self.process = subprocess.Popen(
            cli.argv("tune", *words, "--proxy", "module"),
            cwd=HOME,
            env=cli.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def until(self, condition: Callable[[], bool]) -> None:
        """Looked for seldom: the guest's processor is emulated, and the run needs it."""
        until_s = time.monotonic() + LIMIT_S
        while not condition():
            if self.process.poll() is not None or time.monotonic() > until_s:
                self.process.kill()
                raise AssertionError(self.process.communicate()[0])
            time.sleep(0.05)

    def end(self) -> str:
        """What it said, after it has ended."""
        return self.process.communicate(timeout=LIMIT_S)[0]


@pytest.fixture
def service() -> Iterator[int]:
    """The pid of what is attached to."""
    with subprocess.Popen(["sleep", "3600"]) as process:
        yield process.pid
        process.kill()


def slot() -> int:
    """Number of the kernel's window; -1 without a schedule."""
    return int(modes.shown("schedule/window"))


def study_of(cli: Cli) -> Study:
    (study,) = list_studies(StatePaths(cli.state, cli.state))
    assert isinstance(study, Study)
    return study


def of_pairs(study: Study) -> list[WindowRecord]:
    return [w for w in study.windows().records if w.phase in (Phase.DECISION, Phase.AFTER)]


def test_pairs_by_the_kernel_through_a_kill_and_a_stall(tmp_path: Path, service: int) -> None:
    cli, profile = Cli(tmp_path / "state"), tmp_path / "scheduled.yaml"
    profile.write_text(PROFILE.format(pid=service))
    searched = Run(cli, profile, "--search-only")
    said = searched.end()
    assert searched.process.returncode == 0, said
    study = study_of(cli)
    fix_finalists(study.folder, Finalists(({FIN: BEST},), "a test", (0.5,)))

    killed = Run(cli, "--resume", study.id)
    killed.until(lambda: modes.shown("schedule/arm") == "1" and live(FIN) == BEST)
    killed.process.kill()
    killed.process.wait()
    wait_until(lambda: live(FIN) == BASELINE)
    wait_until(lambda: (modes.shown("mode"), modes.shown("sessions")) == ("idle", "0"))
    status = json.loads(cli("status", "--json").out)
    assert not status["running"]
    assert not [item for item in status["journals"] if item["condition"] == "pending"]

    run = Run(cli, "--resume", study.id)
    run.until(lambda: slot() >= 2)
    shown = cli("status").out
    slot_s = scheduled_s(cli)
    stalls = slot_s < STALL_MOST_S
    if stalls:
        stall(run)
    out = run.end()

    assert run.process.returncode == 0, out
    assert "pairs are switched by the kernel" in out
    assert "switched by the kernel, by a schedule of" in shown
    study = study_of(cli)
    judge(study, stalled=stalls)
    report, policy = cli("report", study.id), tmp_path / "policy.yaml"
    assert "switched by kernel: " in report.out
    assert cli("freeze", study.id, "-o", policy).code == 0
    assert "by: kernel" in policy.read_text()
    assert (live(FIN), modes.shown("mode")) == (BASELINE, "idle")
    if not stalls:
        pytest.skip(f"this guest is too slow: a stall over a slot of {slot_s:.1f} s ends the lease")


def stall(run: Run) -> None:
    """ktune stands still from the middle of a window until after the next switch."""
    at = slot()
    run.until(lambda: slot() != at)
    time.sleep(0.5)
    os.kill(run.process.pid, signal.SIGSTOP)
    at = slot()
    run.until(lambda: slot() != at)
    os.kill(run.process.pid, signal.SIGCONT)


def scheduled_s(cli: Cli) -> float:
    """How long the slots of the latest schedule are, by the journal of the lease at work."""
    newest = max(StatePaths(cli.state, cli.state).journal.iterdir(), key=os.path.getmtime)
    records = [decode(line) for line in newest.read_bytes().splitlines()]
    return [float(r["window_s"]) for r in records if r and r["type"] == "schedule" and r["coins"]][
        -1
    ]


def judge(study: Study, *, stalled: bool) -> None:
    """No valid window holds a moment of the other side; the order is the coin's."""
    windows = of_pairs(study)
    valid = [window for window in windows if window.validity == "valid"]
    void = [window.reason for window in windows if window.validity == "void"]
    assert any("stood still" in reason for reason in void) or not stalled, void
    for window in valid:
        assert window.metrics["speed"] == window.assignment[FIN]
        assert window.stamp is not None
        assert window.stamp.before_s >= 0 and window.stamp.after_s >= 0
    for phase in (Phase.DECISION, Phase.AFTER):
        by_pair: dict[int, list[Arm]] = {}
        for window in windows:
            if window.phase is phase and window.pair is not None:
                by_pair.setdefault(window.pair, []).append(window.arm)
        for draw, arms in by_pair.items():
            first = toss(study.manifest.seed, phase.value, draw) is Order.CANDIDATE_FIRST
            assert arms[0] is (Arm.CANDIDATE if first else Arm.BASELINE)
    proof = study.proof()
    assert proof is not None and proof.switching is not None
    assert proof.pairs.void >= len(void)
    assert (proof.switching.by, proof.switching.why) == ("kernel", "")
    assert proof.switching.kernel_windows == len(valid)

"""`ktune tune --proxy module` on a service that runs: the kernel switches between the sides of the
proof's pairs, and no stall of ktune's can mix them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ktune.evidence.coin import Order, toss
from ktune.evidence.pairs import Arm
from ktune.proxy.module import modes
from ktune.proxy.recover import JournalCondition, inspect
from ktune.records.paths import StatePaths
from ktune.records.study import Study, list_studies
from ktune.records.types import Phase, WindowRecord
from tests.cli.support import HOME, Cli
from tests.guest.inside.module_rig import FIN, live, needs_module, write
from tests.proxy.rig import wait_until

pytestmark = needs_module
BASELINE = 60
PROFILE = """
ktune: 1
kind: profile
name: scheduled
scope: host
workload:
  attach: {{pid: {pid}}}
  measure: {{for: 1s, every: 250ms}}
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
search: {{trials: 3, stop_after: 3, baseline_every: 3, seed: 11, simplify: false}}
promotion: {{pairs: {{min: 5, max: 12, after: 10}}}}
"""
"""The number of a window is the mean of what the knob said in it: a mixed one would show."""


@pytest.fixture
def paths(tmp_path: Path) -> StatePaths:
    return StatePaths(tmp_path / "state", tmp_path / "run").ensure()


@pytest.fixture(autouse=True)
def knob() -> Iterator[None]:
    before = live(FIN)
    write(FIN, str(BASELINE))
    yield
    write(FIN, str(before))


@contextmanager
def tuning(tmp_path: Path) -> Iterator[tuple[Cli, subprocess.Popen[str]]]:
    """A run over a service, and the command line to ask about it."""
    cli = Cli(tmp_path / "state")
    with subprocess.Popen(["sleep", "3600"]) as service:
        profile = tmp_path / "scheduled.yaml"
        profile.write_text(PROFILE.format(pid=service.pid))
        run = subprocess.Popen(
            cli.argv("tune", profile, "--proxy", "module"),
            cwd=HOME,
            env=cli.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            yield cli, run
        finally:
            for process in (run, service):
                process.kill()
            run.wait()


def slot() -> int:
    """Number of the kernel's window; -1 without a schedule."""
    return int(modes.shown("schedule/window"))


def study_of(cli: Cli) -> Study:
    (study,) = list_studies(StatePaths(cli.state, cli.state))
    assert isinstance(study, Study)
    return study


def of_pairs(study: Study) -> list[WindowRecord]:
    return [w for w in study.windows().records if w.phase in (Phase.DECISION, Phase.AFTER)]


def test_a_stall_across_a_switch_voids_its_pair_and_mixes_nothing(tmp_path: Path) -> None:
    with tuning(tmp_path) as (cli, run):
        wait_until(lambda: slot() >= 2 or run.poll() is not None)
        said = cli("status")
        at = slot()
        wait_until(lambda: slot() != at)
        os.kill(run.pid, signal.SIGSTOP)
        at = slot()
        wait_until(lambda: slot() != at)
        time.sleep(0.2)
        os.kill(run.pid, signal.SIGCONT)
        out, _ = run.communicate(timeout=1200)
        study = study_of(cli)
        report, policy = cli("report", study.id), tmp_path / "policy.yaml"
        assert cli("freeze", study.id, "-o", policy).code == 0

    assert run.returncode == 0, out
    assert "pairs are switched by the kernel" in out
    assert "switched by the kernel, by a schedule of" in said.out
    windows = of_pairs(study)
    void = [w for w in windows if w.validity == "void"]
    assert any("stood still" in w.reason for w in void), [w.reason for w in void]
    for window in windows:
        if window.validity == "valid":
            assert window.metrics["speed"] == window.assignment[FIN]
            assert window.stamp is not None
            assert window.stamp.before_s >= 0 and window.stamp.after_s >= 0
    proof = study.proof()
    assert proof is not None and proof.switching is not None
    assert proof.pairs.void >= 1
    assert (proof.switching.by, proof.switching.why) == ("kernel", "")
    valid = [w for w in windows if w.validity == "valid"]
    assert proof.switching.kernel_windows == len(valid)
    assert proof.switching.worst_skew_s < 1.0
    for phase in (Phase.DECISION, Phase.AFTER):
        by_pair: dict[int, list[Arm]] = {}
        for window in windows:
            if window.phase is phase and window.pair is not None:
                by_pair.setdefault(window.pair, []).append(window.arm)
        for draw, arms in by_pair.items():
            first = toss(study.manifest.seed, phase.value, draw) is Order.CANDIDATE_FIRST
            assert arms[0] is (Arm.CANDIDATE if first else Arm.BASELINE)
    assert "switched by kernel" in report.out
    assert "by: kernel" in policy.read_text()
    assert (live(FIN), modes.shown("mode")) == (BASELINE, "idle")


def test_a_run_that_is_killed_under_a_schedule_leaves_the_baseline(tmp_path: Path) -> None:
    with tuning(tmp_path) as (cli, run):
        wait_until(lambda: modes.shown("schedule/arm") == "1" and live(FIN) != BASELINE)
        run.kill()
        run.wait()
        wait_until(lambda: live(FIN) == BASELINE)
        wait_until(lambda: modes.shown("mode") == "idle")
        wait_until(lambda: modes.shown("sessions") == "0")
        journals = StatePaths(cli.state, cli.state).journal.glob("*.journal")
        found = [inspect(path).condition for path in journals]
        assert JournalCondition.PENDING not in found
        status = json.loads(cli("status", "--json").out)
        assert not status["running"]

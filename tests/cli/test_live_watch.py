"""A policy watched on a service that runs: a level that breaks takes the policy back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ktune.records.paths import StatePaths
from tests.modes.test_live import SERVICE, live_profile
from tests.policy import support

from .support import HOME, Cli, Namespace

FIN = "net.ipv4.tcp_fin_timeout"


@pytest.mark.full
def test_a_level_that_breaks_under_a_watched_policy_rolls_it_back(
    cli: Cli, paths: StatePaths, netns: Namespace, tmp_path: Path
) -> None:
    study = support.study(paths, assignment={FIN: 30}, baseline={FIN: 60})
    policy, profile = tmp_path / "policy.yaml", tmp_path / "live.yaml"
    assert cli("freeze", study.id, "-o", policy, "--valid-days", 36500).code == 0
    subprocess.run(["nsenter", f"--net={netns.path}", "ip", "link", "set", "lo", "up"], check=True)
    service = subprocess.Popen(
        ["nsenter", f"--net={netns.path}", sys.executable, str(SERVICE)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert service.stdout is not None
    before = netns.read(FIN)
    try:
        port = int(service.stdout.readline())
        safety = "{slo: [{metric: setting, at_most: 50}]}"
        profile.write_text(live_profile(netns.path, service.pid, port, safety))
        watch = subprocess.Popen(
            cli.argv("watch", policy, "--yes", "--profile", profile, "--netns", netns.path),
            cwd=HOME,
            env=cli.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        until = time.monotonic() + 60
        while netns.read(FIN) != "30" and time.monotonic() < until and watch.poll() is None:
            time.sleep(0.1)
        os.kill(service.pid, signal.SIGUSR1)
        said, _ = watch.communicate(timeout=90)
    finally:
        service.kill()
        service.wait()

    assert watch.returncode == 8, said
    assert "service level: setting = 99 is above 50" in said
    assert netns.read(FIN) == before

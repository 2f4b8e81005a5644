"""`ktune calibrate` as people run it: a real workload, the real kernel, a namespace of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .support import Cli

FIN = "net.ipv4.tcp_fin_timeout"
PROFILE = f"""
ktune: 1
kind: profile
name: steady
scope: ephemeral
workload:
  command: [sh, -c, 'WORKLOAD']
  renews: [new_socket, new_process]
  metrics:
    speed: {{from: key_value, unit: 1/s, plausible: [0.001, 1000000]}}
knobs: {{sysctl: {{{FIN}: {{range: [10, 110]}}}}}}
baseline: {{{FIN}: 60}}
expert: [{{{FIN}: 30}}]
objectives: [{{metric: speed, direction: maximize}}]
"""
STEADY = "echo speed=$((900000 + $(od -An -N2 -tu2 /dev/urandom) / 4))"
NOISY = "echo speed=$((50000 + $(od -An -N2 -tu2 /dev/urandom)))"


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    return tmp_path / "steady.yaml"


def test_a_steady_workload_is_ready(cli: Cli, profile: Path) -> None:
    profile.write_text(PROFILE.replace("WORKLOAD", STEADY))
    done = cli("calibrate", profile, "--seed", 1)
    assert done.code == 0, done.err
    for words in ("sd of a pair", "carry-over", "does not fire", "pairs needed", "Ready."):
        assert words in done.out
    (folder,) = (cli.state / "calibrations").iterdir()
    assert json.loads((folder / "study.json").read_text())["status"] == "finished"
    assert len((folder / "windows.jsonl").read_text().splitlines()) == 40
    assert "nothing pending" in cli("status").out
    assert cli("studies", "list", "--json").json == []


def test_a_noisy_one_is_refused_with_what_would_help(cli: Cli, profile: Path) -> None:
    profile.write_text(PROFILE.replace("WORKLOAD", NOISY))
    done = cli("calibrate", profile, "--seed", 1, "--json", "--quiet")
    assert done.code == 4
    assert done.json["ready"] is False and done.json["exit_code"] == 4
    assert done.json["helps"] and done.json["gate"]["fired"] is False
    assert done.json["switched_to"] == {FIN: 30}

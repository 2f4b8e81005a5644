"""`tune --warm-start` as people run it: from a study, and from rows that were passed on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .support import Cli

FIN = "net.ipv4.tcp_fin_timeout"
PROFILE = f"""
ktune: 1
kind: profile
name: warm
scope: ephemeral
workload:
  command: [sh, -c, 'f=$(cat /proc/sys/net/ipv4/tcp_fin_timeout); echo speed=$((1000 + 5 * f))']
  renews: [new_socket, new_process]
  metrics:
    speed: {{from: key_value, unit: 1/s, plausible: [1, 1000000]}}
knobs:
  sysctl:
    {FIN}: {{range: [10, 110]}}
baseline: {{{FIN}: 60}}
objectives: [{{metric: speed, direction: maximize}}]
search: {{trials: 8, stop_after: 8, seed: 3}}
"""


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    path = tmp_path / "warm.yaml"
    path.write_text(PROFILE)
    return path


def tried(cli: Cli, study: str) -> list[dict[str, int]]:
    lines = (cli.state / "studies" / study / "windows.jsonl").read_text().splitlines()
    windows = [json.loads(line) for line in lines]
    return [w["assignment"] for w in windows if w["trial"] is not None]


def test_the_best_of_an_earlier_study_and_of_its_export_are_measured_first(
    cli: Cli, profile: Path, tmp_path: Path
) -> None:
    first = cli("tune", profile, "--search-only", "--json", "--quiet").json["study"]
    best = max(window[FIN] for window in tried(cli, first))
    rows = tmp_path / "rows.json"
    done = cli("studies", "export", first, "--rows", "-o", rows)
    assert done.code == 0 and "settings written to" in done.out
    assert json.loads(rows.read_text())["format"] == "ktune-rows-1"
    renamed = json.loads(rows.read_text())
    renamed["rows"].append({"assignment": {FIN: 5000, "kernel.panic": 9}, "score": 3.0})
    rows.write_text(json.dumps(renamed))
    done = cli(
        *("tune", profile, "--search-only", "--json", "--seed", 9, "--trials", 7),
        *("--warm-start", first, "--warm-start", rows),
    )
    assert done.code == 0, done.err
    assert f"warm start from study {first} (warm)" in done.err
    assert f"warm start from file {rows} (warm, from study {first}" in done.err
    assert "left out: kernel.panic; 1 outside today's limits" in done.err
    assert done.json["search"]["warm"][0]["assignment"] == {FIN: best}
    order = tried(cli, done.json["study"])
    assert order[0] == {FIN: 60}, "the baseline comes first"
    assert order[1] == {FIN: best}, "measured here again"
    assert "warm start" in cli("report", done.json["study"]).out


def test_a_profile_names_studies_and_never_files(cli: Cli, profile: Path) -> None:
    profile.write_text(PROFILE.replace("seed: 3", "seed: 3, warm_start: [/etc/passwd]"))
    done = cli("profile", "validate", profile)
    assert done.code == 2 and "warm_start" in done.err + done.out


def test_what_is_about_something_else_is_refused(cli: Cli, profile: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.json"
    goal = {"metric": "latency", "direction": "minimize"}
    rows.write_text(
        json.dumps({"format": "ktune-rows-1", "profile": "x", "objectives": [goal], "rows": []})
    )
    done = cli("tune", profile, "--warm-start", rows)
    assert done.code == 2
    assert "latency (minimize), this profile wants speed (maximize)" in done.err
    assert cli("tune", profile, "--warm-start", "20200101-000000-aa").code == 2
    assert cli("studies", "list", "--json").json == [], "refused before there is a study"

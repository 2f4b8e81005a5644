"""`tune --contexts` as people run it: interrupted, gone on with, shown, frozen."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ktune.policy.load import load_policy
from ktune.records.contexts import read_contexts
from ktune.records.paths import StatePaths
from ktune.records.study import Study
from tests.modes.contexts.world import frozen
from tests.modes.rig import FIN

SEND = "for i in {1..400}; do echo x > /dev/udp/127.0.0.1/9; done 2> /dev/null"
SPEED = (
    f"fin=$(< /proc/sys/{FIN.replace('.', '/')}); noise=$((RANDOM % 10)); "
    f'if [ "$MODE" = busy ]; then {SEND}; speed=$((1000 - 5 * fin)); '
    "else speed=$((100 + 5 * fin)); fi; echo speed=$((speed + noise))"
)
"""Busy wants a small value and sends packets; idle wants a large one."""
PROFILE = f"""
ktune: 1
kind: profile
name: day-and-night
scope: ephemeral
workload:
  command: [bash, -c, '{SPEED}']
  renews: [new_socket, new_process]
  metrics:
    speed: {{from: key_value, unit: 1/s, plausible: [0.001, 1000000]}}
  phases:
    busy: {{env: {{MODE: busy}}}}
    idle: {{env: {{MODE: idle}}}}
knobs: {{sysctl: {{{FIN}: {{range: [10, 110]}}}}}}
baseline: {{{FIN}: 60}}
expert: [{{{FIN}: 12}}, {{{FIN}: 108}}]
objectives: [{{metric: speed, direction: maximize}}]
search: {{trials: 6, stop_after: 6, baseline_every: 3, seed: 11}}
promotion: {{pairs: {{min: 5, max: 30, after: 10}}, finalists: 1}}
"""


def ktune(paths: StatePaths, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ktune", f"--state-dir={paths.state}", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def test_contexts_are_listed_reported_and_frozen(tmp_path: Path) -> None:
    made = frozen(tmp_path)
    listed = ktune(made.paths, "studies", "list").stdout
    assert "contexts: 2 settings, busy, idle" in listed
    assert "phase busy: throughput 6.1% better" in listed
    report = ktune(made.paths, "report", made.contexts.id).stdout
    assert "packets >= 1000?" in report
    assert "yes: busy" in report and "no: idle" in report
    assert f"{FIN}  60 -> 100" in report
    shown = json.loads(ktune(made.paths, "studies", "show", made.contexts.id, "--json").stdout)
    assert shown["contexts"]["tree"]["then"] == "busy"
    study = shown["contexts"]["studies"]["busy"]
    assert f"busy, of contexts {made.contexts.id}" in ktune(made.paths, "report", study).stdout
    file = tmp_path / "policy.yaml"
    done = ktune(made.paths, "freeze", made.contexts.id, "-o", str(file))
    assert done.returncode == 0 and f"watch {file}" in done.stdout
    refused = ktune(made.paths, "apply", str(file), "--netns", "/proc/self/ns/net", "--yes")
    assert refused.returncode == 4
    assert "adapts" in refused.stderr


@pytest.mark.parametrize("option", ["--pareto", "--search-only", "--keep-scope"])
def test_what_is_for_a_single_study_is_refused(tmp_path: Path, option: str) -> None:
    paths = StatePaths(tmp_path / "state", tmp_path / "run").ensure()
    done = ktune(paths, "tune", "two-phase-read", "--contexts", option)
    assert done.returncode == 2
    assert option in done.stderr


def test_a_plan_says_who_would_decide(tmp_path: Path) -> None:
    paths = StatePaths(tmp_path / "state", tmp_path / "run").ensure()
    assert "would be decided by: " in ktune(paths, "plan", "two-phase-read").stdout
    assert "would be decided by: " not in ktune(paths, "plan", "quickstart").stdout
    shown = json.loads(ktune(paths, "plan", "two-phase-read", "--json").stdout)
    assert shown["decided_by"].startswith(("kernel", "ktune watch ("))


def test_a_profile_without_phases_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    paths = StatePaths(tmp_path / "state", tmp_path / "run").ensure()
    done = ktune(paths, "tune", "quickstart", "--contexts")
    assert done.returncode == 4
    assert "no phases" in done.stderr
    assert not paths.contexts.exists()


@pytest.mark.full
@pytest.mark.timeout(300)
def test_an_interrupted_run_keeps_the_phase_that_is_done_and_ends_in_a_policy(
    tmp_path: Path,
) -> None:
    paths = StatePaths(tmp_path / "state", tmp_path / "run").ensure()
    profile = tmp_path / "day-and-night.yaml"
    profile.write_text(PROFILE)
    command = [sys.executable, "-m", "ktune", f"--state-dir={paths.state}"]
    process = subprocess.Popen(
        [*command, "tune", str(profile), "--contexts", "--quiet"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    try:
        while len(list(paths.studies.glob("*/study.json"))) < 2:
            assert process.poll() is None, process.stdout and process.stdout.read()
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)[0]
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130, said
    assert "go on with" in said
    (name,) = [path.name for path in paths.contexts.iterdir()]
    first = min(path.name for path in paths.studies.iterdir())
    proof = (paths.studies / first / "proof.json").read_bytes()

    again = ktune(paths, "tune", "--contexts", "--resume", name, "--quiet")

    assert again.returncode == 0, again.stdout + again.stderr
    assert (paths.studies / first / "proof.json").read_bytes() == proof
    record = read_contexts(Study.open(paths, name, under=paths.contexts).folder)
    assert record is not None and record.studies["busy"] == first
    values = {leaf.name: leaf.assignment[FIN] for leaf in record.leaves}
    assert values["busy"] < 60 < values["idle"]
    file = tmp_path / "policy.yaml"
    assert ktune(paths, "freeze", name, "-o", str(file)).returncode == 0
    document = load_policy(str(file)).document
    assert document.evidence.rule.alpha == 0.025, "the phases share the profile's alpha"
    assert document.contexts is not None and set(document.contexts.leaves) == {"busy", "idle"}

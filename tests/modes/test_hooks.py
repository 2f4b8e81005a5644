"""The administrator's programs hear of what a watch and a run do."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from ktune.measure.guardrails.source import Guardrail
from ktune.measure.guardrails.watch import Guardrails, Wanted
from ktune.modes.run import RunOptions, tune_profile
from ktune.modes.settings import Overrides
from ktune.records.paths import StatePaths
from tests.modes.test_watch import guilty, innocent
from tests.modes.watching import watching

SPEED = (
    "echo speed=$((9000 - 30 * $(cat /proc/sys/net/ipv4/tcp_fin_timeout)"
    " + $(od -An -N1 -tu1 /dev/urandom) / 8))"
)
PROFILE = f"""
ktune: 1
kind: profile
name: proven
scope: ephemeral
workload:
  command: [sh, -c, '{SPEED}']
  renews: [new_socket, new_process]
  metrics: {{speed: {{from: key_value, unit: 1/s, plausible: [0.001, 1000000]}}}}
knobs: {{sysctl: {{net.ipv4.tcp_fin_timeout: {{range: [10, 110]}}}}}}
baseline: {{net.ipv4.tcp_fin_timeout: 100}}
objectives: [{{metric: speed, direction: maximize}}]
search: {{trials: 6, stop_after: 6, simplify: false}}
"""


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a hook of every event writes what it hears."""
    heard = tmp_path / "told"
    script = json.dumps(f"cat >> {shlex.quote(str(heard))}")
    config = tmp_path / "config.yaml"
    config.write_text(
        "hooks:\n"
        + "".join(
            f"  {name}: [[/bin/sh, -c, {script}]]\n"
            for name in ("proven", "rolled_back", "emergency")
        )
    )
    config.chmod(0o600)
    monkeypatch.setenv("KTUNE_CONFIG", str(config))
    return heard


def events(told: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in told.read_text().splitlines()]


@pytest.mark.full
def test_a_rollback_of_a_watch_is_told(tmp_path: Path, told: Path) -> None:
    with watching(tmp_path, "{probation_pairs: 8}") as world:
        world.watch(world.source(guilty, noise=0.02))

    (event,) = events(told)
    assert event["event"] == "rolled_back"
    assert event["digest"].startswith("sha256:")
    assert "worse than at the baseline" in event["why"]


class Crossed(Guardrail):
    """Crossed from the beginning."""

    name = "crossed"

    def open(self) -> str:
        return ""

    def crossed(self, now_s: float) -> str | None:
        return "crossed on purpose"

    def close(self) -> None:
        """Nothing is held."""


def test_an_emergency_of_a_watch_is_told_after_the_restore(tmp_path: Path, told: Path) -> None:
    with watching(tmp_path, "{probation_pairs: 8}") as world:
        world.guardrails = Guardrails([Wanted(Crossed())])
        world.watch(world.source(innocent))

    assert [event["event"] for event in events(told)] == ["rolled_back", "emergency"]
    assert "crossed on purpose" in events(told)[1]["why"]


@pytest.mark.full
def test_a_proof_is_told_with_its_digest(tmp_path: Path, told: Path) -> None:
    (tmp_path / "proven.yaml").write_text(PROFILE)
    paths = StatePaths(tmp_path / "state", tmp_path / "run").ensure()

    result = tune_profile(
        str(tmp_path / "proven.yaml"),
        RunOptions(overrides=Overrides(seed=2)),
        paths,
        lambda _: None,
    )

    assert result.outcome == "improved"
    proof = result.study.proof()
    (event,) = events(told)
    assert proof is not None
    assert (event["event"], event["study"], event["digest"]) == (
        "proven",
        result.study.id,
        proof.digest,
    )

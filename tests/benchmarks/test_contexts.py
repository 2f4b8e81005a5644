"""The benchmark of adaptive policies: its tables, and a short real run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.contexts import BASELINE, Row, arms_of, table
from ktune.kernel.values import Value
from ktune.policy.freeze import FreezeOptions
from ktune.policy.freeze_contexts import freeze_contexts
from ktune.policy.load import load_policy, parse_policy
from ktune.profile.host import disk_of
from ktune.profile.load import load_profile
from ktune.profile.locate import profile_argument
from ktune.records.contexts import ContextsRecord, LeafRecord, write_contexts
from ktune.records.paths import StatePaths
from ktune.records.study import Study
from ktune.records.types import StudyManifest
from tests.benchmarks.test_benchmarks import rows
from tests.modes.contexts.world import BASELINE as SIXTY
from tests.modes.contexts.world import BUSY, IDLE, frozen
from tests.policy.support import here, proof

HOME = Path(__file__).resolve().parents[2]


def test_settings_that_are_the_same_are_one_arm(tmp_path: Path) -> None:
    policy = parse_policy(frozen(tmp_path, idle_is_baseline=True).text.encode(), path="p")
    arms = arms_of(policy, SIXTY)
    assert arms == {"adaptive": None, BASELINE: SIXTY, "busy alone": BUSY}
    assert set(arms_of(policy, IDLE)) == {"adaptive", BASELINE, "busy alone", "best single"}


def test_ratios_are_of_the_same_block_and_geometric() -> None:
    made = [
        Row(block, arm, "scan", {"random": pages * drift, "scan": moved * drift})
        for block, drift in enumerate((1.0, 2.0, 4.0))
        for arm, pages, moved in (("adaptive", 400, 4e6), ("baseline", 100, 4e6))
    ]
    (row,) = rows(table(made), "The adaptive policy against each, by block")
    assert row == ["baseline", "x4.00 [4.00, 4.00]", "x1.00 [1.00, 1.00]", "x2.00 [2.00, 2.00]"]


@pytest.mark.full
@pytest.mark.skipif(os.geteuid() != 0, reason="writes the disk's read_ahead_kb")
def test_a_short_run_prints_every_arm(tmp_path: Path) -> None:
    file, before = read_ahead_policy(tmp_path)
    command = [sys.executable, "-m", "benchmarks.contexts", "--state", tmp_path / "state"]
    more = ["--policy", file, "--single", json.dumps(before), "--blocks", "1", "--phase-s", "2"]
    done = subprocess.run(
        [str(word) for word in (*command, *more)],
        capture_output=True,
        text=True,
        cwd=HOME,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    arms = [row[0] for row in rows(done.stdout, "Work a second")]
    assert sorted(arms) == ["adaptive", "baseline", "random alone"]
    (key,) = before
    assert Path(key).read_text().strip() == str(before[key]), "everything is restored"


def read_ahead_policy(tmp_path: Path) -> tuple[Path, dict[str, Value]]:
    """Little read-ahead for the random phase, the host's own for the scan."""
    paths = StatePaths(tmp_path / "state", tmp_path / "run").ensure()
    key = f"/sys/block/{disk_of(str(tmp_path))}/queue/read_ahead_kb"
    before: dict[str, Value] = {key: int(Path(key).read_text())}
    profile = load_profile(profile_argument("two-phase-read"), state_dir=str(paths.state))
    manifest = StudyManifest(
        id="",
        profile_name=profile.name,
        created_at="",
        profile_text=json.dumps(profile.source.flattened),
        profile_digest=profile.digest,
        host=here(),
        baseline=before,
    )
    contexts = Study.create(paths, manifest, under=paths.contexts)
    study = Study.create(paths, manifest)
    study.write_proof(proof({key: 4}, before))
    leaves = (
        LeafRecord("random", ("random",), {key: 4}, study.id),
        LeafRecord("scan", ("scan",), before),
    )
    tree = {"when": "major_faults >= 60", "then": "random", "else": "scan"}
    write_contexts(contexts.folder, ContextsRecord({}, leaves, before, tree))
    file = tmp_path / "policy.yaml"
    file.write_text(freeze_contexts(contexts, paths, FreezeOptions(valid_days=36500)))
    assert load_policy(str(file)).document.contexts is not None
    return file, before

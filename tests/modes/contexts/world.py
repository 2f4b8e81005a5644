"""An adaptive policy as `tune --contexts` and `freeze` leave it, from studies that were written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ktune.kernel.values import Value
from ktune.policy.freeze import FreezeOptions
from ktune.policy.freeze_contexts import freeze_contexts
from ktune.profile.load import parse_profile
from ktune.records.contexts import ContextsRecord, LeafRecord, write_contexts
from ktune.records.paths import StatePaths
from ktune.records.study import Study
from ktune.records.types import StudyManifest
from tests.modes.rig import FIN, PROBES, PROFILE
from tests.policy.support import here, proof

BASELINE: Mapping[str, Value] = {FIN: 60, PROBES: 9}
BUSY: Mapping[str, Value] = {FIN: 30, PROBES: 9}
IDLE: Mapping[str, Value] = {FIN: 100, PROBES: 9}
TREE = {"when": "packets >= 1000", "then": "busy", "else": "idle"}
PHASES = "phases: {busy: {env: {MODE: busy}}, idle: {env: {MODE: idle}}}"
SWITCHING = "{sample: 1s, dwell: 10s, looks: 2, hysteresis: 10%}"
TEXT = (
    PROFILE.replace("  renews:", f"  {PHASES}\n  renews:")
    + f"contexts: {SWITCHING}\nwatch: {{probation_pairs: 8}}\n"
)


@dataclass(frozen=True)
class Frozen:
    """The record, and the policy's text."""

    paths: StatePaths
    contexts: Study
    text: str


def manifest(**more: object) -> StudyManifest:
    profile = parse_profile(TEXT.encode(), file="simulated.yaml")
    return StudyManifest(
        id="",
        profile_name="simulated",
        created_at="",
        profile_text=json.dumps(profile.source.flattened),
        profile_digest=profile.digest,
        scope="ephemeral",
        seed=7,
        host=here(),
        baseline=BASELINE,
        **more,  # type: ignore[arg-type]
    )


def frozen(tmp_path: Path, *, idle_is_baseline: bool = False) -> Frozen:
    paths = StatePaths(tmp_path / "state", tmp_path / "run").ensure()
    contexts = Study.create(paths, manifest(), under=paths.contexts)
    studies = {}
    for name, assignment in (("busy", BUSY), ("idle", IDLE)):
        study = Study.create(paths, manifest(options={"phase": name, "contexts": contexts.id}))
        study.write_proof(proof(assignment, BASELINE))
        studies[name] = study.id
    idle = (
        LeafRecord("idle", ("idle",), BASELINE)
        if idle_is_baseline
        else LeafRecord("idle", ("idle",), IDLE, studies["idle"])
    )
    record = ContextsRecord(
        studies=studies,
        leaves=(LeafRecord("busy", ("busy",), BUSY, studies["busy"]), idle),
        baseline=BASELINE,
        tree=TREE,
        errors={"busy": 0.0, "idle": 0.025},
        samples={"busy": 40, "idle": 40},
    )
    write_contexts(contexts.folder, record)
    options = FreezeOptions(valid_days=36500)
    return Frozen(paths, contexts, freeze_contexts(contexts, paths, options))

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


def manifest(
    text: str = TEXT,
    scope: str = "ephemeral",
    baseline: Mapping[str, Value] = BASELINE,
    **more: object,
) -> StudyManifest:
    profile = parse_profile(text.encode(), file="simulated.yaml")
    return StudyManifest(
        id="",
        profile_name="simulated",
        created_at="",
        profile_text=json.dumps(profile.source.flattened),
        profile_digest=profile.digest,
        scope=scope,
        seed=7,
        host=here(),
        baseline=baseline,
        **more,  # type: ignore[arg-type]
    )


def frozen(tmp_path: Path, *, idle_is_baseline: bool = False) -> Frozen:
    paths = StatePaths(tmp_path / "state", tmp_path / "run").ensure()
    return frozen_in(paths, idle_is_baseline=idle_is_baseline)


def frozen_in(
    paths: StatePaths,
    *,
    text: str = TEXT,
    scope: str = "ephemeral",
    tree: Mapping[str, object] = TREE,
    baseline: Mapping[str, Value] = BASELINE,
    busy: Mapping[str, Value] = BUSY,
    idle: Mapping[str, Value] = IDLE,
    idle_is_baseline: bool = False,
) -> Frozen:
    """By a profile's `text` with the phases busy and idle."""
    contexts = Study.create(paths, manifest(text, scope, baseline), under=paths.contexts)
    studies = {}
    for name, assignment in (("busy", busy), ("idle", idle)):
        options = {"phase": name, "contexts": contexts.id}
        study = Study.create(paths, manifest(text, scope, baseline, options=options))
        study.write_proof(proof(assignment, baseline))
        studies[name] = study.id
    idle_leaf = (
        LeafRecord("idle", ("idle",), baseline)
        if idle_is_baseline
        else LeafRecord("idle", ("idle",), idle, studies["idle"])
    )
    record = ContextsRecord(
        studies=studies,
        leaves=(LeafRecord("busy", ("busy",), busy, studies["busy"]), idle_leaf),
        baseline=baseline,
        tree=tree,
        errors={"busy": 0.0, "idle": 0.025},
        samples={"busy": 40, "idle": 40},
    )
    write_contexts(contexts.folder, record)
    options = FreezeOptions(valid_days=36500)
    return Frozen(paths, contexts, freeze_contexts(contexts, paths, options))

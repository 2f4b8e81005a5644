"""Turns what `tune --contexts` found into an adaptive policy file.

The same record always gives the same file, as for a single study (`policy.freeze`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ktune.errors import ExitCode, KtuneError
from ktune.kernel.wording import counted
from ktune.policy import digest, emit
from ktune.policy.freeze import (
    FreezeOptions,
    as_text,
    checked,
    evidence_of,
    policy_tree,
    proof_of,
)
from ktune.policy.terms import profile_of
from ktune.records.codec import RecordError
from ktune.records.contexts import ContextsRecord, LeafRecord, read_contexts
from ktune.records.gains import directions_of
from ktune.records.paths import StatePaths
from ktune.records.study import Study


def freeze_contexts(contexts: Study, paths: StatePaths, options: FreezeOptions) -> str:
    """The policy as YAML text. Raises as `freeze`."""
    record = read_contexts(contexts.folder)
    if record is None or record.tree is None:
        why = record.reason if record else "it is not complete"
        raise KtuneError(
            f"{contexts.id} made no adaptive policy: {why}",
            hint=f"`ktune report {contexts.id}` says what was found",
            exit_code=ExitCode.NO_IMPROVEMENT,
        )
    proven = [leaf for leaf in record.leaves if leaf.study]
    first = Study.open(paths, proven[0].study)
    tree = policy_tree(first, proof_of(first), paths, options)
    tree["contexts"] = {
        **_settings(contexts),
        "tree": record.tree,
        "leaves": {leaf.name: _leaf(leaf, record, paths) for leaf in record.leaves},
    }
    tree[digest.FIELD] = digest.digest_of(tree)
    checked(tree)
    return emit.document(
        tree,
        block=frozenset({"baseline", "assignment", "leaves"}),
        header=f"{first.manifest.profile_name}, adaptive: "
        f"{counted(len(record.leaves), 'assignment')}, learned in {contexts.id}.\n"
        "Put it in force with `ktune watch FILE`, which switches; when that "
        "ends, the baseline returns.",
    )


def _leaf(leaf: LeafRecord, record: ContextsRecord, paths: StatePaths) -> dict[str, Any]:
    found: dict[str, Any] = {
        "phases": list(leaf.phases),
        "assignment": {key: as_text(value) for key, value in leaf.assignment.items()},
    }
    if leaf.study:
        study = Study.open(paths, leaf.study)
        proof = proof_of(study)
        if dict(proof.assignment) != dict(leaf.assignment):
            raise RecordError(f"study {leaf.study} proved something else than leaf {leaf.name}")
        found |= {
            "study": leaf.study,
            "evidence": evidence_of(proof, directions_of(study.manifest)),
        }
    if leaf.name in record.errors:
        found["mistaken"] = f"{100 * record.errors[leaf.name]:.1f}%"
    return found


def _settings(contexts: Study) -> Mapping[str, Any]:
    """What the profile says itself; the rest are the defaults, written out for the reader."""
    defaults = {"sample": "2s", "dwell": "30s", "looks": 3, "hysteresis": "10%"}
    said = profile_of(contexts).get("contexts")
    return {**defaults, **(said if isinstance(said, dict) else {})}

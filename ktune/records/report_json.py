"""What a study found, as one document for programs: `ktune report --json`. Standard library only.

Stable: keys are added, never renamed or given another meaning, while `format` stays. Gains are
fractions better, worsenings fractions worse; `better` says which way the metric runs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ktune.evidence.pairs import Direction
from ktune.records.codec import encode
from ktune.records.contexts import read_contexts
from ktune.records.front import read_front
from ktune.records.gains import directions_of, gain_text, proven_text, uncertain
from ktune.records.readiness import read_readiness
from ktune.records.study import Study
from ktune.records.summary import search_document
from ktune.records.types import GainRecord, ObjectiveRecord, Phase, Proof, WindowRecord
from ktune.records.unfair import unfair_of

FORMAT = "ktune-report-1"


def report_document(study: Study) -> dict[str, Any]:
    """The report of a study, a calibration or contexts.

    Raises:
        RecordError: a record can't be read.
        KtuneError: the proof does not match its digests (exit 7).
    """
    manifest, log = study.manifest, study.windows()
    readiness, contexts = read_readiness(study.folder), read_contexts(study.folder)
    return {
        "format": FORMAT,
        "id": study.id,
        "kind": "calibration" if study.calibrates else "contexts" if study.adapts else "study",
        "profile": manifest.profile_name,
        "profile_digest": manifest.profile_digest,
        "status": study.status.value,
        "reason": manifest.reason,
        "began": manifest.created_at,
        "ended": manifest.ended_at or None,
        "scope": manifest.scope,
        "seed": manifest.seed,
        "sampler": manifest.sampler,
        "host": encode(manifest.host),
        "loops": encode(manifest.plan.get("loops") or {}),
        **_found(study),
        "front": _front(study),
        "windows": {phase.value: _windows(log.records, phase) for phase in Phase},
        "windows_torn": log.torn,
        "disturbed": unfair_of(log.records).to_json(),
        "search": search_document(study),
        "readiness": None if readiness is None else encode(readiness),
        "contexts": None if contexts is None else encode(contexts),
    }


def _found(study: Study) -> dict[str, Any]:
    proof, directions = study.proof(), directions_of(study.manifest)
    return {
        "outcome": None if proof is None else proof.outcome.value,
        "why": None if proof is None else proof.reason,
        "gain": None if proof is None or proof.gain is None else _gain(proof.gain, directions),
        "claimed_by_search": None if proof is None else proof.claimed_by_search,
        "objectives": []
        if proof is None
        else [_objective(i, directions) for i in proof.objectives],
        "constraints": [] if proof is None else encode(proof.constraints),
        "rule": None if proof is None else encode(proof.rule),
        "pairs": None if proof is None else encode(proof.pairs),
        "switching": None if proof is None else encode(proof.switching),
        "settings": [] if proof is None else _settings(proof),
        "others_wrote": {} if proof is None else encode(proof.others_wrote),
        "decided": None if proof is None else proof.decided_at or None,
        "proof_digest": None if proof is None else proof.digest,
    }


def _settings(proof: Proof) -> list[dict[str, Any]]:
    """Every knob that was searched; `changed` where the finalist differs from the baseline."""
    return [
        {
            "key": key,
            "baseline": encode(proof.baseline.get(key)),
            "value": encode(value),
            "changed": value != proof.baseline.get(key),
        }
        for key, value in proof.assignment.items()
    ]


def _gain(gain: GainRecord, directions: Mapping[str, Direction]) -> dict[str, Any]:
    direction = directions.get(gain.metric)
    text = proven_text(gain.metric, gain.estimate, gain.interval, gain.level, direction)
    said = {"better": _better(direction), "text": text}
    return {**encode(gain), **said, "uncertain": uncertain(gain.interval)}


def _objective(item: ObjectiveRecord, directions: Mapping[str, Direction]) -> dict[str, Any]:
    direction = directions.get(item.metric)
    text = gain_text(item.metric, item.estimate, item.interval, item.level, direction)
    return {**encode(item), "better": _better(direction), "text": text}


def _better(direction: Direction | None) -> str | None:
    if direction is None:
        return None
    return "higher" if direction is Direction.MAXIMIZE else "lower"


def _front(study: Study) -> dict[str, Any] | None:
    front = read_front(study.folder)
    if front is None:
        return None
    named = {name: _better(item) for name, item in directions_of(study.manifest).items()}
    return {**encode(front), "better": named}


def _windows(records: Sequence[WindowRecord], phase: Phase) -> dict[str, Any]:
    own = [record for record in records if record.phase is phase]
    return {
        "count": len(own),
        "duration_s": round(sum(record.duration_s for record in own), 3),
        "by_validity": dict(sorted(Counter(record.validity for record in own).items())),
    }

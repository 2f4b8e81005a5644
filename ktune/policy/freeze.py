"""Turns a proven study into a policy file. The same study always gives the same file.

Nothing is taken from the present: times come from the proof, facts from the study, so that the
policy says what was measured and not what is so today.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pydantic import ValidationError

from ktune.errors import ExitCode, KtuneError, UsageError
from ktune.evidence.pairs import Direction
from ktune.kernel.values import Value
from ktune.policy import digest, emit
from ktune.policy.model import PolicyDocument
from ktune.policy.terms import profile_of
from ktune.records import clock
from ktune.records.codec import RecordError
from ktune.records.gains import directions_of
from ktune.records.paths import StatePaths
from ktune.records.study import Study, list_studies
from ktune.records.types import (
    GainRecord,
    ObjectiveRecord,
    Proof,
    ProofOutcome,
    RuleRecord,
    StudyStatus,
)

VALID_DAYS = 180
"""Half a year: kernels and workloads move on; `tune` again is cheap."""
_GIB = 1 << 30
_LARGEST = 1e300
_WATCH: Mapping[str, object] = {
    "alpha": 0.01,
    "margin": "2%",
    "probation_pairs": 30,
    "false_rollback_every_pairs": 8760,
    "on_rollback": "baseline",
    "drift": "reapply",
}


@dataclass(frozen=True)
class FreezeOptions:
    """What the person who freezes may decide; empty: the default."""

    name: str = ""
    serial: int | None = None
    valid_days: int = VALID_DAYS
    fits_kernel: str = ""
    fits_mem: str = ""


def freeze(study: Study, paths: StatePaths, options: FreezeOptions | None = None) -> str:
    """The policy of `study` as YAML text.

    Raises:
        KtuneError: the study is not proven (exit 3), or its proof was tampered with (exit 7).
        UsageError: an option has a value that no policy may have.
        RecordError: the study lacks a fact that a policy must carry.
    """
    options = options or FreezeOptions()
    proof = proof_of(study)
    tree = policy_tree(study, proof, paths, options)
    tree[digest.FIELD] = digest.digest_of(tree)
    checked(tree)
    return emit.document(
        tree,
        block=frozenset({"baseline", "assignment"}),
        header=f"{study.manifest.profile_name}, proven in study {study.id}.\n"
        "Apply with `ktune apply FILE`, undo with `ktune rollback`.",
    )


def frozen_from(study: Study, proof: Proof, paths: StatePaths) -> PolicyDocument:
    """The document that `freeze` makes of a study where nobody asks for anything else."""
    tree = policy_tree(study, proof, paths, FreezeOptions())
    return checked({**tree, digest.FIELD: digest.digest_of(tree)})


def checked(tree: Mapping[str, Any]) -> PolicyDocument:
    """What we write must be what we accept; a name or a condition comes from the command line."""
    try:
        return PolicyDocument.model_validate(tree)
    except ValidationError as error:
        wrong = (f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise UsageError(
            f"no valid policy: {'; '.join(wrong)}", hint="see --name, --fits-kernel, --fits-mem"
        ) from None


def proof_of(study: Study) -> Proof:
    proof = study.proof()
    if proof is None or proof.outcome is not ProofOutcome.IMPROVED or proof.gain is None:
        found = {
            StudyStatus.NO_IMPROVEMENT: "no improvement found",
            StudyStatus.RUNNING: "still running",
        }.get(study.status, study.status.value)
        raise KtuneError(
            f"study {study.id} has no proof of an improvement ({found}): nothing to freeze",
            hint=f"`ktune report {study.id}` says what was found; "
            f"`ktune tune --resume {study.id}` goes on with an interrupted study",
            exit_code=ExitCode.NO_IMPROVEMENT,
        )
    return proof


def policy_tree(
    study: Study, proof: Proof, paths: StatePaths, options: FreezeOptions
) -> dict[str, Any]:
    manifest, host = study.manifest, study.manifest.host
    kernel, mem = _fact(study, "kernel", str), _fact(study, "mem", int)
    decided = clock.moment(proof.decided_at or manifest.ended_at or manifest.created_at)
    keys = sorted(proof.assignment, key=lambda key: (key.startswith("/"), key))
    if missing := [key for key in keys if key not in proof.baseline]:
        raise RecordError(f"study {study.id}: its proof has no baseline of {missing[0]}")
    return {
        "ktune": 1,
        "kind": "policy",
        "name": options.name or f"{manifest.profile_name}@{_host_name()}",
        "serial": options.serial or _serial(study, paths),
        "created": clock.stamp(decided),
        "not_after": clock.stamp(decided + timedelta(days=options.valid_days)),
        "scope": _scope(manifest.scope),
        "host": {
            "kernel": kernel,
            "arch": _fact(study, "arch", str),
            "cpus": _fact(study, "cpus", int),
            "mem": _size(mem),
            "virt": str(host.get("virt") or "unknown"),
        },
        "fits": {
            "kernel": options.fits_kernel or _same_series(kernel),
            "mem": options.fits_mem or f">= {_size(mem // 2)}",
        },
        "from": {
            "profile": manifest.profile_name,
            "profile_digest": manifest.profile_digest,
            "study": study.id,
            "seed": manifest.seed,
        },
        "baseline": {key: as_text(proof.baseline[key]) for key in keys},
        "assignment": {key: as_text(proof.assignment[key]) for key in keys},
        "evidence": evidence_of(proof, directions_of(manifest)),
        "watch": {**_WATCH, **_profiles_watch(study)},
        **({"approval": "required"} if _needs_approval(study) else {}),
        "guard": _said(study, "promotion").get("guard", "audit"),
    }


def evidence_of(proof: Proof, directions: Mapping[str, Direction]) -> dict[str, Any]:
    """`directions`: which way each objective is better, as far as the study says it."""
    assert proof.gain is not None
    evidence: dict[str, Any] = {
        "decision": "improved",
        "rule": _rule(proof.rule),
        "pairs": {
            "decision": proof.pairs.decision,
            "after": proof.pairs.after,
            "void": proof.pairs.void,
            "lost": proof.pairs.lost,
        },
        "gain": _gain(proof.gain, directions),
        "constraints": [
            {
                "metric": item.metric,
                "change": _share(item.change),
                "upper": _share(item.upper),
                "margin": _share(item.margin),
                "held": item.held,
            }
            for item in proof.constraints
        ],
    }
    if proof.switching is not None:
        evidence["switching"] = {
            "by": proof.switching.by,
            "kernel_windows": proof.switching.kernel_windows,
            "worst_skew_ms": _rounded(1000 * proof.switching.worst_skew_s),
        }
    if proof.objectives:
        evidence["objectives"] = [_objective(item, directions) for item in proof.objectives]
    if proof.others_wrote:
        evidence["others_wrote"] = {key: as_text(v) for key, v in proof.others_wrote.items()}
    if proof.claimed_by_search is not None:
        evidence["claimed_by_search"] = _share(proof.claimed_by_search)
    return evidence


def _rule(rule: RuleRecord) -> dict[str, Any]:
    return {
        "tests": list(rule.tests),
        "alpha": rule.alpha,
        "hypothesis": rule.hypothesis,
        "fired": rule.fired or "none",
        "e_value": _rounded(rule.e_value),
        "threshold": _rounded(rule.threshold),
    }


def _better(metric: str, directions: Mapping[str, Direction]) -> dict[str, str]:
    """Nothing for several metrics together."""
    direction = directions.get(metric)
    if direction is None:
        return {}
    return {"better": "higher" if direction is Direction.MAXIMIZE else "lower"}


def _gain(gain: GainRecord, directions: Mapping[str, Direction]) -> dict[str, Any]:
    return {
        "metric": gain.metric,
        **_better(gain.metric, directions),
        "estimate": _share(gain.estimate),
        "interval": [_share(gain.interval[0]), _share(gain.interval[1])],
        "level": f"{gain.level * 100:g}%",
        "from": "pairs after the decision",
    }


def _profiles_watch(study: Study) -> Mapping[str, Any]:
    """What the profile says itself; the rest are the defaults, written out for the reader."""
    return _said(study, "watch")


def _needs_approval(study: Study) -> bool:
    return _said(study, "promotion").get("approval") == "required"


def _said(study: Study, part: str) -> Mapping[str, Any]:
    """A part of the study's profile, as far as it says anything."""
    said = profile_of(study).get(part)
    return said if isinstance(said, dict) else {}


def _objective(item: ObjectiveRecord, directions: Mapping[str, Direction]) -> dict[str, Any]:
    return {
        "metric": item.metric,
        **_better(item.metric, directions),
        "estimate": _share(item.estimate),
        "interval": [_share(item.interval[0]), _share(item.interval[1])],
        "level": f"{item.level * 100:g}%",
        "worst": _share(item.worst),
        "margin": _share(item.margin),
        "held": item.held,
    }


def _fact(study: Study, name: str, kind: type[Any]) -> Any:
    value = study.manifest.host.get(name)
    if not isinstance(value, kind):
        raise RecordError(f"study {study.id} does not record the host's {name}")
    return value


def _scope(text: str) -> object:
    return {"netns": text.removeprefix("netns:")} if text.startswith("netns:") else text


def _serial(study: Study, paths: StatePaths) -> int:
    """How many proven studies of this profile there are up to this one: it only grows, and
    freezing twice gives the same number."""
    earlier = [
        other
        for other in list_studies(paths)
        if isinstance(other, Study)
        and other.id < study.id
        and other.manifest.profile_name == study.manifest.profile_name
        and other.manifest.status is StudyStatus.PROVEN
    ]
    return len(earlier) + 1


def _same_series(kernel: str) -> str:
    """The evidence holds for the series it was measured on; `--fits-kernel` says otherwise."""
    match = re.match(r"([0-9]+)\.([0-9]+)", kernel)
    if not match:
        return ">= 5.4"
    major, minor = int(match[1]), int(match[2])
    return f">= {major}.{minor}, < {major}.{minor + 1}"


def _host_name() -> str:
    word = re.sub(r"[^A-Za-z0-9._-]+", "-", os.uname().nodename)[:64].strip("-._")
    return word or "host"


def _size(count: int) -> str:
    """Memory as people say it: MemTotal is always a bit less than what is built in."""
    return f"{round(count / _GIB)}GiB" if count >= 2 * _GIB else f"{max(1, count >> 20)}MiB"


def as_text(value: Value) -> int | str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else value


def _share(share: float) -> str:
    """Three significant figures are more than any of these numbers is worth, but a small one
    must not read as zero."""
    percent = share * 100
    digits = 1 if abs(percent) >= 1 else 3
    text = f"{percent:.{digits}f}"
    return f"{text if float(text) else '0.0'}%"


def _rounded(number: float | None) -> float:
    if number is None:
        return 0.0
    return float(f"{min(number, _LARGEST):.4g}")

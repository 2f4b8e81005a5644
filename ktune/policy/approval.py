"""The step between proof and apply: a person approves exactly what was proven.

An approval is bound to the digest of a policy, or to that of a study's proof; the latter covers
every policy that sets just what the proof was about.
"""

from __future__ import annotations

from dataclasses import dataclass

from ktune.errors import ExitCode, KtuneError, UsageError
from ktune.kernel.values import Value
from ktune.policy.load import load_policy
from ktune.policy.model import PolicyDocument
from ktune.profile.configuration import configuration
from ktune.records import approvals
from ktune.records.approvals import Approval
from ktune.records.paths import StatePaths
from ktune.records.study import Study
from ktune.records.types import Proof, ProofOutcome


class NotApprovedError(KtuneError):
    """It waits for `ktune approve` (exit 7)."""

    exit_code = ExitCode.UNTRUSTED


@dataclass(frozen=True)
class Approvable:
    """What can be approved: a policy file, or the proof of a study."""

    name: str
    digest: str
    scope: str
    gain: str
    assignment: dict[str, str]


def find(argument: str, paths: StatePaths) -> Approvable:
    """A study by its id, else a policy file.

    Raises UsageError; KtuneError (exit 3) for a study without a proven improvement.
    """
    try:
        study = Study.open(paths, argument)
    except UsageError:
        return _of_policy(load_policy(argument).document)
    proof = study.proof()
    if proof is None or proof.outcome is not ProofOutcome.IMPROVED or proof.gain is None:
        raise KtuneError(
            f"study {study.id} has no proof of an improvement: nothing to approve",
            exit_code=ExitCode.NO_IMPROVEMENT,
        )
    assignment = {key: _text(value) for key, value in proof.assignment.items()}
    low, high = proof.gain.interval
    gain = f"{proof.gain.metric} {proof.gain.estimate:+.1%} [{low:+.1%}, {high:+.1%}]"
    return Approvable(study.id, proof.digest, study.manifest.scope, gain, assignment)


def refuse_unapproved(document: PolicyDocument, paths: StatePaths) -> None:
    """Raises NotApprovedError where policy or configuration want an approval and none is there."""
    required_by = _required_by(document)
    if required_by and approved(document, paths) is None:
        raise NotApprovedError(
            f"{document.name} serial {document.serial} is not approved, and {required_by} "
            "requires it",
            hint=f"look at it, then: {paths.command('approve', document.origin.study)} "
            "(or the policy's file)",
        )


def approved(document: PolicyDocument, paths: StatePaths) -> Approval | None:
    """The approval that covers a policy."""
    found = approvals.approval_of(paths, document.digest)
    if found is not None:
        return found
    proof = _proof_of(document, paths)
    return None if proof is None else approvals.approval_of(paths, proof.digest)


def _required_by(document: PolicyDocument) -> str:
    if document.approval == "required":
        return "its profile"
    return "this machine's configuration" if configuration().approval == "required" else ""


def _proof_of(document: PolicyDocument, paths: StatePaths) -> Proof | None:
    """The proof that a policy rests on, if it sets just what was proven and is still here.

    An adaptive policy rests on several: it is approved as a whole.
    """
    if document.contexts is not None:
        return None
    try:
        study = Study.open(paths, document.origin.study)
        proof = study.proof()
    except UsageError:
        return None
    if document.scope_text != study.manifest.scope:
        return None  # proven in a namespace of its own is not proven for the host
    if proof is None or proof.outcome is not ProofOutcome.IMPROVED:
        return None
    proven = {key: _text(value) for key, value in proof.assignment.items()}
    said = {key: str(value) for key, value in document.assignment.items()}
    return proof if proven == said else None


def _of_policy(document: PolicyDocument) -> Approvable:
    gain = document.evidence.gain
    low, high = gain.interval
    return Approvable(
        document.name,
        document.digest,
        document.scope_text,
        f"{gain.metric} {gain.estimate:+.1%} [{low:+.1%}, {high:+.1%}]",
        {key: str(value) for key, value in document.assignment.items()},
    )


def _text(value: Value) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)

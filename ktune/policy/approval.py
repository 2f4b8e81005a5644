"""The step between proof and apply: a person approves exactly what was proven.

An approval is bound to the digest of a policy, or to that of a study's proof, and to what will be
in force and how it is watched (`terms.py`): an approval of a study covers every policy of it that
says nothing else than the one that `freeze` makes of it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ktune.errors import ExitCode, KtuneError, UsageError
from ktune.policy.freeze import frozen_from, proof_of
from ktune.policy.load import load_policy
from ktune.policy.model import PolicyDocument
from ktune.policy.terms import differences, profile_of, terms_of
from ktune.profile.configuration import configuration
from ktune.records import approvals
from ktune.records.approvals import Approval
from ktune.records.paths import StatePaths
from ktune.records.study import Study
from ktune.records.types import Proof, ProofOutcome

_BEFORE_TERMS = "it was approved before approvals named how a policy is watched"


class NotApprovedError(KtuneError):
    """It waits for `ktune approve` (exit 7)."""

    exit_code = ExitCode.UNTRUSTED


@dataclass(frozen=True)
class Approvable:
    """What can be approved: a policy file, or the proof of a study with the policy that `freeze`
    makes of it. `terms`: what will be in force and how it is watched."""

    name: str
    digest: str
    scope: str
    gain: str
    assignment: dict[str, str]
    terms: dict[str, Any]


@dataclass(frozen=True)
class Standing:
    """Whether a policy is approved. `approval` is None where it is not; `differs` then says in what
    it is another than the one that was approved."""

    approval: Approval | None
    differs: tuple[str, ...] = ()


def find(argument: str, paths: StatePaths) -> Approvable:
    """A study by its id, else a policy file.

    Raises UsageError; KtuneError (exit 3) for a study without a proven improvement.
    """
    try:
        study = Study.open(paths, argument)
    except UsageError as error:
        if not os.path.exists(argument):
            raise UsageError(
                f"{argument!r} is neither a study nor the file of a policy", hint=error.hint
            ) from None
        document = load_policy(argument).document
        return _approvable(document.name, document.digest, document, paths)
    proof = proof_of(study)
    return _approvable(study.id, proof.digest, frozen_from(study, proof, paths), paths)


def refuse_unapproved(
    document: PolicyDocument, paths: StatePaths, profile: Mapping[str, Any] | None = None
) -> None:
    """Raises NotApprovedError where policy or configuration want an approval and none is there.

    `profile`: another profile than the study's, by which it is to be watched.
    """
    required_by = _required_by(document)
    if not required_by:
        return
    found = standing(document, paths, profile)
    if found.approval is None:
        other = f"; what was approved is another: {'; '.join(found.differs)}"
        raise NotApprovedError(
            f"{document.name} serial {document.serial} is not approved, and {required_by} "
            f"requires it{other if found.differs else ''}",
            hint=f"look at it, then: {paths.command('approve', 'POLICY')} (the policy's file)"
            if found.differs
            else f"look at it, then: {paths.command('approve', document.origin.study)} "
            "(or the policy's file)",
        )


def standing(
    document: PolicyDocument, paths: StatePaths, profile: Mapping[str, Any] | None = None
) -> Standing:
    """The approval that covers a policy: one of its own, else one of the study that proved it.

    Raises:
        KtuneError: the proof does not match its digests (exit 7).
        RecordError: a record can't be read.
    """
    terms = terms_of(document, _profile(document, paths) if profile is None else profile)
    candidates = [approvals.approval_of(paths, document.digest)]
    proof = _proof_of(document, paths)
    candidates += [] if proof is None else [approvals.approval_of(paths, proof.digest)]
    differs: tuple[str, ...] = ()
    for found in candidates:
        if found is None:
            continue
        differs = differences(found.terms, terms) if found.terms else (_BEFORE_TERMS,)
        if not differs:
            return Standing(found)
    return Standing(None, differs)


def _required_by(document: PolicyDocument) -> str:
    if document.approval == "required":
        return "its profile"
    return "this machine's configuration" if configuration().approval == "required" else ""


def _proof_of(document: PolicyDocument, paths: StatePaths) -> Proof | None:
    """The proof that a policy rests on, if it is still here.

    An adaptive policy rests on several: it is approved as a whole.
    """
    if document.contexts is not None:
        return None
    try:
        proof = Study.open(paths, document.origin.study).proof()
    except UsageError:
        return None
    return proof if proof is not None and proof.outcome is ProofOutcome.IMPROVED else None


def _profile(document: PolicyDocument, paths: StatePaths) -> Mapping[str, Any] | None:
    try:
        return profile_of(Study.open(paths, document.origin.study))
    except UsageError:
        return None


def _approvable(name: str, digest: str, document: PolicyDocument, paths: StatePaths) -> Approvable:
    return Approvable(
        name,
        digest,
        document.scope_text,
        document.evidence.gain.text,
        {key: str(value) for key, value in document.assignment.items()},
        terms_of(document, _profile(document, paths)),
    )

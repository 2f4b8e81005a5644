"""Reads a policy file that nobody vouches for: bounded, strict, every error with its place.

Any bytes give a `LoadedPolicy` or an error for people; a digest that does not belong to the
content is exit 7. Limits, positions and error texts are those of profiles.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ktune.errors import ExitCode, KtuneError
from ktune.policy import digest
from ktune.policy.model import PolicyDocument
from ktune.profile.errors import Mark, Problem, ProfileError, shown
from ktune.profile.load import read_bytes
from ktune.profile.translate import validate
from ktune.profile.yaml12 import Node, load_yaml


@dataclass(frozen=True)
class LoadedPolicy:
    """A policy whose form and digest are in order; whether it may be applied is another check."""

    document: PolicyDocument
    root: Node
    """The parsed file, for positions."""
    path: str

    def mark(self, *keys: str) -> Mark:
        """Where a key (or what leads to it) stands in the file."""
        node = self.root.locate(keys)
        return node.key_mark or node.mark


def load_policy(path: str) -> LoadedPolicy:
    """Read and check a policy file.

    Raises:
        UsageError: it can't be read, or is not a policy (ProfileError with positions).
        KtuneError: its digest does not match (exit 7).
    """
    return parse_policy(read_bytes(Path(path)), path=path)


def parse_policy(data: bytes, *, path: str) -> LoadedPolicy:
    """The policy in `data`; `path` names it in errors. Raises like `load_policy`."""
    root = load_yaml(data, file=path)
    _check_kind(root)
    document = validate(PolicyDocument, root)
    policy = LoadedPolicy(document, root, path)
    odd = sorted(set(document.baseline) ^ set(document.assignment))
    if odd:
        raise ProfileError.at(
            policy.mark("assignment", odd[0]),
            f"{shown(odd[0])} must stand in `baseline` and in `assignment`, it is in one of them",
        )
    problems = list(_leaf_problems(policy))
    if problems:
        raise ProfileError(problems)
    tree = root.plain()
    if not isinstance(tree, Mapping) or not digest.matches(tree):
        raise KtuneError(
            f"{policy.mark('digest')}: the digest does not belong to this content: "
            "the policy was changed after it was frozen",
            hint="freeze it again from its study, or ask its author for the original",
            exit_code=ExitCode.UNTRUSTED,
        )
    return policy


def _leaf_problems(policy: LoadedPolicy) -> Iterator[Problem]:
    """Leaves set the policy's knobs; one without proof is the baseline."""
    document = policy.document
    if document.contexts is None:
        return
    for name, leaf in document.contexts.leaves.items():
        where = policy.mark("contexts", "leaves", name, "assignment")
        if odd := sorted(set(leaf.assignment) ^ set(document.assignment)):
            yield Problem(
                where, f"leaf {name}: {shown(odd[0])} must stand in every leaf and in `assignment`"
            )
        elif leaf.evidence is None and leaf.assignment != document.baseline:
            yield Problem(where, f"leaf {name} has no evidence: only the baseline needs none")
        elif name == document.contexts.first and leaf.assignment != document.assignment:
            yield Problem(where, f"leaf {name} is the first with evidence: it is `assignment`")


def _check_kind(root: Node) -> None:
    kind = root.mapping.get("kind")
    if isinstance(root.value, Mapping) and kind is not None and kind.value == "profile":
        raise ProfileError.at(
            kind.mark,
            "this is a profile, not a policy",
            hint="`ktune plan` and `ktune tune` take profiles; `ktune freeze` makes policies",
        )

"""The frozen policy as a document: what a policy file may say, field by field.

Strict on purpose: a policy is applied with privileges, and it may come from somewhere else.
Percentages are fractions here (`6.1%` is 0.061), times stay text and are checked for their form.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, Strict, WithJsonSchema, model_validator

from ktune.policy.fields import Digest, Settings, Share, ShortText, Time
from ktune.policy.proof import PolicyEvidence
from ktune.policy.tree import MAX_LEAVES, Tree, TreeError, leaves, parse_tree
from ktune.profile.contexts import ContextSettings
from ktune.profile.fields import Model, Name, Size, SizeExpression, VersionExpression, Whole, wrong
from ktune.profile.model import Scope
from ktune.profile.watching import WatchSettings

POLICY_NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}(@[A-Za-z0-9][A-Za-z0-9._-]{0,63})?$"


class PolicyHost(Model):
    """The machine on which the policy was proven."""

    kernel: ShortText = Field(
        description="Kernel release as uname(2) tells it.", examples=["6.1.0-28-amd64"]
    )
    arch: ShortText = Field(
        description="Machine type; must be the host's own.", examples=["x86_64"]
    )
    cpus: Annotated[int, Strict(), Field(ge=1, le=2**20)] = Field(
        description="Online CPUs.", examples=[8]
    )
    mem: Size = Field(description="Memory (MemTotal, rounded).", examples=["32GiB"])
    virt: ShortText = Field(description="Virtualisation, or none.", examples=["kvm"])


class PolicyFits(Model):
    """Machines on which it may be applied."""

    kernel: VersionExpression = Field(
        description="Kernel versions: comparisons joined by commas.", examples=[">= 6.1, < 6.13"]
    )
    mem: SizeExpression = Field(
        description="Memory of the machine (MemTotal; a minimum is forgiven 5 %).",
        examples=[">= 16GiB"],
    )


class PolicyOrigin(Model):
    """Where it comes from."""

    profile: Name = Field(description="Name of the profile.", examples=["postgresql-oltp"])
    profile_digest: Annotated[str, Strict(), Field(max_length=80)] = Field(
        description="Digest of the profile as it was run.", examples=["sha256:1f3a..."]
    )
    study: Name = Field(description="The study that proved it.", examples=["20261121-101500-7c"])
    seed: Whole = Field(description="Seed of the study's random choices.", examples=[7])


_TREE_SCHEMA = {
    "anyOf": [
        {"type": "string"},
        {
            "type": "object",
            "required": ["when", "then", "else"],
            "properties": {"when": {"type": "string", "pattern": "^[a-z_]+ >= [0-9]{1,12}$"}},
        },
    ]
}


def _tree(value: object) -> object:
    try:
        parse_tree(value)
    except TreeError as error:
        raise wrong(str(error), at=error.path) from None
    return value


class PolicyLeaf(Model):
    """One assignment, and why anybody should believe it in its context."""

    phases: tuple[Name, ...] = Field(
        min_length=1,
        max_length=MAX_LEAVES,
        description="The phases of the workload that it is for.",
        examples=[["scan"]],
    )
    assignment: Settings = Field(
        description="Values that it sets; the same knobs in every leaf.",
        examples=[{"vm.dirty_background_ratio": 4}],
    )
    study: Name | None = Field(
        default=None,
        description="The study that proved it; none where it is the baseline's.",
        examples=["20261121-101500-7c"],
    )
    evidence: PolicyEvidence | None = Field(
        default=None, description="The proof, in this context; none where it is the baseline's."
    )
    mistaken: Share | None = Field(
        default=None,
        description="Windows of this context that the tree took for another's, held out when it "
        "was grown.",
        examples=["2.5%"],
    )

    @model_validator(mode="after")
    def _proven_or_not(self) -> PolicyLeaf:
        if (self.study is None) != (self.evidence is None):
            raise wrong("study and evidence belong together")
        return self


class PolicyContexts(ContextSettings):
    """When which assignment is in force."""

    tree: Annotated[Any, AfterValidator(_tree), WithJsonSchema(_TREE_SCHEMA)] = Field(
        description="Which leaf: its name, or a question with two answers, at most three deep.",
        examples=[{"when": "major_faults >= 700", "then": "random", "else": "scan"}],
    )
    leaves: dict[Name, PolicyLeaf] = Field(
        min_length=2, max_length=MAX_LEAVES, description="The assignments, by name."
    )

    @property
    def parsed_tree(self) -> Tree:
        """`tree`, parsed."""
        return parse_tree(self.tree)

    @property
    def first(self) -> str:
        """The first leaf with a proof; the policy's own assignment is its."""
        return next(name for name, leaf in self.leaves.items() if leaf.evidence is not None)

    @model_validator(mode="after")
    def _consistent(self) -> PolicyContexts:
        named = set(leaves(self.parsed_tree))
        if unknown := sorted(named - set(self.leaves)):
            raise wrong(f"there is no leaf {unknown[0]!r}", at=("tree",))
        if unused := sorted(set(self.leaves) - named):
            raise wrong("the tree never leads here", at=("leaves", unused[0]), key=True)
        if all(leaf.evidence is None for leaf in self.leaves.values()):
            raise wrong("no leaf has evidence: nothing here is proven", at=("leaves",))
        return self


class PolicyDocument(Model):
    """A frozen policy: settings that were proven better, and the proof."""

    ktune: Literal[1] = Field(description="Version of the file format.", examples=[1])
    kind: Literal["policy"] = Field(description="What this file is.", examples=["policy"])
    name: Annotated[str, Strict(), Field(pattern=POLICY_NAME_PATTERN)] = Field(
        description="PROFILE@WHERE.", examples=["postgresql-oltp@db-canary"]
    )
    serial: Annotated[int, Strict(), Field(ge=1, le=2**31)] = Field(
        description="Grows with each policy of this name.", examples=[3]
    )
    created: Time = Field(
        description="When the proof was complete.", examples=["2026-11-21T10:15:00Z"]
    )
    not_after: Time = Field(
        description="From then on it is refused as too old.", examples=["2027-05-21T00:00:00Z"]
    )
    scope: Scope = Field(
        description="Where it applies: the host, a namespace that `apply --netns` names "
        "(ephemeral), or a namespace by path.",
        examples=["host", "ephemeral", {"netns": "/run/netns/lab"}],
    )
    host: PolicyHost = Field(description="The machine on which it was proven.")
    fits: PolicyFits = Field(description="Machines on which it may be applied.")
    origin: PolicyOrigin = Field(alias="from", description="Where it comes from.")
    baseline: Settings = Field(
        description="Values that it was proven against, by knob.",
        examples=[{"vm.dirty_background_ratio": 10}],
    )
    assignment: Settings = Field(
        description="Values that it sets, by knob; the same knobs as in `baseline`.",
        examples=[{"vm.dirty_background_ratio": 4}],
    )
    evidence: PolicyEvidence = Field(description="Why anybody should believe it.")
    watch: WatchSettings = Field(
        default_factory=WatchSettings, description="How `ktune watch` looks after it."
    )
    approval: Literal["required", "none"] = Field(
        default="none",
        description="Whether it needs `ktune approve` before it is applied.",
        examples=["required"],
    )
    contexts: PolicyContexts | None = Field(
        default=None,
        description="Of an adaptive policy: the assignments and when which is in force; its own "
        "`assignment` is that of the first leaf with evidence.",
    )
    guard: Literal["audit", "enforce"] = Field(
        default="audit",
        description="Whether other writers of its knobs are reported or refused.",
        examples=["audit"],
    )
    digest: Digest = Field(
        description="sha256 of everything else in canonical form.",
        examples=["sha256:" + "9b2c" * 16],
    )

    @property
    def scope_text(self) -> str:
        """`host`, `ephemeral` or `netns:PATH`, as studies and the history write it."""
        return self.scope if isinstance(self.scope, str) else f"netns:{self.scope.netns}"

"""The frozen policy as a document: what a policy file may say, field by field.

Strict on purpose: a policy is applied with privileges, and it may come from somewhere else.
Percentages are fractions here (`6.1%` is 0.061), times stay text and are checked for their form.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    Strict,
    WithJsonSchema,
    model_validator,
)

from ktune.evidence.pairs import Direction
from ktune.policy.tree import MAX_LEAVES, Tree, TreeError, leaves, parse_tree
from ktune.profile import units
from ktune.profile.contexts import ContextSettings
from ktune.profile.fields import (
    Flag,
    Model,
    Name,
    Number,
    Size,
    SizeExpression,
    VersionExpression,
    Whole,
    wrong,
)
from ktune.profile.model import Scope
from ktune.profile.watching import WatchSettings
from ktune.records import clock
from ktune.records.gains import gain_text

DIGEST_PATTERN = r"^sha256:[0-9a-f]{64}$"
POLICY_NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}(@[A-Za-z0-9][A-Za-z0-9._-]{0,63})?$"
_PERCENT_PATTERN = r"^[-+]?[0-9]+(\.[0-9]+)?\s*%$"
MAX_KNOBS = 512


def _percent(value: object) -> float:
    if not isinstance(value, str):
        raise wrong("expected a percentage such as 6.1%")
    try:
        return units.percent(value)
    except ValueError as error:
        raise wrong(str(error)) from None


def _time(value: str) -> str:
    try:
        clock.moment(value)
    except ValueError:
        raise wrong('expected a time with its zone, such as "2026-11-21T10:15:00Z"') from None
    return value


def _knob_value(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise wrong("expected an integer or a text (quote words like true; vectors are texts)")
    return value


Share = Annotated[
    float,
    BeforeValidator(_percent),
    WithJsonSchema({"type": "string", "pattern": _PERCENT_PATTERN}),
]
"""A signed fraction, written as a percentage."""

Time = Annotated[str, Strict(), Field(max_length=40), AfterValidator(_time)]
Digest = Annotated[str, Strict(), Field(pattern=DIGEST_PATTERN)]
Key = Annotated[str, Strict(), Field(min_length=1, max_length=255)]
KnobValue = Annotated[
    int | str,
    BeforeValidator(_knob_value),
    WithJsonSchema({"type": ["integer", "string"]}),
]
"""An integer or a text; a vector is a text such as `4096 131072 6291456`."""
Settings = Annotated[dict[Key, KnobValue], Field(min_length=1, max_length=MAX_KNOBS)]
ShortText = Annotated[str, Strict(), Field(max_length=200)]
Count = Annotated[int, Strict(), Field(ge=0, le=10**9)]


Better = Literal["higher", "lower"]


def _direction(better: Better | None) -> Direction | None:
    if better is None:
        return None
    return Direction.MAXIMIZE if better == "higher" else Direction.MINIMIZE


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


class PolicyRule(Model):
    """The decision rule, and what it saw when it fired."""

    tests: tuple[ShortText, ...] = Field(
        description="Anytime-valid tests that could fire.", examples=[["symmetric-e"]]
    )
    alpha: Annotated[Number, Field(gt=0, lt=1)] = Field(
        description="Chance of promoting a policy that is no better, in total.", examples=[0.05]
    )
    hypothesis: ShortText = Field(description="What had to be refuted.", examples=["gain <= 0"])
    fired: ShortText = Field(description="The test that refuted it.", examples=["symmetric-e"])
    e_value: Number = Field(description="Its evidence when it fired.", examples=[57.2])
    threshold: Number = Field(description="The evidence it needed.", examples=[40])


class PolicyPairs(Model):
    """Pairs (one window each of baseline and candidate, order by coin) behind the evidence."""

    decision: Count = Field(description="Pairs up to the decision.", examples=[14])
    after: Count = Field(description="Pairs after it: the gain comes from these.", examples=[10])
    void: Count = Field(description="Disturbed from outside and redrawn.", examples=[1])
    lost: Count = Field(description="Counted against the candidate.", examples=[0])


class PolicySwitching(Model):
    """Who switched between the two sides of the pairs."""

    by: Literal["kernel", "ktune", "kernel and ktune"] = Field(
        description="The kernel by a schedule of its own module, or ktune from user space.",
        examples=["kernel"],
    )
    kernel_windows: Count = Field(
        default=0, description="Windows that the kernel's stamps cover.", examples=[52]
    )
    worst_skew_ms: Number = Field(
        default=0,
        description="By how much the kernel held the two sides of one pair for different times.",
        examples=[3.9],
    )


class PolicyGain(Model):
    """The gain that may be quoted, from pairs measured after the decision."""

    @property
    def text(self) -> str:
        """For people: which way it went, and whether that is better."""
        return gain_text(
            self.metric, self.estimate, self.interval, self.level, _direction(self.better)
        )

    metric: Annotated[str, Strict(), Field(max_length=2100)] = Field(
        description="What improved: the objective, or all of them (by weight).",
        examples=["tps", "tps+p99"],
    )
    better: Better | None = Field(
        default=None,
        description="Which way the metric is better; not given for several.",
        examples=["higher"],
    )
    estimate: Share = Field(
        description="Improvement over the baseline: above 0 is better, whichever way that is.",
        examples=["6.1%"],
    )
    interval: tuple[Share, Share] = Field(
        description="Confidence interval of the estimate.", examples=[["4.0%", "8.3%"]]
    )
    level: Share = Field(description="Level of the interval.", examples=["95%"])
    source: ShortText = Field(
        alias="from",
        description="Which pairs it comes from.",
        examples=["pairs after the decision"],
    )


class PolicyObjective(Model):
    """One of several objectives by itself; `gain` is then the one on all of them by weight."""

    @property
    def text(self) -> str:
        """For people: which way it went, and whether that is better."""
        return gain_text(
            self.metric, self.estimate, self.interval, self.level, _direction(self.better)
        )

    metric: Name = Field(description="The objective.", examples=["p99"])
    better: Better | None = Field(
        default=None, description="Which way it is better.", examples=["lower"]
    )
    estimate: Share = Field(description="Improvement over the baseline.", examples=["1.1%"])
    interval: tuple[Share, Share] = Field(
        description="Confidence interval of the estimate.", examples=[["-0.4%", "2.6%"]]
    )
    level: Share = Field(description="Level of the interval.", examples=["95%"])
    worst: Share = Field(
        description="Upper confidence limit of a worsening (negative: better).", examples=["0.2%"]
    )
    margin: Share = Field(description="Worsening that was allowed.", examples=["2%"])
    held: Flag = Field(description="Whether `worst` stayed within `margin`.", examples=[True])


class PolicyConstraint(Model):
    """A non-inferiority constraint and how it was held."""

    metric: Name = Field(description="The metric that must not get worse.", examples=["p99"])
    change: Share = Field(description="Measured worsening (negative: better).", examples=["-1.2%"])
    upper: Share = Field(description="Upper confidence limit of the worsening.", examples=["2.9%"])
    margin: Share = Field(description="Worsening that was allowed.", examples=["5%"])
    held: Flag = Field(description="Whether `upper` stayed within `margin`.", examples=[True])


class PolicyEvidence(Model):
    """Why anybody should believe it."""

    decision: Literal["improved"] = Field(
        description="Only proven improvements become policies.", examples=["improved"]
    )
    rule: PolicyRule = Field(description="The decision rule.")
    pairs: PolicyPairs = Field(description="How much was measured.")
    switching: PolicySwitching | None = Field(
        default=None, description="Who switched between the sides of the pairs."
    )
    gain: PolicyGain = Field(description="The gain that may be quoted.")
    objectives: tuple[PolicyObjective, ...] = Field(
        default=(), max_length=32, description="Each of several objectives by itself."
    )
    constraints: tuple[PolicyConstraint, ...] = Field(
        default=(), max_length=32, description="Constraints of the profile."
    )
    others_wrote: Settings = Field(
        default_factory=dict,
        description="Knobs that somebody else changed during the run, with the values then in "
        "force: the proof holds beside these.",
        examples=[{"vm.swappiness": 10}],
    )
    claimed_by_search: Share | None = Field(
        default=None,
        description="What the search alone would have reported: picked as the best of many.",
        examples=["9.8%"],
    )


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

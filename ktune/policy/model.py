"""The frozen policy as a document: what a policy file may say, field by field.

Strict on purpose: a policy is applied with privileges, and it may come from somewhere else.
Percentages are fractions here (`6.1%` is 0.061), times stay text and are checked for their form.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, Strict, WithJsonSchema

from ktune.profile import units
from ktune.profile.fields import (
    AbsolutePath,
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
from ktune.records import clock

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


class NetnsScope(Model):
    """A network namespace that has a name."""

    netns: AbsolutePath


class PolicyHost(Model):
    """The machine on which the policy was proven."""

    kernel: ShortText
    arch: ShortText
    cpus: Annotated[int, Strict(), Field(ge=1, le=2**20)]
    mem: Size
    virt: ShortText


class PolicyFits(Model):
    """Machines on which it may be applied."""

    kernel: VersionExpression
    mem: SizeExpression


class PolicyOrigin(Model):
    """Where it comes from."""

    profile: Name
    profile_digest: Annotated[str, Strict(), Field(max_length=80)]
    study: Name
    seed: Whole


class PolicyRule(Model):
    """The decision rule, and what it saw when it fired."""

    tests: tuple[ShortText, ...]
    alpha: Annotated[Number, Field(gt=0, lt=1)]
    hypothesis: ShortText
    fired: ShortText
    e_value: Number
    threshold: Number


class PolicyPairs(Model):
    """Pairs behind the evidence."""

    decision: Count
    after: Count
    void: Count
    lost: Count


class PolicyGain(Model):
    """The gain that may be quoted, from pairs measured after the decision."""

    metric: Name
    estimate: Share
    interval: tuple[Share, Share]
    level: Share
    source: Annotated[ShortText, Field(alias="from")]


class PolicyConstraint(Model):
    """A non-inferiority constraint and how it was held."""

    metric: Name
    change: Share
    upper: Share
    margin: Share
    held: Flag


class PolicyEvidence(Model):
    """Why anybody should believe it."""

    decision: Literal["improved"]
    rule: PolicyRule
    pairs: PolicyPairs
    gain: PolicyGain
    constraints: tuple[PolicyConstraint, ...] = ()
    claimed_by_search: Share | None = None


class PolicyWatch(Model):
    """How `ktune watch` is to look after it."""

    alpha: Annotated[Number, Field(gt=0, lt=1)] = 0.01
    margin: Share = 0.02
    probation_pairs: Annotated[int, Strict(), Field(ge=1, le=10**6)] = 30
    false_rollback_every_pairs: Annotated[int, Strict(), Field(ge=1, le=10**9)] = 8760
    on_rollback: Literal["baseline", "relearn"] = "baseline"
    drift: Literal["reapply", "keep"] = "reapply"


class PolicyDocument(Model):
    """One policy file."""

    ktune: Literal[1]
    kind: Literal["policy"]
    name: Annotated[str, Strict(), Field(pattern=POLICY_NAME_PATTERN)]
    serial: Annotated[int, Strict(), Field(ge=1, le=2**31)]
    created: Time
    not_after: Time
    scope: Literal["host", "ephemeral"] | NetnsScope
    host: PolicyHost
    fits: PolicyFits
    origin: Annotated[PolicyOrigin, Field(alias="from")]
    baseline: Settings
    assignment: Settings
    evidence: PolicyEvidence
    watch: PolicyWatch = PolicyWatch()
    guard: Literal["audit", "enforce"] = "audit"
    digest: Digest

    @property
    def scope_text(self) -> str:
        """`host`, `ephemeral` or `netns:PATH`, as studies and the history write it."""
        return self.scope if isinstance(self.scope, str) else f"netns:{self.scope.netns}"

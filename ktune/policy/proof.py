"""The proof in a policy file: the rule that fired, the pairs behind it, the gain to be quoted."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Strict

from ktune.evidence.pairs import Direction
from ktune.policy.fields import Count, Settings, Share, ShortText
from ktune.profile.fields import Flag, Model, Name, Number
from ktune.records.gains import gain_text, proven_text

Better = Literal["higher", "lower"]


def _direction(better: Better | None) -> Direction | None:
    if better is None:
        return None
    return Direction.MAXIMIZE if better == "higher" else Direction.MINIMIZE


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
        return proven_text(
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

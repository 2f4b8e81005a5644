"""Model of what is wanted (objectives, constraints, guardrails) and how it is looked for."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, Strict, WithJsonSchema, model_validator

from ktune.evidence.decide import fewest_pairs
from ktune.evidence.pairs import Direction
from ktune.kernel.wording import counted
from ktune.profile.change_windows import ChangeWindow, TimeZone
from ktune.profile.fields import Duration, Flag, Model, Name, Number, Percent, Whole, wrong
from ktune.profile.safety import DeviceGuard, HealthGuard, KernelGuard, OomGuard, PressureGuard
from ktune.profile.slo import ServiceLevel


class Objective(Model):
    """A metric to improve."""

    metric: Name = Field(description="A metric of the workload.", examples=["tps"])
    direction: Direction = Field(description="Which way is better.", examples=["maximize"])
    weight: Number = Field(
        default=1.0,
        gt=0,
        description="Weight among several objectives (of their log ratios to the baseline).",
        examples=[1],
    )
    worse_by_at_most: Percent | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Among several objectives: the candidate must be shown not to be worse in this "
        "one by so much, in percent of the baseline's value; where not given, the mei.",
        examples=["2%"],
    )


class Constraint(Model):
    """What a candidate must satisfy to be feasible."""

    metric: Name = Field(description="A metric of the workload.", examples=["p99"])
    direction: Direction | None = Field(
        default=None,
        description="Which way the metric gets better, for worse_by_at_most; where not given, "
        "the objective's, else by the unit (times: minimize; per second: maximize).",
        examples=["minimize"],
    )
    worse_by_at_most: Percent | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Non-inferiority margin, in percent of the baseline's value.",
        examples=["5%"],
    )
    at_most: Number | None = Field(
        default=None, description="Largest value allowed, in the metric's unit.", examples=[50]
    )
    at_least: Number | None = Field(
        default=None, description="Smallest value allowed, in the metric's unit.", examples=[1000]
    )

    @model_validator(mode="after")
    def _says_something(self) -> Constraint:
        if self.worse_by_at_most is None and self.at_most is None and self.at_least is None:
            raise wrong("give one of worse_by_at_most, at_most, at_least")
        if self.direction is not None and self.worse_by_at_most is None:
            raise wrong("direction is for worse_by_at_most only", at=("direction",))
        return self


class Safety(Model):
    """Guardrails: crossed = restored at once."""

    psi: tuple[PressureGuard, ...] = Field(
        default=(),
        description="Pressure limits.",
        examples=[[{"resource": "memory", "line": "full", "avg10_above": "20%", "for": "4s"}]],
    )
    oom_kills: OomGuard | None = Field(
        default_factory=lambda: OomGuard(optional=True),
        description="Limit of OOM kills; null switches it off.",
        examples=[{"above": 0, "of": "machine"}],
    )
    kernel_warnings: KernelGuard | None = Field(
        default_factory=lambda: KernelGuard(optional=True),
        description="Trouble that the kernel reports; null switches it off.",
        examples=[{"of": ["oops", "bug", "lockup"]}],
    )
    device_errors: DeviceGuard | None = Field(
        default=None,
        description="Error counters of devices and file systems; off unless given.",
        examples=[{"of": ["disk", "filesystem"], "devices": ["sd*"]}],
    )
    disk_health: HealthGuard | None = Field(
        default=None,
        description="What disks say about themselves (SMART, NVMe); off unless given.",
        examples=[{"every": "10m"}],
    )
    slo: tuple[ServiceLevel, ...] = Field(
        default=(),
        max_length=32,
        description="Levels of an attached service's metrics, watched during each window.",
        examples=[[{"metric": "p99", "at_most": 50, "for": "2s"}]],
    )
    regret: Percent | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Regret budget: the search stops when candidates have cost so much of the "
        "work that the baseline would have done over the whole search.",
        examples=["2%"],
    )
    change_windows: tuple[ChangeWindow, ...] = Field(
        default=(),
        max_length=32,
        description="When tuning is allowed; always where none is given.",
        examples=[["Mon-Fri 02:00-05:00"]],
    )
    time_zone: TimeZone | None = Field(
        default=None,
        description="Time zone of the change windows; the machine's own where not given.",
        examples=["Europe/Berlin"],
    )
    max_trips: Whole = Field(
        default=3,
        ge=1,
        description="So many guardrails crossed while learning or collaborating: emergency.",
        examples=[3],
    )


class Sampler(StrEnum):
    """How the search proposes candidates (Optuna's samplers)."""

    TPE = "tpe"
    GP = "gp"
    CMAES = "cmaes"
    RANDOM = "random"
    QMC = "qmc"


class SpaceShape(StrEnum):
    """In what the sampler searches."""

    FULL = "full"
    PROJECTED = "projected"


class Pruning(StrEnum):
    """Whether measuring something again may be cut short."""

    NONE = "none"
    WILCOXON = "wilcoxon"


StudyId = Annotated[str, Strict(), Field(pattern=r"^[0-9]{8}-[0-9]{6}-[0-9a-f]{2,8}$")]


def _share_or_off(value: object) -> object:
    return "100%" if value == "off" else value


TrustShare = Annotated[
    Percent,
    BeforeValidator(_share_or_off),
    Field(gt=0, le=1),
    WithJsonSchema({"type": "string", "pattern": r"^(off|[0-9]+(\.[0-9]+)?\s*%)$"}),
]
"""A share of a range; 1 for `off`: no candidate lies further away than the whole range."""


class SearchSettings(Model):
    """How long and how to search."""

    sampler: Sampler = Field(default=Sampler.TPE, description="Optuna's sampler.", examples=["tpe"])
    trials: Whole = Field(
        default=40, ge=1, le=100_000, description="At most so many candidates.", examples=[40]
    )
    time: Duration = Field(default=1800.0, gt=0, description="At most so long.", examples=["30m"])
    stop_after: Whole = Field(
        default=15,
        ge=1,
        description="Stop after so many trials without a re-measured improvement.",
        examples=[15],
    )
    baseline_every: Whole = Field(
        default=5,
        ge=1,
        description="Measure the baseline again after so many trials (drift cancels).",
        examples=[5],
    )
    windows: Whole | None = Field(
        default=None,
        le=100_000,
        description="At most so many windows for search and proof together (a calibration before "
        "them comes on top): what the proof of the best candidate will probably take is kept back, "
        "all others search. Default: no such limit.",
        examples=[80],
    )
    simplify: Flag = Field(
        default=True,
        description="Before the proof, put each changed knob of a finalist back that makes no "
        "difference of the mei: fewer changes, at the cost of some four windows a knob.",
        examples=[True],
    )
    trust_region: TrustShare | None = Field(
        default=None,
        description="How far a candidate may lie from the last known good setting, in percent of "
        "each knob's range; words change one at a time. `off` for none. Default: 20% for an "
        "attached service, off for a command.",
        examples=["20%", "off"],
    )
    seed: Whole | None = Field(
        default=None,
        ge=0,
        le=2**32 - 1,
        description="Seed of everything random; drawn and recorded where not given.",
        examples=[7],
    )
    space: SpaceShape = Field(
        default=SpaceShape.FULL,
        description="full: one dimension a knob. projected: a few random directions through all "
        "knobs, for some 20 knobs and more of which few matter (gains nothing with tpe).",
        examples=["projected"],
    )
    dimensions: Whole = Field(
        default=8,
        ge=1,
        le=64,
        description="Number of directions of a projected space.",
        examples=[8],
    )
    screening: Flag = Field(
        default=True,
        description="From 24 measured settings on, hold knobs without a visible effect at the "
        "baseline for the rest of the search, and say so (4 knobs and more; not when projected).",
        examples=[True],
    )
    pruning: Pruning = Field(
        default=Pruning.NONE,
        description="wilcoxon: what is measured again and falls behind the best is not measured "
        "any further. Saves windows of the search, decides nothing else; needs scipy.",
        examples=["wilcoxon"],
    )
    warm_start: tuple[StudyId, ...] = Field(
        default=(),
        max_length=16,
        description="Earlier studies of this machine whose best settings are measured first (files "
        "of rows only on the command line: a profile reads no files).",
        examples=[["20261121-101500-7c"]],
    )


_MOST_PAIRS = 1000


class Pairs(Model):
    """How many pairs of windows (baseline, candidate) a decision may take."""

    min: Whole = Field(
        default=5, ge=2, le=_MOST_PAIRS, description="No decision before so many.", examples=[5]
    )
    max: Whole = Field(
        default=30,
        ge=2,
        le=_MOST_PAIRS,
        description="Not proven after so many: no improvement found.",
        examples=[30],
    )
    after: Whole = Field(
        default=10,
        ge=10,
        le=_MOST_PAIRS,
        description="Further pairs after the decision that give the reported gain: at least 10.",
        examples=[10],
    )

    @model_validator(mode="after")
    def _ordered(self) -> Pairs:
        if self.min > self.max:
            raise wrong(f"min ({self.min}) is above max ({self.max})", at=("min",))
        return self


class Promotion(Model):
    """The proof that a candidate must pass, on fresh measurements."""

    alpha: Number = Field(
        default=0.05,
        gt=0,
        lt=0.5,
        description="Chance of promoting something that is no gain (one-sided, in total).",
        examples=[0.05],
    )
    mei: Percent = Field(
        default=0.02,
        ge=0,
        lt=1,
        description="Minimum effect of interest, in percent of the baseline's value: smaller "
        "gains are not worth a change.",
        examples=["2%"],
    )
    against: Literal["zero", "mei"] = Field(
        default="zero",
        description="What must be shown: a gain above zero, or above the mei.",
        examples=["zero"],
    )
    pairs: Pairs = Field(
        default_factory=Pairs,
        description="How many pairs of windows.",
        examples=[{"min": 5, "max": 30, "after": 10}],
    )
    guard: Literal["audit", "enforce"] = Field(
        default="audit",
        description="What a policy in force does about others who write its sysctls: audit reports "
        "them; enforce refuses them (EPERM) any value but the policy's own and the one that was "
        "there before it. Needs BPF on the host.",
        examples=["audit"],
    )
    approval: Literal["required", "none"] = Field(
        default="none",
        description="Whether a policy of it needs `ktune approve` before `ktune apply`.",
        examples=["required"],
    )
    finalists: Whole = Field(
        default=1,
        ge=1,
        le=10,
        description="How many candidates of the search may try.",
        examples=[1],
    )

    @model_validator(mode="after")
    def _can_prove(self) -> Promotion:
        level = self.alpha / self.finalists
        if fewest_pairs(level, self.pairs.max) is None:
            shared = f" shared by {self.finalists} finalists" if self.finalists > 1 else ""
            needed = fewest_pairs(level, _MOST_PAIRS)
            raise wrong(
                f"{counted(self.pairs.max, 'pair')} can prove nothing at alpha "
                f"{self.alpha:g}{shared}: "
                + (f"at least {needed}" if needed else f"more than {_MOST_PAIRS}")
                + " are needed",
                at=("pairs", "max"),
            )
        return self

"""Model of how a policy is looked after once it is in force; part of profiles and of policies."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Strict

from ktune.profile.fields import Duration, Model, Name, Number, Percent


class LoadBand(Model):
    """Which pairs may be compared with which: those under a similar load."""

    metric: Name = Field(
        description="A metric of the workload that says how much is asked of it.", examples=["rps"]
    )
    factor: Annotated[Number, Field(gt=1, le=1000)] = Field(
        default=2.5,
        description="Pairs whose load is off by more than this factor belong to another test, "
        "which goes on when its load returns.",
        examples=[2.5],
    )


class WatchSettings(Model):
    """How `ktune watch` looks after a policy."""

    alpha: Annotated[Number, Field(gt=0, lt=0.5)] = Field(
        default=0.01,
        description="Chance that a probation rolls back a policy that does no harm, in total.",
        examples=[0.01],
    )
    margin: Annotated[Percent, Field(ge=0, lt=1)] = Field(
        default=0.02,
        description="Worsening of an objective that is not worth a rollback; constraints have "
        "margins of their own.",
        examples=["2%"],
    )
    probation_pairs: Annotated[int, Strict(), Field(ge=1, le=10**6)] = Field(
        default=30, description="Pairs until the policy counts as settled.", examples=[30]
    )
    false_rollback_every_pairs: Annotated[int, Strict(), Field(ge=2, le=10**9)] = Field(
        default=8760,
        description="Mean number of pairs between rollbacks of a policy that does no harm.",
        examples=[8760],
    )
    interval: Annotated[Duration, Field(ge=0.1, le=3600)] = Field(
        default=10.0, description="Guardrails are looked at so often.", examples=["10s"]
    )
    probation_every: Annotated[Duration, Field(ge=0)] = Field(
        default=60.0, description="Time from pair to pair on probation.", examples=["1m"]
    )
    holdback_every: Annotated[Duration, Field(ge=0)] = Field(
        default=3600.0, description="Time from pair to pair once settled.", examples=["1h"]
    )
    load: LoadBand | None = Field(
        default=None,
        description="Compare only under a similar load.",
        examples=[{"metric": "rps", "factor": 2.5}],
    )
    on_rollback: Literal["baseline", "relearn"] = Field(
        default="baseline", description="What follows a rollback.", examples=["baseline"]
    )
    on_missing: Literal["alert", "rollback"] = Field(
        default="alert",
        description="What follows when the metrics are gone or stand still.",
        examples=["alert"],
    )
    drift: Literal["reapply", "keep"] = Field(
        default="reapply",
        description="What happens when somebody else writes a knob of the policy.",
        examples=["reapply"],
    )
    lock_out: Annotated[Duration, Field(ge=0)] = Field(
        default=86400.0,
        description="So long a policy is refused after its rollback.",
        examples=["24h"],
    )
    quiet: Annotated[Duration, Field(ge=0)] = Field(
        default=3600.0,
        description="So long an emergency lasts if nobody ends it.",
        examples=["1h"],
    )

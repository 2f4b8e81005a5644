"""Model of guardrails on metrics of an attached service."""

from __future__ import annotations

from pydantic import Field, model_validator

from ktune.profile.fields import Duration, Model, Name, Number, wrong


class ServiceLevel(Model):
    """A level that the service must keep while candidates are tried."""

    metric: Name = Field(description="A metric of the attached service.", examples=["p99"])
    at_most: Number | None = Field(
        default=None, description="Crossed when the metric is above this.", examples=[50]
    )
    at_least: Number | None = Field(
        default=None, description="Crossed when the metric is below this.", examples=[1000]
    )
    lasting: Duration = Field(
        default=0.0,
        alias="for",
        description="... and stays there for so long, sample after sample.",
        examples=["2s"],
    )

    @model_validator(mode="after")
    def _says_something(self) -> ServiceLevel:
        if self.at_most is None and self.at_least is None:
            raise wrong("give at_most or at_least")
        return self

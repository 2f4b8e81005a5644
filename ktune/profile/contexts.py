"""Model of a workload's phases and of how a policy switches between them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, Strict, model_validator

from ktune.profile.fields import Duration, Model, Percent, Text, wrong

MIN_PHASES, MAX_PHASES = 2, 4


class Phase(Model):
    """One phase of a workload: what it runs other than the workload says."""

    command: tuple[Text, ...] = Field(
        default=(),
        min_length=1,
        description="Instead of the workload's command; must print the same metrics.",
        examples=[["ktune-scan-read", "--file", "/var/tmp/pages.bin"]],
    )
    env: dict[str, Text] = Field(
        default_factory=dict,
        description="Environment variables beside, or instead of, the workload's.",
        examples=[{"PHASE": "night"}],
    )

    @model_validator(mode="after")
    def _differs(self) -> Phase:
        if not self.command and not self.env:
            raise wrong("a phase gives a command, env or both: else it is the workload itself")
        if any("\0" in word for word in self.command) or (self.command and not self.command[0]):
            raise wrong("the command needs a program and can't hold a NUL", at=("command",))
        for name in self.env:
            if not name or "=" in name or "\0" in name:
                raise wrong("this can't name an environment variable", at=("env", name), key=True)
        return self


class ContextSettings(Model):
    """How quickly an adaptive policy switches; part of profiles and of policies."""

    sample: Annotated[Duration, Field(ge=0.1, le=3600)] = Field(
        default=2.0, description="The workload is looked at so often.", examples=["2s"]
    )
    dwell: Annotated[Duration, Field(ge=0, le=86400)] = Field(
        default=30.0, description="Least time between two switches.", examples=["30s"]
    )
    looks: Annotated[int, Strict(), Field(ge=1, le=1000)] = Field(
        default=3, description="So many looks in a row must agree before a switch.", examples=[3]
    )
    hysteresis: Annotated[Percent, Field(ge=0, lt=1)] = Field(
        default=0.1,
        description="A threshold must be passed by this share before a question is answered "
        "otherwise than now.",
        examples=["10%"],
    )
    alone_for: Annotated[Duration, Field(ge=0, le=82800)] = Field(
        default=0.0,
        description="When user space dies, a policy that the kernel module switches goes on "
        "adapting for so long, then the baseline returns; 0s: it returns at once.",
        examples=["10m"],
    )

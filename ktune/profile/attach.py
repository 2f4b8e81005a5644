"""Model of a service that runs already: what to watch, and for how long."""

from __future__ import annotations

from pydantic import Field, model_validator

from ktune.profile.fields import AbsolutePath, Duration, Model, Text, Whole, wrong


class Attach(Model):
    """The service, named in one way. It is watched, never started, stopped or reset."""

    unit: Text | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9:_.@\\-]{1,200}\.(service|scope|slice)$",
        description="A systemd unit, found by its cgroup.",
        examples=["redis-server.service"],
    )
    pid: Whole | None = Field(
        default=None, ge=1, le=2**22, description="One process.", examples=[4711]
    )
    cgroup: AbsolutePath | None = Field(
        default=None,
        description="A cgroup's folder and everything below it.",
        examples=["/sys/fs/cgroup/system.slice/redis-server.service"],
    )
    process: Text | None = Field(
        default=None,
        pattern=r"^[^/\x00\n]{1,15}$",
        description="Every process of this name (as in /proc/PID/comm: at most 15 letters).",
        examples=["redis-server"],
    )

    @model_validator(mode="after")
    def _one(self) -> Attach:
        given = [
            name for name in ("unit", "pid", "cgroup", "process") if getattr(self, name) is not None
        ]
        if len(given) != 1:
            raise wrong("give one of unit, pid, cgroup, process")
        return self


class MeasureTime(Model):
    """A window over a service that runs: a time, since it has no end and no whole units."""

    lasting: Duration = Field(
        alias="for",
        ge=0.2,
        le=3600,
        description="How long one window watches.",
        examples=["10s"],
    )
    every: Duration = Field(
        default=1.0,
        ge=0.1,
        le=60,
        description="How often metrics are sampled meanwhile; guardrails on metrics act within "
        "one such interval.",
        examples=["1s"],
    )

    @model_validator(mode="after")
    def _consistent(self) -> MeasureTime:
        if "every" in self.model_fields_set and self.every > self.lasting:
            raise wrong("`every` is longer than the window", at=("every",))
        return self

"""Model of what a profile is for: programs, places where they listen, a mix of work.

Read by `ktune profile recommend`; nothing of it changes what a run does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, Field, Strict, model_validator

from ktune.kernel.versions import OPERATORS
from ktune.profile.errors import did_you_mean
from ktune.profile.features import FEATURES
from ktune.profile.fields import Model, Text, UniqueNames, wrong

_STATEMENT = re.compile(r"([a-z_]+)\s*(<=|>=|<|>)\s*([0-9]{1,12})\Z")


@dataclass(frozen=True)
class Statement:
    """`disk_requests >= 100`: what a few seconds of sampling must show."""

    feature: str
    op: str
    number: int

    def holds(self, value: int) -> bool:
        """Whether a sample says so."""
        return bool(OPERATORS[self.op](value, self.number))


def parse_statement(text: str) -> Statement:
    """Raises ValueError."""
    match = _STATEMENT.match(text.strip())
    if match is None:
        raise ValueError(f"expected FEATURE >= NUMBER, such as 'disk_requests >= 100': {text!r}")
    if match[1] not in FEATURES:
        near = did_you_mean(match[1], FEATURES)
        raise ValueError(f"unknown feature {match[1]!r}{near} (allowed: {', '.join(FEATURES)})")
    return Statement(match[1], match[2], int(match[3]))


def _statement(text: str) -> str:
    try:
        parse_statement(text)
    except ValueError as error:
        raise wrong(str(error)) from None
    return text


ProgramName = Annotated[str, Strict(), Field(pattern=r"^[^\s/\x00]{1,64}$")]
Port = Annotated[int, Strict(), Field(ge=1, le=65535)]
SocketPath = Annotated[str, Strict(), Field(pattern=r"^[/@*][^\x00\n]*$", max_length=108)]
FileSystem = Annotated[str, Strict(), Field(pattern=r"^[a-z0-9_.]{1,32}$")]
MixStatement = Annotated[Text, AfterValidator(_statement)]


class Fits(Model):
    """What must be there for the profile to be worth a look. Not inherited."""

    to: Text = Field(
        min_length=1,
        max_length=120,
        description="What it fits, in plain words.",
        examples=["a Redis whose clients wait for each answer"],
    )
    programs: Annotated[tuple[ProgramName, ...], UniqueNames] = Field(
        default=(),
        max_length=32,
        description="Programs of which one runs, by name.",
        examples=[["redis-server", "valkey-server"]],
    )
    ports: tuple[Port, ...] = Field(
        default=(),
        max_length=32,
        description="TCP ports of which somebody listens on one.",
        examples=[[6379]],
    )
    sockets: tuple[SocketPath, ...] = Field(
        default=(),
        max_length=32,
        description="Unix sockets of which somebody listens on one; * stands for anything.",
        examples=[["/run/redis/*.sock"]],
    )
    filesystems: tuple[FileSystem, ...] = Field(
        default=(),
        max_length=8,
        description="Kinds of file systems of which one is mounted.",
        examples=[["f2fs"]],
    )
    mix: tuple[MixStatement, ...] = Field(
        default=(),
        max_length=8,
        description="What all must hold of a few seconds of sampling: FEATURE and a number, with "
        ">=, >, <= or <. The features are those that a policy may ask for.",
        examples=[["disk_requests >= 100", "disk_read_share >= 80"]],
    )

    @model_validator(mode="after")
    def _says_something(self) -> Fits:
        if not (self.someone or self.mix):
            raise wrong("give one of programs, ports, sockets, filesystems, mix")
        return self

    @property
    def someone(self) -> bool:
        """Whether it names anything but a mix."""
        return bool(self.programs or self.ports or self.sockets or self.filesystems)

    @property
    def parsed_mix(self) -> tuple[Statement, ...]:
        """`mix`, parsed."""
        return tuple(parse_statement(text) for text in self.mix)

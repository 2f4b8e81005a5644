"""Model of what may happen around a window before it no longer counts."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, WithJsonSchema

from ktune.profile.fields import Model, Percent, Text, UniqueNames

_SCHEMA = {"type": "string", "pattern": r"^(off|[0-9]+(\.[0-9]+)?\s*%)$"}


def _most(value: object) -> object:
    return "100%" if value == "off" else value


def _least(value: object) -> object:
    return "0%" if value == "off" else value


Limit = Annotated[
    Percent,
    BeforeValidator(_most),
    Field(gt=0, le=1),
    WithJsonSchema(_SCHEMA),
]
"""A share; 1 for `off`: no window passes it."""

Least = Annotated[Percent, BeforeValidator(_least), Field(ge=0, le=1), WithJsonSchema(_SCHEMA)]
"""A share; 0 for `off`: no window stays below it."""

Program = Annotated[Text, Field(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f/]+$")]


class Fairness(Model):
    """Limits on what happens around a window: beyond them it is void, whatever it measured."""

    steal: Limit | None = Field(
        default=None,
        description="CPU time that the hypervisor may take, of all CPU time. Default: 25%.",
        examples=["10%", "off"],
    )
    others: Limit | None = Field(
        default=None,
        description="CPU time that programs outside the run may take, of all CPU time. Default: "
        "25%, off for an attached service.",
        examples=["10%", "off"],
    )
    throttled: Limit | None = Field(
        default=None,
        description="Time for which a CPU may be throttled because of heat. Default: 5%.",
        examples=["1%", "off"],
    )
    memory: Limit | None = Field(
        default=None,
        description="Time for which only processes outside the run wait for memory (PSI). Default: "
        "25%, off for an attached service.",
        examples=["10%", "off"],
    )
    frequency: Least | None = Field(
        default=None,
        description="Frequency that the fastest CPU has at least at the window's end, of its "
        "highest. Default: off.",
        examples=["90%", "off"],
    )
    part_of_it: Annotated[tuple[Program, ...], UniqueNames] = Field(
        default=(),
        max_length=32,
        description="Programs that run already and do the workload's work: not counted as others.",
        examples=[["postgres"]],
    )


def first_said(*sections: Fairness) -> Fairness:
    """Of each limit what the first section says that says anything of it; programs of all."""
    said: dict[str, object] = {}
    for section in sections:
        for name in section.model_fields_set - {"part_of_it"}:
            if (value := getattr(section, name)) is not None:
                said.setdefault(name, value)
    programs = (program for section in sections for program in section.part_of_it)
    return Fairness().model_copy(update={**said, "part_of_it": tuple(dict.fromkeys(programs))})

"""Kinds of fields in a policy file: shares, times, digests, values of knobs."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, Strict, WithJsonSchema

from ktune.profile import units
from ktune.profile.fields import wrong
from ktune.records import clock

DIGEST_PATTERN = r"^sha256:[0-9a-f]{64}$"
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

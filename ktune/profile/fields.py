"""Building blocks of the models: the strict base, quantities, keys, percentages, expressions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    Strict,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError, core_schema

from ktune.kernel.versions import comparisons, kernel_version
from ktune.profile import units

T = TypeVar("T")


class Model(BaseModel):
    """Every part of a profile: no unknown keys, frozen, aliases as written in YAML."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, populate_by_name=True
    )


def wrong(
    message: str, *, at: tuple[str | int, ...] = (), key: bool = False
) -> PydanticCustomError:
    """An error whose text is ours, whatever braces it holds.

    `at` leads to the place inside; `key`: the key there is wrong, not its value.
    """
    return PydanticCustomError("ktune", "{text}", {"text": message, "at": at, "key": key})


def _converted(convert: Callable[[str], T], what: str) -> Callable[[object], T]:
    def before(value: object) -> T:
        if not isinstance(value, str):
            raise wrong(f"expected {what}")
        try:
            return convert(value)
        except ValueError as error:
            raise wrong(str(error)) from None

    return before


def _number(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong("expected a number")
    return value


def _quantity(value: object) -> int | str:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return _converted(units.check_quantity, "a whole number, or one with a unit such as 64M or 2s")(
        value
    )


def _size(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    return _converted(units.size, "a size such as 4096, 16M or 2GiB")(value)


def _link_rate(value: object) -> int | None:
    return None if value == "unlimited" else _converted(units.rate, "a rate such as 1Gbit")(value)


def _setting(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | str | list | tuple):
        raise wrong("expected a number, a text or a list of numbers (quote words like true)")
    if isinstance(value, list | tuple):
        return tuple(_quantity(item) for item in value)
    return value


Text = Annotated[str, Strict()]
Flag = Annotated[bool, Strict()]
Whole = Annotated[int, Strict()]
Number = Annotated[float, BeforeValidator(_number)]

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
PATH_PATTERN = r"^/[^\x00\n]*$"

Name = Annotated[str, Strict(), Field(pattern=NAME_PATTERN, min_length=1, max_length=64)]
"""A name that is safe as a file name: no separators, no leading dot."""

AbsolutePath = Annotated[str, Strict(), Field(pattern=PATH_PATTERN, max_length=4096)]

Duration = Annotated[
    float,
    BeforeValidator(_converted(units.duration, "a duration such as 20ms, 2s, 30m or 1h")),
    WithJsonSchema({"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?\s*(ns|us|ms|s|m|min|h|d)$"}),
]
"""Seconds."""

Percent = Annotated[
    float,
    BeforeValidator(_converted(units.percent, "a percentage such as 5%")),
    WithJsonSchema({"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?\s*%$"}),
]
"""A fraction: 0.05 for `5%`."""

Size = Annotated[
    int,
    BeforeValidator(_size),
    WithJsonSchema(
        {"type": ["integer", "string"], "pattern": r"^[0-9]+(\.[0-9]+)?\s*([KMGTPE](iB)?|B)?$"}
    ),
]
"""Bytes."""

LinkRate = Annotated[
    int | None,
    BeforeValidator(_link_rate),
    WithJsonSchema({"type": "string", "pattern": r"^(unlimited|[0-9.]+\s*[KMG]?bit)$"}),
]
"""Bits per second; None = unlimited."""

_QUANTITY_SCHEMA = {
    "type": ["integer", "string"],
    "pattern": r"^[-+]?[0-9]+(\.[0-9]+)?\s*[A-Za-z%]*$",
}

Quantity = Annotated[int | str, BeforeValidator(_quantity), WithJsonSchema(_QUANTITY_SCHEMA)]
"""A knob's value with an optional unit, converted to the knob's own unit at resolution."""

Setting = Annotated[
    int | str | tuple[int | str, ...],
    BeforeValidator(_setting),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer"},
                {"type": "string"},
                {"type": "array", "items": _QUANTITY_SCHEMA},
            ]
        }
    ),
]
"""A value of a knob as a person writes it; parsed by the knob's type at resolution."""

Operator = Literal["<", "<=", ">", ">=", "==", "!="]


def _expression(parse_right: Callable[[str], Any]) -> Callable[[object], object]:
    def check(value: object) -> object:
        parts: list[str] = []
        for part in value if isinstance(value, list | tuple) else [value]:
            if not isinstance(part, str):
                raise wrong("expected a text such as '>= 6.1'")
            parts.append(part)
            try:
                for _, right in comparisons(part):
                    parse_right(right)
            except ValueError as error:
                raise wrong(str(error)) from None
        return ", ".join(parts)

    return check


_EXPRESSION_SCHEMA = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
VersionExpression = Annotated[
    str, BeforeValidator(_expression(kernel_version)), WithJsonSchema(_EXPRESSION_SCHEMA)
]
CountExpression = Annotated[
    str, BeforeValidator(_expression(int)), WithJsonSchema(_EXPRESSION_SCHEMA)
]
SizeExpression = Annotated[
    str, BeforeValidator(_expression(units.size)), WithJsonSchema(_EXPRESSION_SCHEMA)
]


def _one_or_many(value: object) -> object:
    return value if isinstance(value, list | tuple) else [value]


class OneOrMany:
    """Annotation of a list for which a single value may stand."""

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_before_validator_function(_one_or_many, handler(source))

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        many = handler(schema)
        return {"anyOf": [many["items"], many]}


def _unique(names: tuple[str, ...]) -> tuple[str, ...]:
    double = next((name for index, name in enumerate(names) if name in names[:index]), None)
    if double is not None:
        raise wrong(f"{str(double)!r} stands twice")  # an enum is its word
    return names


UniqueNames = AfterValidator(_unique)
"""No name stands twice."""

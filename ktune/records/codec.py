"""Frozen dataclasses to JSON and back, strict on the way in. Standard library only.

Knob values (`ktune.kernel.values.Value`) travel as themselves, vectors as lists of integers.
Numbers that JSON can't hold (nan, inf) travel as text, so that a broken metric of a workload
stays visible in the record instead of breaking the record.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from enum import Enum
from functools import cache
from typing import Any, TypeVar

from ktune.errors import KtuneError
from ktune.kernel.values import Value

T = TypeVar("T")


class RecordError(KtuneError):
    """A record on disk is not what its format says (exit 1)."""


def encode(thing: object) -> Any:
    """Plain data for `json.dumps`."""
    if dataclasses.is_dataclass(thing):
        fields = dataclasses.fields(thing)
        return {field.name: encode(getattr(thing, field.name)) for field in fields}
    if isinstance(thing, Enum):
        return thing.value
    if isinstance(thing, float) and not math.isfinite(thing):
        return str(thing)
    if isinstance(thing, Mapping):
        return {str(key): encode(value) for key, value in thing.items()}
    if isinstance(thing, (list, tuple)):
        return [encode(item) for item in thing]
    if thing is None or isinstance(thing, (str, bool, int, float)):
        return thing
    raise TypeError(f"{type(thing).__name__} has no place in a record")


def decode(kind: type[T], data: object, where: str = "record") -> T:
    """The dataclass `kind` from plain data; `where` names the source in errors.

    Fields with a default may be missing, unknown ones are refused: a record that a newer
    version wrote must not lose meaning silently.

    Raises:
        RecordError: something is missing, unknown or of the wrong type.
    """
    result: T = _decode(kind, data, where)
    return result


def _decode(kind: Any, data: Any, where: str) -> Any:
    if kind is Any or kind is object:
        return data
    if kind == Value:
        return _value(data, where)
    if dataclasses.is_dataclass(kind):
        return _dataclass(kind, data, where)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return _optional(arguments, data, where)
    if origin is tuple:
        return _tuple(arguments, data, where)
    if origin is Mapping:
        if not isinstance(data, dict):
            raise _wrong("an object", data, where)
        return {key: _decode(arguments[1], item, f"{where}.{key}") for key, item in data.items()}
    return _scalar(kind, data, where)


def _optional(arguments: tuple[Any, ...], data: Any, where: str) -> Any:
    """`X | None`, and nothing else: other unions would make decoding a guess."""
    if data is None and type(None) in arguments:
        return None
    rest = tuple(item for item in arguments if item is not type(None))
    return _decode(rest[0] if len(rest) == 1 else typing.Union[rest], data, where)  # noqa: UP007


def _tuple(arguments: tuple[Any, ...], data: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(data, list):
        raise _wrong("a list", data, where)
    if arguments[-1] is Ellipsis:
        arguments = (arguments[0],) * len(data)
    if len(arguments) != len(data):
        raise _wrong(f"a list of {len(arguments)}", data, where)
    return tuple(
        _decode(kind, item, f"{where}[{index}]")
        for index, (kind, item) in enumerate(zip(arguments, data, strict=True))
    )


def _scalar(kind: Any, data: Any, where: str) -> Any:
    if isinstance(kind, type) and issubclass(kind, Enum):
        try:
            return kind(data)
        except ValueError:
            allowed = ", ".join(str(item.value) for item in kind)
            raise _wrong(f"one of {allowed}", data, where) from None
    if kind is float:
        if data in ("nan", "inf", "-inf"):
            return float(data)
        if isinstance(data, (int, float)) and not isinstance(data, bool):
            return float(data)
        raise _wrong("a number", data, where)
    if type(data) is not kind:
        raise _wrong(kind.__name__, data, where)
    return data


def _dataclass(kind: Any, data: Any, where: str) -> Any:
    if not isinstance(data, dict):
        raise _wrong("an object", data, where)
    hints, required = _shape(kind)
    if unknown := sorted(set(data) - set(hints)):
        raise RecordError(f"{where}: unknown field {unknown[0]!r}")
    if missing := sorted(required - set(data)):
        raise RecordError(f"{where}: field {missing[0]!r} is missing")
    return kind(**{key: _decode(hints[key], data[key], f"{where}.{key}") for key in data})


@cache
def _shape(kind: Any) -> tuple[dict[str, Any], frozenset[str]]:
    none = dataclasses.MISSING
    required = frozenset(
        field.name
        for field in dataclasses.fields(kind)
        if field.default is none and field.default_factory is none
    )
    return typing.get_type_hints(kind), required


def _value(data: Any, where: str) -> Value:
    if isinstance(data, str) or (isinstance(data, int) and not isinstance(data, bool)):
        return data
    if isinstance(data, list) and data and all(type(item) is int for item in data):
        return tuple(data)
    raise _wrong("a knob value (integer, text or list of integers)", data, where)


def _wrong(expected: str, found: object, where: str) -> RecordError:
    text = repr(found)
    return RecordError(f"{where}: expected {expected}, found {text[:80]}")

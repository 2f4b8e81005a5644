"""Turns pydantic's errors into file:line:column, the value, what is allowed, the nearest name."""

from __future__ import annotations

import re
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from ktune.profile.errors import Mark, Problem, ProfileError, did_you_mean, shown
from ktune.profile.fields import NAME_PATTERN, PATH_PATTERN
from ktune.profile.yaml12 import Node

M = TypeVar("M", bound=BaseModel)

_PATTERNS = {
    NAME_PATTERN: "a name of letters, digits, dots, dashes and underscores",
    PATH_PATTERN: "an absolute path",
}
_SHORTER = (
    ("greater than or equal to", "at least"),
    ("less than or equal to", "at most"),
    ("greater than", "more than"),
)
_LIMITS = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}
"""Kind of a pydantic error -> (where its limit is, how we say it)."""
_QUOTED = re.compile(r"'([^']*)'")


def validate(model: type[M], tree: Node) -> M:
    """Build a model from a tree with positions. Raises ProfileError with every problem."""
    if not isinstance(tree.value, Mapping):
        raise ProfileError.at(tree.mark, "expected a mapping of keys to values")
    try:
        return model.model_validate(tree.plain())
    except ValidationError as error:
        details = error.errors(include_url=False)
    raise ProfileError(
        sorted(
            (_problem(model, tree, item) for item in details if not _is_echo(item, details)),
            key=_order,
        )
    )


def _is_echo(detail: Any, details: Sequence[Any]) -> bool:
    """A list whose items are wrong is also reported as too short."""
    loc = detail["loc"]
    return detail["type"] == "too_short" and any(
        len(other["loc"]) > len(loc) and other["loc"][: len(loc)] == loc for other in details
    )


def _order(problem: Problem) -> tuple[str, int, int]:
    return (problem.mark.file, problem.mark.line, problem.mark.column)


def _problem(model: type[BaseModel], tree: Node, detail: Any) -> Problem:
    loc: tuple[str | int, ...] = detail["loc"]
    ctx: Mapping[str, Any] = detail.get("ctx", {})
    kind: str = detail["type"]
    if kind == "ktune":
        return _our_own(tree, loc, ctx)
    if kind == "missing":
        return Problem(tree.locate(loc[:-1]).mark, f"{_name(tree, loc[:-1])}{loc[-1]} is missing")
    if kind == "extra_forbidden":
        return _unknown_key(model, tree, loc)
    if loc and loc[-1] == "[key]":
        return Problem(_key_mark(tree, loc[:-1]), f"{shown(loc[-2])} is no valid name here")
    value = tree.locate(loc).plain()
    allowed = _allowed(kind, ctx, detail["msg"])
    if kind in _LIMITS and isinstance(value, str) and value.strip().endswith("%"):
        allowed = f"expected {_LIMITS[kind][1]} {ctx[_LIMITS[kind][0]]:.0%}"
    near = ""
    if kind in ("literal_error", "enum"):
        near = did_you_mean(str(value), _QUOTED.findall(str(ctx.get("expected", ""))))
    return Problem(
        tree.locate(loc).mark, f"{_name(tree, loc)}{allowed}, found {shown(value)}{near}"
    )


def _our_own(tree: Node, loc: tuple[str | int, ...], ctx: Mapping[str, Any]) -> Problem:
    path = (*loc, *ctx["at"])
    mark = _key_mark(tree, path) if ctx["key"] else tree.locate(path).mark
    text: str = ctx["text"]
    if text.startswith("expected") and "found" not in text:
        text += f", found {shown(tree.locate(path).plain())}"
    return Problem(mark, _name(tree, loc) + text)


def _unknown_key(model: type[BaseModel], tree: Node, loc: tuple[str | int, ...]) -> Problem:
    key = str(loc[-1])
    known = sorted(known_keys(model, loc[:-1]))
    listed = ", ".join(known)
    return Problem(
        _key_mark(tree, loc),
        f"{_name(tree, loc[:-1])}unknown key {shown(key)}{did_you_mean(key, known)} "
        f"(allowed: {listed})",
    )


def _allowed(kind: str, ctx: Mapping[str, Any], message: str) -> str:
    match kind:
        case "literal_error" | "enum":
            return f"expected {ctx['expected']}"
        case "string_type":
            return "expected text (put a number or true/false that is meant as text in quotes)"
        case "int_type" | "int_parsing" | "int_from_float":
            return "expected a whole number"
        case "bool_type":
            return "expected true or false"
        case "dict_type" | "model_type" | "model_attributes_type" | "mapping_type":
            return "expected a mapping of keys to values"
        case "tuple_type" | "list_type":
            return "expected a list"
        case "finite_number":
            return "expected a finite number"
        case "string_pattern_mismatch":
            return (
                f"expected {_PATTERNS.get(ctx['pattern'], 'text that matches ' + ctx['pattern'])}"
            )
        case "too_short":
            return f"expected at least {ctx['min_length']} item(s)"
        case "too_long":
            return f"expected at most {ctx['max_length']} item(s)"
        case _:
            text = message.removeprefix("Input should be ").removeprefix("String should ")
            for long, short in _SHORTER:
                text = text.replace(long, short)
            return f"expected {text}" if text != message else message


def _name(tree: Node, loc: tuple[str | int, ...]) -> str:
    """The path as a person would say it, without the union members that pydantic names."""
    parts: list[str] = []
    node = tree
    for step in loc:
        if isinstance(step, int) and step < len(node.items):
            node = node.items[step]
            parts.append(f"[{step}]")
        elif str(step) in node.mapping:
            node = node.mapping[str(step)]
            parts.append(f".{step}" if parts else str(step))
    return "".join(parts) + ": " if parts else ""


def _key_mark(tree: Node, loc: tuple[str | int, ...]) -> Mark:
    node = tree.locate(loc)
    return node.key_mark or node.mark


def known_keys(model: type[BaseModel], loc: tuple[str | int, ...]) -> set[str]:
    """The keys that may stand at `loc`: fields of the models that its annotations lead to."""
    models = {model}
    for step in loc:
        inner = {
            found
            for candidate in models
            for name, field in candidate.model_fields.items()
            if step in (name, field.alias)
            for found in _models_in(field.annotation)
        }
        tagged = {found for found in models if step in getattr(found, "tags", ())}
        models = inner or tagged or models
    return {
        field.alias or name
        for candidate in models
        for name, field in candidate.model_fields.items()
    }


def _models_in(annotation: Any) -> set[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {annotation}
    return {found for part in typing.get_args(annotation) for found in _models_in(part)}

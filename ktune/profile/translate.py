"""Turns pydantic's errors into file:line:column, the value, what is allowed, the nearest name."""

from __future__ import annotations

import re
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from ktune.profile.errors import Mark, Problem, ProfileError, did_you_mean, shown
from ktune.profile.yaml12 import Node

M = TypeVar("M", bound=BaseModel)

_QUOTED = re.compile(r"'([^']*)'")


def validate(model: type[M], tree: Node) -> M:
    """Build a model from a tree with positions. Raises ProfileError with every problem."""
    if not isinstance(tree.value, Mapping):
        raise ProfileError.at(tree.mark, "expected a mapping of keys to values")
    try:
        return model.model_validate(tree.plain())
    except ValidationError as error:
        problems = [_problem(model, tree, detail) for detail in error.errors(include_url=False)]
    raise ProfileError(sorted(problems, key=_order))


def _order(problem: Problem) -> tuple[str, int, int]:
    return (problem.mark.file, problem.mark.line, problem.mark.column)


def _problem(model: type[BaseModel], tree: Node, detail: Any) -> Problem:
    loc: tuple[str | int, ...] = detail["loc"]
    ctx: Mapping[str, Any] = detail.get("ctx", {})
    kind: str = detail["type"]
    if kind == "ktune":
        return Problem(_value_mark(tree, (*loc, *ctx["at"])), f"{_name(tree, loc)}{ctx['text']}")
    if kind == "missing":
        return Problem(tree.locate(loc[:-1]).mark, f"{_name(tree, loc[:-1])}{loc[-1]} is missing")
    if kind == "extra_forbidden":
        return _unknown_key(model, tree, loc)
    if loc and loc[-1] == "[key]":
        return Problem(_key_mark(tree, loc[:-1]), f"{shown(loc[-2])} is no valid name here")
    value = tree.locate(loc).plain()
    allowed = _allowed(kind, ctx, detail["msg"])
    near = ""
    if kind in ("literal_error", "enum"):
        near = did_you_mean(str(value), _QUOTED.findall(str(ctx.get("expected", ""))))
    return Problem(
        _value_mark(tree, loc), f"{_name(tree, loc)}{allowed}, found {shown(value)}{near}"
    )


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
            return f"expected text that matches {ctx['pattern']}"
        case "too_short":
            return f"expected at least {ctx['min_length']} item(s)"
        case "too_long":
            return f"expected at most {ctx['max_length']} item(s)"
        case _:
            text = message.removeprefix("Input should be ").removeprefix("String should ")
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


def _value_mark(tree: Node, loc: tuple[str | int, ...]) -> Mark:
    return tree.locate(loc).mark


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
        models = inner or models
    return {
        field.alias or name
        for candidate in models
        for name, field in candidate.model_fields.items()
    }


def _models_in(annotation: Any) -> set[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {annotation}
    return {found for part in typing.get_args(annotation) for found in _models_in(part)}

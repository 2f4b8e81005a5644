"""JSON schemas of profiles and policies, generated from the models; for editors and checks."""

from __future__ import annotations

import importlib
import json
from typing import Any

from pydantic import BaseModel

from ktune.profile.model import Profile

_DRAFT = "https://json-schema.org/draft/2020-12/schema"
KINDS = ("profile", "policy")


_LEFTOVERS = frozenset({"gt", "ge", "lt", "le"})
"""What pydantic leaves of bounds that it can't state for a text such as `5%`."""
_INHERITABLE = frozenset(
    {
        "Workload",
        "OutputMetric",
        "ToolMetric",
        "RegexMetric",
        "CsvMetric",
        "PageMetric",
        "ProcMetric",
        "PsiMetric",
        "CgroupMetric",
        "PrometheusMetric",
        "LogMetric",
        "CommandMetric",
        "EnergyMetric",
        "RatioMetric",
    }
)
"""Mappings that `extends` fills up: in a single file any key may be absent."""
_REFERENCE = {"type": "string", "pattern": r"\$\{"}


def schema_text(kind: str) -> str:
    """The schema file of a kind, as it is shipped. Raises ImportError where there is no model."""
    schema = _tidy(_model(kind).model_json_schema(by_alias=True))
    if kind == "profile":
        schema["$defs"] = {name: _open(name, part) for name, part in schema["$defs"].items()}
    head = {"$schema": _DRAFT, "title": f"ktune {kind}"}
    return json.dumps({**head, **schema}, indent=2) + "\n"


def available_kinds() -> tuple[str, ...]:
    """Kinds whose model this version has."""
    found = []
    for kind in KINDS:
        try:
            _model(kind)
        except (ImportError, AttributeError):
            continue
        found.append(kind)
    return tuple(found)


def _model(kind: str) -> type[BaseModel]:
    if kind == "profile":
        return Profile
    # The policy package is above this one: only looked up when its schema is asked for.
    module = importlib.import_module("ktune.policy.model")
    model: type[BaseModel] = module.PolicyDocument
    return model


def _tidy(node: Any, *, names: bool = False) -> Any:
    """Without generated titles and leftovers. `names`: the keys here are ours, not keywords."""
    if isinstance(node, list):
        return [_tidy(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        # a tagged union: without its tag (a parent gives it) a mapping may fit several members
        ("anyOf" if key == "oneOf" and not names else key): value
        if key in ("examples", "default", "const", "enum")
        else _tidy(value, names=key in ("properties", "$defs") and not names)
        for key, value in node.items()
        if names or (key not in _LEFTOVERS and not (key == "title" and isinstance(value, str)))
    }


def _open(name: str, part: dict[str, Any]) -> dict[str, Any]:
    """One model of a profile as a single file may hold it: parents and `${...}` fill the rest."""
    if name in _INHERITABLE:
        part = {key: value for key, value in part.items() if key != "required"}
    if name == "Knobs":
        for kind in part["properties"].values():
            kind["additionalProperties"] = {
                "anyOf": [kind["additionalProperties"], {"type": "null"}]
            }
    if "properties" in part:
        part = {**part, "properties": {k: _referable(v) for k, v in part["properties"].items()}}
    return part


def _referable(node: Any) -> Any:
    """A place that takes a number or a text with a pattern takes a `${...}` reference too."""
    if isinstance(node, list):
        return [_referable(item) for item in node]
    if not isinstance(node, dict):
        return node
    if "pattern" in node:
        return {**node, "pattern": f"{node['pattern']}|{_REFERENCE['pattern']}"}
    if node.get("type") in ("integer", "number"):
        about = {key: node[key] for key in ("description", "examples", "default") if key in node}
        bare = {key: value for key, value in node.items() if key not in about}
        return {**about, "anyOf": [bare, _REFERENCE]}
    return {
        key: value if key in ("examples", "default") else _referable(value)
        for key, value in node.items()
    }

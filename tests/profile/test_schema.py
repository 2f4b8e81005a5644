"""The schemas on disk are those of the models, and every field explains itself."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from ktune.profile import locate
from ktune.profile.schema import available_kinds, schema_text


@pytest.mark.parametrize("kind", ["profile", "policy"])
def test_the_schema_on_disk_is_not_stale(kind: str) -> None:
    path = locate.shipped_dir("schemas") / f"{kind}.schema.json"

    assert path.read_text(encoding="utf-8") == schema_text(kind), "run: ktune schema -o schemas"


@pytest.mark.parametrize("kind", available_kinds())
def test_a_schema_is_a_valid_schema(kind: str) -> None:
    jsonschema.Draft202012Validator.check_schema(json.loads(schema_text(kind)))


def test_every_field_of_a_profile_has_a_description_and_an_example() -> None:
    schema = json.loads(schema_text("profile"))
    models: dict[str, Any] = {"Profile": schema, **schema["$defs"]}

    silent = [
        f"{name}.{field}"
        for name, model in models.items()
        for field, about in model.get("properties", {}).items()
        if not about.get("description") or not about.get("examples")
    ]
    assert silent == []


@pytest.mark.parametrize(
    "data",
    [
        {"ktune": 1, "kind": "profile", "name": "a", "sumary": "typo"},
        {"ktune": 1, "kind": "profile", "name": "a", "promotion": {"mei": 2}},
        {"ktune": 2, "kind": "profile", "name": "a"},
        {"kind": "profile", "name": "a"},
    ],
)
def test_editors_see_common_mistakes(data: dict[str, Any]) -> None:
    validator = jsonschema.Draft202012Validator(json.loads(schema_text("profile")))

    assert not validator.is_valid(data)

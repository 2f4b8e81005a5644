"""The file format: the pinned shape, and the schema that editors use."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from ktune.policy.load import parse_policy
from ktune.policy.model import PolicyDocument
from ktune.records.paths import StatePaths

from . import support

EXAMPLE = Path(__file__).with_name("example.yaml")


def test_the_pinned_shape_is_accepted():
    text = support.edited(EXAMPLE.read_text())
    document = parse_policy(text.encode(), path="p").document
    assert document.name == "postgresql-oltp@db-canary"
    assert document.evidence.gain.interval == pytest.approx((0.04, 0.083))
    assert document.watch.margin == pytest.approx(0.02)
    assert document.scope_text == "host"


def test_a_namespace_by_path_is_a_scope():
    text = support.edited(EXAMPLE.read_text(), scope={"netns": "/run/netns/lab"})
    assert parse_policy(text.encode(), path="p").document.scope_text == "netns:/run/netns/lab"


def test_policies_satisfy_the_schema_of_editors(tmp_path):
    schema = jsonschema.Draft202012Validator(PolicyDocument.model_json_schema(by_alias=True))
    frozen = support.policy_text(StatePaths(tmp_path, tmp_path))
    for text in (EXAMPLE.read_text(), frozen):
        schema.validate(yaml.safe_load(text))


def test_every_field_is_described():
    schema = json.loads(json.dumps(PolicyDocument.model_json_schema(by_alias=True)))
    parts = [schema, *schema["$defs"].values()]
    fields = [item for part in parts for item in part.get("properties", {}).items()]
    assert [name for name, field in fields if not {"description", "$ref"} & set(field)] == []

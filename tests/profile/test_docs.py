"""The examples of the pages about profiles, services and loads are real."""

from __future__ import annotations

import re

import pytest

from ktune.adapters.registry import ToolName, adapter
from ktune.catalog.catalog import load_catalog
from ktune.profile.host import HostFacts
from ktune.profile.load import parse_profile
from tests.profile.examples import HEAD, HERE

DOCS = HERE.parent.parent / "docs"
BLOCKS = [
    block
    for page in (
        "profile-format.md",
        "services.md",
        "workloads.md",
        "bundled-loads.md",
        "fairness.md",
    )
    for block in re.findall(
        r"^```yaml\n(.*?)^```$", (DOCS / page).read_text(encoding="utf-8"), re.M | re.S
    )
]


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_an_example_of_the_format_loads(block: str, facts: HostFacts) -> None:
    text = block if "ktune: 1" in block else HEAD + block

    profile = parse_profile(text.encode(), file="docs", search_path=(), facts=facts)

    for key in profile.knobs.all():
        match = load_catalog().find(key)
        assert match is not None and match.entry.tunable, key


def test_the_pages_have_examples() -> None:
    assert len(BLOCKS) >= 7


@pytest.mark.parametrize("name", ToolName)
def test_every_tool_and_field_stands_in_the_table_of_load_generators(name: ToolName) -> None:
    text = (DOCS / "workloads.md").read_text(encoding="utf-8")
    (row,) = (line for line in text.splitlines() if line.startswith(f"| `{name}` |"))
    braces = re.findall(r"`(\w+_)\{([\w,]+)\}`", row)
    said = {f"{stem}{end}" for stem, ends in braces for end in ends.split(",")}
    said.update(re.findall(r"`(\w+)`", row))

    assert not [field for field in adapter(name).fields if field not in said]

"""The examples of docs/profile-format.md and docs/services.md are real."""

from __future__ import annotations

import re

import pytest

from ktune.catalog.catalog import load_catalog
from ktune.profile.host import HostFacts
from ktune.profile.load import parse_profile
from tests.profile.examples import HEAD, HERE

PAGES = [HERE.parent.parent / "docs" / name for name in ("profile-format.md", "services.md")]
BLOCKS = [
    block
    for page in PAGES
    for block in re.findall(r"^```yaml\n(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S)
]


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_an_example_of_the_format_loads(block: str, facts: HostFacts) -> None:
    text = block if "ktune: 1" in block else HEAD + block

    profile = parse_profile(text.encode(), file="docs", search_path=(), facts=facts)

    for key in profile.knobs.all():
        match = load_catalog().find(key)
        assert match is not None and match.entry.tunable, key


def test_the_page_has_examples() -> None:
    assert len(BLOCKS) >= 5

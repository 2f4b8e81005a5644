"""Every good example loads and plans, every bad one fails with the places and words it names."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from ktune.catalog.catalog import load_catalog
from ktune.errors import KtuneError
from ktune.profile import locate
from ktune.profile.errors import ProfileError
from ktune.profile.host import HostFacts
from ktune.profile.load import load_profile, parse_profile
from ktune.profile.resolve import resolve
from ktune.profile.schema import schema_text
from ktune.profile.yaml12 import load_yaml
from tests.profile.examples import BAD, GOOD, PARENTS, REFUSED, exit_code, expected

SHIPPED = sorted(locate.shipped_dir("profiles").glob("*.yaml"))


def _id(path: Path) -> str:
    return path.stem


@pytest.mark.parametrize("path", [*GOOD, *SHIPPED], ids=_id)
def test_a_good_example_loads(path: Path, facts: HostFacts) -> None:
    profile = load_profile(path, search_path=PARENTS, facts=facts)

    assert profile.name == path.stem


@pytest.mark.parametrize("path", [*GOOD, *SHIPPED], ids=_id)
def test_a_good_example_satisfies_the_schema_of_editors(path: Path) -> None:
    schema = json.loads(schema_text("profile"))
    data = load_yaml(path.read_bytes(), file=str(path)).plain()

    jsonschema.Draft202012Validator(schema).validate(data)


@pytest.mark.parametrize("path", [*GOOD, *SHIPPED], ids=_id)
def test_the_text_of_a_profile_reads_back_as_the_same_profile(path: Path, facts: HostFacts) -> None:
    profile = load_profile(path, search_path=PARENTS, facts=facts)

    again = parse_profile(profile.text.encode(), file="again", search_path=(), facts=facts)

    assert again.digest == profile.digest
    assert again.model_dump(exclude={"extends"}) == profile.model_dump(exclude={"extends"})


@pytest.mark.parametrize("path", BAD, ids=_id)
def test_a_bad_example_is_refused_with_place_and_reason(path: Path, facts: HostFacts) -> None:
    with pytest.raises(ProfileError) as caught:
        load_profile(path, search_path=(), facts=facts)

    assert expected(path), "a bad example says what it expects"
    for line in expected(path):
        assert line in caught.value.message
    assert len(caught.value.message.splitlines()) == len(expected(path))
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("path", REFUSED, ids=_id)
def test_a_profile_that_does_not_fit_is_refused_when_it_is_planned(
    path: Path, facts: HostFacts
) -> None:
    profile = load_profile(path, search_path=(), facts=facts)

    with pytest.raises(KtuneError) as caught:
        resolve(profile, load_catalog(), facts)

    for line in expected(path):
        assert line in caught.value.message
    assert caught.value.exit_code == exit_code(path)

"""Inheritance: who overrides whom, and what two parents may not disagree about."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ktune.profile.errors import Mark, ProfileError
from ktune.profile.extends import merge
from ktune.profile.host import HostFacts
from ktune.profile.load import load_profile
from ktune.profile.model import Profile
from ktune.profile.yaml12 import Node
from tests.depth import examples
from tests.profile.examples import HERE, PARENTS

HEAD = "ktune: 1\nkind: profile\nname: "


def _write(folder: Path, name: str, body: str) -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(f"{HEAD}{name}\n{body}", encoding="utf-8")
    return path


def _load(path: Path, facts: HostFacts) -> Profile:
    return load_profile(path, search_path=(), facts=facts)


def test_later_parents_override_earlier_ones_and_the_file_overrides_all(
    facts: HostFacts,
) -> None:
    profile = load_profile(HERE / "good" / "inherits.yaml", search_path=PARENTS, facts=facts)

    assert profile.search.trials == 30, "the later parent's"
    assert profile.search.seed == 1, "the earlier parent's"
    assert profile.knobs.sysctl["vm.swappiness"].step == 5, "its own"
    assert profile.knobs.sysctl["vm.swappiness"].range == (0, 100), "filled up from a parent"
    assert profile.summary == "", "what a file says about itself is not inherited"


def test_a_knob_set_to_null_is_not_inherited(facts: HostFacts) -> None:
    profile = load_profile(HERE / "good" / "inherits.yaml", search_path=PARENTS, facts=facts)

    assert "vm.page-cluster" not in profile.knobs.sysctl


def test_a_knob_that_restates_its_shape_keeps_nothing_of_the_inherited_shape(
    facts: HostFacts,
) -> None:
    profile = load_profile(HERE / "good" / "inherits.yaml", search_path=PARENTS, facts=facts)

    knob = profile.knobs.sysctl["net.core.somaxconn"]
    assert (knob.choices, knob.range, knob.log) == ((128, 4096), None, False)


def test_lists_are_replaced(tmp_path: Path, facts: HostFacts) -> None:
    _write(tmp_path, "base", "relations: [vm.a < 1, vm.b < 2]\n")
    path = _write(tmp_path, "child", "extends: [base]\nrelations: [vm.c < 3]\n")

    assert _load(path, facts).relations == ("vm.c < 3",)


def test_circles_name_the_way_round(tmp_path: Path, facts: HostFacts) -> None:
    _write(tmp_path, "a", "extends: [b]\n")
    _write(tmp_path, "b", "extends: [c]\n")
    path = _write(tmp_path, "c", "extends: [a]\n")

    with pytest.raises(ProfileError, match="circle: a -> b -> c -> a"):
        _load(path, facts)


@pytest.mark.parametrize(
    ("one", "two", "why"),
    [
        ("{range: [0, 10]}", "{range: [20, 30]}", "0..10 and 20..30 are disjoint"),
        ("{range: [0, 4K]}", "{range: [8K, 1M]}", "disjoint"),
        ("{range: [0, 10]}", "{choices: [1, 2]}", "one gives range, the other choices"),
        ("{choices: [1, 2]}", "{choices: [3, 4]}", "no choice in common"),
        ("{element: 2, range: [1, 2]}", "{range: [1, 2]}", "one gives elements, the other range"),
        (
            "{element: 2, range: [1, 2]}",
            "{elements: {2: {range: [3, 4]}}}",
            "1..2 and 3..4 are disjoint",
        ),
    ],
)
def test_parents_that_contradict_each_other_are_an_error_unless_the_file_settles_it(
    one: str, two: str, why: str, tmp_path: Path, facts: HostFacts
) -> None:
    _write(tmp_path, "one", f"knobs: {{sysctl: {{vm.x: {one}}}}}\n")
    _write(tmp_path, "two", f"knobs: {{sysctl: {{vm.x: {two}}}}}\n")
    open_question = _write(tmp_path, "open", "extends: [one, two]\n")
    settled = _write(
        tmp_path, "settled", "extends: [one, two]\nknobs: {sysctl: {vm.x: {range: [5, 6]}}}\n"
    )

    with pytest.raises(ProfileError, match=why) as caught:
        _load(open_question, facts)
    assert "one.yaml:4" in caught.value.message
    assert "two.yaml:4" in caught.value.message
    assert _load(settled, facts).knobs.sysctl["vm.x"].range == (5, 6)


def test_overlapping_parents_are_fine_and_the_later_one_counts(
    tmp_path: Path, facts: HostFacts
) -> None:
    _write(tmp_path, "one", "knobs: {sysctl: {vm.x: {range: [0, 10]}}}\n")
    _write(tmp_path, "two", "knobs: {sysctl: {vm.x: {range: [5, 30]}}}\n")
    path = _write(tmp_path, "both", "extends: [one, two]\n")

    assert _load(path, facts).knobs.sysctl["vm.x"].range == (5, 30)


def test_an_error_in_a_parent_points_into_the_parent(tmp_path: Path, facts: HostFacts) -> None:
    _write(tmp_path, "base", "search:\n  trials: none\n")
    path = _write(tmp_path, "child", "extends: [base]\n")

    with pytest.raises(ProfileError, match=r"base\.yaml:5:11: search\.trials"):
        _load(path, facts)


def test_an_inherited_profile_has_the_digest_of_the_same_profile_in_one_file(
    tmp_path: Path, facts: HostFacts
) -> None:
    _write(tmp_path, "base", "vars: {m: '${mem.total}'}\nsearch: {trials: 5}\n")
    split = _write(tmp_path, "whole", "extends: [base]\nsearch: {seed: 1}\n")
    first = _load(split, facts)
    whole = _write(tmp_path, "whole", "vars: {m: '${mem.total}'}\nsearch: {trials: 5, seed: 1}\n")

    assert first.digest == _load(whole, facts).digest


_LEAF = st.integers(0, 3).map(lambda number: Node(number, Mark("f")))
_TREES = st.recursive(
    st.dictionaries(st.sampled_from("abc"), _LEAF, max_size=3).map(lambda m: Node(m, Mark("f"))),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner | _LEAF, max_size=3).map(
        lambda mapping: Node(mapping, Mark("f"))
    ),
    max_leaves=8,
)
_EMPTY = Node({}, Mark("f"))


@settings(max_examples=examples(100), deadline=None)
@given(_TREES)
def test_merging_with_nothing_or_with_itself_changes_nothing(tree: Node) -> None:
    assert merge(tree, _EMPTY).plain() == tree.plain()
    assert merge(_EMPTY, tree).plain() == tree.plain()
    assert merge(tree, tree).plain() == tree.plain()


@settings(max_examples=examples(100), deadline=None)
@given(_TREES, _TREES)
def test_what_the_upper_tree_says_counts(lower: Node, upper: Node) -> None:
    merged = merge(lower, upper)

    assert merge(merged, upper).plain() == merged.plain()
    assert set(merged.mapping) == set(lower.mapping) | set(upper.mapping)
    for key, child in upper.mapping.items():
        if isinstance(child.value, int):
            assert merged.mapping[key].value == child.value

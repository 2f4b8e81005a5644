"""The decision tree of an adaptive policy: its form, hysteresis and dwell."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktune.policy.tree import (
    MAX_DEPTH,
    Chosen,
    Question,
    Switching,
    Tree,
    TreeError,
    choose,
    depth,
    follow,
    leaves,
    parse_tree,
)
from ktune.profile.features import FEATURES

NAMES = st.sampled_from(["day", "night", "scan", "random"])
FEATURE = st.sampled_from(sorted(FEATURES))
NUMBERS = st.integers(0, 10**12 - 1)


def trees(levels: int = MAX_DEPTH) -> st.SearchStrategy[Tree]:
    if levels == 0:
        return NAMES
    below = trees(levels - 1)
    return st.one_of(NAMES, st.builds(Question, FEATURE, NUMBERS, below, below))


FOUND = st.fixed_dictionaries({name: st.integers(0, 10**6) for name in FEATURES})
PACKETS = Question("packets", 1000, "busy", "idle")


@given(trees())
def test_a_tree_reads_back_as_it_was_written(tree: Tree) -> None:
    plain = tree if isinstance(tree, str) else tree.to_plain()
    assert parse_tree(plain) == tree


@given(trees(), FOUND)
def test_the_choice_is_one_of_the_leaves_whatever_is_found(
    tree: Tree, found: dict[str, int]
) -> None:
    assert choose(tree, found) in leaves(tree)
    assert depth(tree) <= MAX_DEPTH


@given(
    st.lists(st.integers(0, 3000), max_size=60),
    st.floats(0, 20),
    st.integers(1, 4),
    st.floats(0, 0.5),
)
def test_no_switch_before_the_dwell_and_enough_looks(
    values: list[int], dwell_s: float, looks: int, hysteresis: float
) -> None:
    switching = Switching(dwell_s, looks, hysteresis)
    chosen, same = Chosen("idle", 0.0), 0
    for now_s, value in enumerate(values, start=1):
        wanted = choose(PACKETS, {"packets": value}, now=chosen.leaf, hysteresis=hysteresis)
        same = same + 1 if wanted != chosen.leaf else 0
        after = follow(chosen, PACKETS, {"packets": value}, float(now_s), switching)
        if after.leaf != chosen.leaf:
            assert now_s - chosen.since_s >= dwell_s
            assert same >= looks
            same = 0
        chosen = after


@given(st.lists(st.integers(901, 1099), min_size=1, max_size=60), st.sampled_from(["busy", "idle"]))
def test_near_the_threshold_nothing_switches_to_and_fro(values: list[int], leaf: str) -> None:
    chosen = Chosen(leaf, 0.0)
    for now_s, value in enumerate(values):
        chosen = follow(chosen, PACKETS, {"packets": value}, now_s, Switching(0.0, 1, 0.1))
        assert chosen.leaf == leaf


def test_beyond_the_hysteresis_it_does_switch() -> None:
    chosen = Chosen("idle", 0.0)
    for now_s in range(1, 4):
        chosen = follow(chosen, PACKETS, {"packets": 1100}, now_s, Switching(2.0, 3, 0.1))
    assert chosen == Chosen("busy", 3)


@pytest.mark.parametrize(
    ("raw", "path", "words"),
    [
        (7, (), "name of a leaf"),
        ({"when": "packets >= 3", "then": "a"}, (), "name of a leaf"),
        ({"when": "packets > 3", "then": "a", "else": "b"}, ("when",), "FEATURE >= NUMBER"),
        ({"when": "packets >= 1.5", "then": "a", "else": "b"}, ("when",), "whole number"),
        ({"when": "packet >= 3", "then": "a", "else": "b"}, ("when",), "unknown feature"),
        (
            {"when": "packets >= 3", "then": {"when": "x", "then": "a", "else": "b"}, "else": "b"},
            ("then", "when"),
            "FEATURE",
        ),
    ],
)
def test_what_is_no_tree_is_refused_with_its_place(
    raw: object, path: tuple[str, ...], words: str
) -> None:
    with pytest.raises(TreeError, match=words) as caught:
        parse_tree(raw)
    assert caught.value.path == path


@pytest.mark.parametrize("levels", [MAX_DEPTH + 1, 50, 5000])
def test_a_tree_too_deep_is_refused(levels: int) -> None:
    raw: object = "a"
    for _ in range(levels):
        raw = {"when": "packets >= 3", "then": raw, "else": "b"}
    with pytest.raises(TreeError, match="deeper"):
        parse_tree(raw)


def test_more_leaves_than_allowed_are_refused() -> None:
    low = Question("packets", 1, "a", "b").to_plain()
    high = Question("packets", 1, "c", "d").to_plain()
    raw = {"when": "forks >= 3", "then": low, "else": high}
    assert len(leaves(parse_tree(raw))) == 4
    with pytest.raises(TreeError, match="more than 4 leaves"):
        parse_tree({"when": "packets >= 3", "then": raw, "else": "e"})

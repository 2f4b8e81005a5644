"""Relations without room are found; those with room are let through (checked by trying all)."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from ktune.profile.feasible import impossible
from ktune.profile.knobs import parse_relation
from ktune.profile.space import Dimension, DimensionKind

KEYS = ("k.a", "k.b", "k.c")
RANGES = st.tuples(st.integers(0, 4), st.integers(0, 4)).map(sorted)
RELATIONS = st.lists(
    st.tuples(
        st.sampled_from(KEYS),
        st.sampled_from(["<", "<=", ">", ">="]),
        st.one_of(st.sampled_from(KEYS), st.integers(0, 4).map(str)),
    ),
    max_size=4,
)


@given(st.lists(RANGES, min_size=3, max_size=3), RELATIONS)
def test_no_room_is_found_exactly_when_there_is_none(
    ranges: list[list[int]], texts: list[tuple[str, str, str]]
) -> None:
    dimensions = [
        Dimension(key, DimensionKind.INT, low=low, high=high)
        for key, (low, high) in zip(KEYS, ranges, strict=True)
    ]
    relations = [parse_relation(" ".join(text)) for text in texts]
    points = itertools.product(*(range(low, high + 1) for low, high in ranges))
    room = any(
        all(relation.holds(dict(zip(KEYS, point, strict=True))) for relation in relations)
        for point in points
    )
    assert (impossible(relations, dimensions, {}) is None) == room


def test_a_side_that_does_not_move_counts_with_its_baseline() -> None:
    moving = [Dimension("k.a", DimensionKind.INT, low=5, high=9)]
    assert impossible([parse_relation("k.a < k.b")], moving, {"k.b": 5}) is not None
    assert impossible([parse_relation("k.a < k.b")], moving, {"k.b": 6}) is None

"""Rows from elsewhere: checked against today's space, and only a hint of what to measure."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ktune.search.space import Space
from ktune.search.warm import MOST, WarmRow, taken
from tests.depth import examples
from tests.search.spaces import example_space, spaces
from tests.search.test_space import Drawn

VALUES = st.one_of(
    st.integers(-300, 300),
    st.text(max_size=5),
    st.lists(st.integers(0, 200), min_size=1, max_size=4).map(tuple),
)


@given(spaces(), st.data())
@settings(deadline=None, max_examples=examples(60))
def test_whatever_the_rows_say_only_what_fits_is_taken(drawn: Drawn, data: st.DataObject) -> None:
    space = Space(*drawn)
    keys = st.sampled_from([*space.keys, "k.fixed", "kernel.panic", "../../etc"])
    row = st.builds(
        WarmRow, st.dictionaries(keys, VALUES, max_size=6), st.floats(-2, 2), st.integers(1, 9)
    )
    sources = [("file a", data.draw(st.lists(row, max_size=8)))]
    warm, notes = taken(space, sources)
    assert len(warm) <= MOST and len(notes) == 1
    for item in warm:
        assert item.score > 0 and item.source == "file a"
        assert set(item.assignment) == set(space.keys)
        assert space.why_not(item.assignment, enqueued=True) is None
        assert item.assignment != space.completed({}), "the baseline is measured anyway"
    assert [item.score for item in warm] == sorted((item.score for item in warm), reverse=True)


def test_foreign_knobs_are_left_out_of_their_row_and_said() -> None:
    rows = [WarmRow({"vm.ahead": 1024, "kernel.panic": 5, "vm.gone": 1}, 0.1, 1)]
    warm, (note,) = taken(example_space(), [("study x", rows)])
    assert warm[0].assignment["vm.ahead"] == 1024 and "kernel.panic" not in warm[0].assignment
    assert "study x: 1 setting, 1 fit and claim a gain" in note
    assert "not searched here and left out: kernel.panic, vm.gone" in note


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"vm.ahead": 9000}, "vm.ahead = 9000 is outside 4..8192 or 0"),
        ({"vm.background": 20, "vm.total": 20}, "relation"),
        ({"vm.ahead": "many"}, "outside"),
        ({"net.rmem": (1, 2, 8 << 20)}, "elements that are not searched must stay"),
    ],
)
def test_a_row_outside_todays_limits_is_left_out_and_said(
    wrong: dict[str, object], why: str
) -> None:
    warm, (note,) = taken(example_space(), [("file f", [WarmRow(wrong, 0.3, 1)])])  # type: ignore[arg-type]
    assert warm == ()
    assert "1 outside today's limits" in note and why in note


def test_the_best_of_all_sources_come_first_and_equal_rows_are_joined() -> None:
    a = [WarmRow({"vm.ahead": 64}, 0.3, 1), WarmRow({"vm.ahead": 64}, 0.0, 2)]
    b = [WarmRow({"vm.ahead": 256}, 0.2, 1), WarmRow({"vm.ahead": 64}, -1.0, 1)]
    warm, _ = taken(example_space(), [("a", a), ("b", b)])
    assert [(item.assignment["vm.ahead"], item.source) for item in warm] == [(256, "b"), (64, "a")]
    assert warm[1].score == pytest.approx(0.1)

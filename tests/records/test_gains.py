"""How changes are written: the sign is the metric's, the word says whether that is good."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktune.evidence.pairs import Direction, log_gain_of, log_ratio
from ktune.records.gains import (
    change_text,
    directions_of,
    gain_text,
    log_gain_text,
    range_text,
    uncertain,
    uncertain_lines,
    worse_text,
)
from ktune.records.types import Phase, StudyManifest
from ktune.report.live import line_of
from ktune.report.progress import PairDone

value = st.floats(min_value=1, max_value=100)


@given(value, value, st.sampled_from(Direction))
def test_the_sign_is_that_of_the_metric_and_the_word_that_of_the_goal(
    baseline: float, candidate: float, direction: Direction
) -> None:
    text = log_gain_text(log_ratio(baseline, candidate, direction), direction)
    change = candidate / baseline - 1
    if abs(change) < 0.001:
        return
    assert float(text.partition("%")[0]) == pytest.approx(100 * change, abs=0.051)
    better = (change > 0) == (direction is Direction.MAXIMIZE)
    assert text.endswith("(better)" if better else "(worse)")


def test_what_changes_nothing_is_neither_better_nor_worse() -> None:
    assert change_text(-0.0004, Direction.MINIMIZE) == "0.0% (the same)"
    assert change_text(0.0) == "0.0% (the same)"


def test_several_metrics_together_have_no_sign() -> None:
    assert (change_text(0.061), change_text(-0.061)) == ("6.1% better", "6.1% worse")
    assert log_gain_text(log_gain_of(0.061)) == "6.1% better"
    assert log_gain_text(None) == "-"


def test_intervals_run_from_low_to_high_as_the_metric_does() -> None:
    assert range_text(0.04, 0.083, Direction.MAXIMIZE) == "[+4.0%, +8.3%]"
    assert range_text(-0.01, 0.083, Direction.MINIMIZE) == "[-8.3%, +1.0%]"
    assert range_text(-math.inf, 0.02, Direction.MINIMIZE) == "[-2.0%, unbounded]"
    assert gain_text("p99", 0.061, (0.04, 0.083), 0.95, Direction.MINIMIZE) == (
        "p99 -6.1% (better), 95% interval [-8.3%, -4.0%]"
    )
    assert (worse_text(0.029), worse_text(-0.012)) == ("2.9% worse", "1.2% better")


@pytest.mark.parametrize(
    ("interval", "answer"),
    [((0.001, 0.02), False), ((0.0, 0.02), True), ((-0.21, 0.27), True), ((-math.inf, 0.02), True)],
)
def test_a_gain_is_uncertain_while_its_interval_includes_none(
    interval: tuple[float, float], answer: bool
) -> None:
    assert uncertain(interval) is answer
    assert bool(uncertain_lines(interval, "id", 10)) is answer


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {}),
        ("{", {}),
        ("[1]", {}),
        (json.dumps({"objectives": [{"metric": "p99", "direction": "sideways"}, 3]}), {}),
        (
            json.dumps({"objectives": [{"metric": "p99", "direction": "minimize"}]}),
            {"p99": Direction.MINIMIZE},
        ),
    ],
)
def test_directions_are_those_that_the_record_says(text: str, found: dict[str, Direction]) -> None:
    manifest = StudyManifest("id", "p", "2026-11-21T10:00:00Z", profile_text=text)
    assert directions_of(manifest) == found


def test_pairs_of_the_baseline_with_itself_are_neither_better_nor_worse() -> None:
    pair = PairDone(Phase.CALIBRATION, 1, 5, 0.1, "", Direction.MINIMIZE)
    assert line_of(pair) == "  pair 1 of 5: -9.5%"
    proof = PairDone(Phase.DECISION, 1, 30, 0.1, "E 1 of 20", Direction.MINIMIZE)
    assert line_of(proof) == "  pair 1 of 30: -9.5% (better), E 1 of 20"

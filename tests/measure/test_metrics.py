"""Numbers out of a workload's output."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktune.measure.metrics import MetricError, extract, key_values
from ktune.measure.specs import MetricSource, MetricSpec

FINITE = st.floats(allow_nan=False, allow_infinity=False, width=64)
KEYS = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,20}", fullmatch=True)


def one(spec: MetricSpec, text: str) -> float:
    return extract([spec], text, 1.5)[spec.name]


@given(FINITE)
def test_a_printed_number_comes_back_exactly(value: float) -> None:
    assert one(MetricSpec("x"), f"noise\nx={value!r}\n") == value


@given(st.dictionaries(KEYS, FINITE, min_size=1, max_size=8))
def test_every_key_of_the_output_can_be_a_metric(pairs: dict[str, float]) -> None:
    text = "\n".join(f"{key} = {value!r}" for key, value in pairs.items())
    assert extract([MetricSpec(key) for key in pairs], text, 0.0) == pairs


@given(st.text())
def test_any_output_gives_a_finite_number_or_a_reason(text: str) -> None:
    for source in MetricSource:
        if source is MetricSource.SENSOR:
            continue  # its numbers come from the kernel, not from what the command prints
        try:
            assert math.isfinite(one(MetricSpec("x", source), text))
        except MetricError as error:
            assert "x" in str(error)


@given(st.recursive(FINITE | st.text() | st.none() | st.booleans(), st.lists))
def test_any_json_gives_a_finite_number_or_a_reason(value: object) -> None:
    try:
        assert math.isfinite(one(MetricSpec("x", MetricSource.JSON), json.dumps({"x": value})))
    except MetricError as error:
        assert "x" in str(error)


@given(FINITE, FINITE, FINITE)
def test_only_what_is_plausible_passes(low: float, high: float, value: float) -> None:
    low, high = min(low, high), max(low, high)
    spec = MetricSpec("x", plausible=(low, high))
    if low <= value <= high:
        assert one(spec, f"x={value!r}") == value
    else:
        with pytest.raises(MetricError, match="not plausible"):
            one(spec, f"x={value!r}")


@pytest.mark.parametrize("text", ["nan", "NaN", "-inf", "inf", "Infinity", "1e999"])
def test_a_number_that_is_not_finite_is_no_metric(text: str) -> None:
    with pytest.raises(MetricError, match="metric x"):
        one(MetricSpec("x"), f"x={text}")


@pytest.mark.parametrize("text", ["", "1_000", "0x10", "1,5", "12 apples", "--1", "1e", "٣"])
def test_what_only_resembles_a_number_is_refused(text: str) -> None:
    with pytest.raises(MetricError, match="metric x"):
        one(MetricSpec("x"), f"x={text}")


def test_the_last_of_several_lines_with_one_key_counts() -> None:
    assert one(MetricSpec("x"), "x=1\nx: 2\nx = 3\ny=4") == 3


def test_a_line_of_prose_is_no_key() -> None:
    assert key_values("total time taken: 3\nlatency: 4\n=5\na b=6") == {"latency": "4"}


def test_a_field_may_be_named_other_than_the_metric() -> None:
    assert one(MetricSpec("rate", field="transactions_per_s"), "transactions_per_s=7") == 7


def test_a_dotted_path_goes_through_lists() -> None:
    text = json.dumps({"jobs": [{"read": {"iops": 1}}, {"read": {"iops": 42.5}}]}, indent=2)
    assert one(MetricSpec("iops", MetricSource.JSON, "jobs.1.read.iops"), text) == 42.5


def test_the_last_line_of_json_counts_when_the_whole_is_none() -> None:
    assert one(MetricSpec("x", MetricSource.JSON), 'hello\n{"x": 1}\n{"x": 2}\nbye\n') == 2


def test_a_missing_path_says_where_it_stopped() -> None:
    with pytest.raises(MetricError, match=r"no 'a.b.c' \(stopped at 'b'\)"):
        one(MetricSpec("x", MetricSource.JSON, "a.b.c"), '{"a": {"d": 1}}')


def test_the_duration_needs_no_output() -> None:
    assert one(MetricSpec("time", MetricSource.DURATION), "") == 1.5


def test_no_output_is_told_as_such() -> None:
    with pytest.raises(MetricError, match="printed nothing"):
        one(MetricSpec("x"), "  \n")

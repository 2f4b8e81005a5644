"""Limits that scale with the machine."""

import contextlib
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktune.kernel.limits import FACTS, LimitError, evaluate, evaluate_bound, host_facts, within

_FACTS = {"mem.total_bytes": 4_000_000, "mem.total_pages": 1000, "cpu.count": 3}


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (7, 7),
        (-1, -1),
        ("cpu.count", 3),
        ("mem.total_pages / 3", 333),
        ("mem.total_pages * 2", 2000),
    ],
)
def test_a_limit_is_a_number_or_a_share_of_the_machine(limit, expected):
    assert evaluate(limit, _FACTS) == expected


@pytest.mark.parametrize(
    "limit",
    [
        True,
        None,
        1.5,
        "",
        "7",
        "mem.total_pages / 0",
        "mem.total_pages/2",
        "mem.total_pages ** 2",
        "mem.total_pages * -1",
        "disk.bytes",
        "cpu.count\n",
        "__import__('os')",
    ],
)
def test_anything_else_is_refused(limit):
    with pytest.raises(LimitError):
        evaluate(limit, _FACTS)


@given(st.text())
def test_no_text_does_more_than_raise(text):
    with contextlib.suppress(LimitError):
        assert isinstance(evaluate(text, _FACTS), int)


def test_a_bound_may_be_absent_or_have_one_limit_for_each_element():
    assert evaluate_bound(None, _FACTS) is None
    assert evaluate_bound([1, "cpu.count"], _FACTS) == (1, 3)


@pytest.mark.parametrize(
    ("value", "low", "high", "inside"),
    [
        (5, 5, 5, True),
        (4, 5, None, False),
        (6, None, 5, False),
        ((1, 9), 1, 9, True),
        ((1, 10), 1, 9, False),
        ((1, 10), (1, 2), (1, 10), True),
        ((2, 10), (1, 2), (1, 10), False),
        ((1, 2, 3), (1, 2), None, False),
        ("cubic", 1, 2, True),
    ],
)
def test_bounds_hold_for_every_element(value, low, high, inside):
    assert within(value, low, high) is inside


def test_this_machine_has_every_fact_that_limits_may_name():
    facts = host_facts()
    assert facts.keys() == FACTS.keys()
    assert facts["page.bytes"] == os.sysconf("SC_PAGESIZE")
    assert facts["mem.total_bytes"] == facts["mem.total_kib"] * 1024
    assert facts["cpu.count"] == os.cpu_count()

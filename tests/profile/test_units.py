"""Quantities: round trips, and what a quantity means to a knob."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktune.profile import units


@given(st.integers(1, 10**6), st.sampled_from("KMGT"))
def test_a_size_is_binary_with_and_without_ib(number: int, letter: str) -> None:
    factor = 1024 ** ("KMGT".index(letter) + 1)

    assert units.size(f"{number}{letter}") == number * factor
    assert units.size(f"{number}{letter}iB") == number * factor


@given(st.integers(0, 10**6))
def test_durations_of_whole_milliseconds_are_exact(number: int) -> None:
    assert units.duration(f"{number}ms") == number / 1000


@given(st.integers(1, 10**6), st.sampled_from([("KiB", 1024), ("pages", 4096), ("bytes", 1)]))
def test_a_size_for_a_knob_is_in_the_knobs_unit(number: int, unit: tuple[str, int]) -> None:
    name, divisor = unit

    assert units.for_knob(f"{number}MiB", name) * divisor == number * 1024**2
    assert units.for_knob(number, name) == number
    assert units.for_knob(str(number), name) == number


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("64M", "bytes", 64 * 1024**2),
        ("64M", "", 64 * 1024**2),
        ("2s", "ms", 2000),
        ("250ms", "us", 250_000),
        ("5%", "% of available memory", 5),
        ("4K", "packets", 4096),
        ("0.5M", "bytes", 524288),
    ],
)
def test_a_quantity_in_a_knobs_unit(text: str, unit: str, value: int) -> None:
    assert units.for_knob(text, unit) == value


@pytest.mark.parametrize(
    ("text", "unit", "why"),
    [
        ("64M", "KiB", "could mean"),
        ("64M", "pages", "could mean"),
        ("5%", "bytes", "% of what"),
        ("2s", "bytes", "is a time"),
        ("2s", "", "is a time"),
        ("4K", "ms", "is a size"),
        ("4KiB", "packets", "is a size"),
        ("1ns", "us", "no whole number"),
        ("1.5", "", "no whole number"),
        ("10000", None, None),
        ("12q", "bytes", "unknown unit"),
        ("1" * 60, "bytes", "expected a number"),
        ("", "bytes", "expected a number"),
    ],
)
def test_a_quantity_that_a_knob_can_not_mean(text: str, unit: str | None, why: str | None) -> None:
    if why is None:
        assert units.for_knob(text, unit) == int(text)
        return
    with pytest.raises(ValueError, match=why):
        units.for_knob(text, unit)


@pytest.mark.parametrize("text", ["5", "-1s", "5 parsec", "s", "1e3s", "0x10s"])
def test_a_duration_needs_a_number_and_a_unit_of_time(text: str) -> None:
    with pytest.raises(ValueError, match=r"duration|number"):
        units.duration(text)


def test_rates_are_decimal_bits() -> None:
    assert units.rate("1Gbit") == 10**9
    with pytest.raises(ValueError, match="rate"):
        units.rate("1GB")


def test_percent_is_a_fraction() -> None:
    assert units.percent("2.5%") == 0.025
    with pytest.raises(ValueError, match="percentage"):
        units.percent("0.025")

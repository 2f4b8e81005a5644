"""What the kernel makes of its counters, beside what user space makes of them."""

from __future__ import annotations

import ctypes as c

from hypothesis import given
from hypothesis import strategies as st

from ktune.measure.fingerprint import Counters, features_between
from ktune.profile.features import FEATURES
from tests.kmod.core import Counter, Found, Reading

values = st.lists(
    st.integers(0, 10_000) | st.integers(0, 4 * 10**12),
    min_size=len(Counter),
    max_size=len(Counter),
)


def reading(at_us: int, numbers: list[int]) -> Reading:
    return Reading(1000 * at_us, (c.c_uint64 * len(Counter))(*numbers))


def python_reading(at_us: int, numbers: list[int]) -> Counters:
    return Counters(at_us / 1e6, {item.name: float(numbers[item]) for item in Counter})


@given(values, values, st.integers(100_000, 3_600_000_000))
def test_the_same_numbers_but_for_halves(
    lib: c.CDLL, before: list[int], grown: list[int], passed_us: int
) -> None:
    after = [min(a + b, a + 4 * 10**12) for a, b in zip(before, grown, strict=True)]
    found = Found()
    lib.features_between(c.byref(reading(0, before)), c.byref(reading(passed_us, after)), found)
    ours = features_between(python_reading(0, before), python_reading(passed_us, after))
    for name, theirs in zip(FEATURES, found, strict=True):
        assert abs(theirs - ours[name]) <= max(1, ours[name] * 1e-12), name


@given(values, values)
def test_a_counter_that_went_back_counts_as_nothing(
    lib: c.CDLL, before: list[int], lost: list[int]
) -> None:
    after = [max(0, a - b) for a, b in zip(before, lost, strict=True)]
    found = Found()
    lib.features_between(c.byref(reading(5, before)), c.byref(reading(5, after)), found)
    assert list(found) == [0] * len(FEATURES)


def test_a_feature_needs_all_its_counters(lib: c.CDLL) -> None:
    everything = (1 << len(Counter)) - 1
    assert lib.features_of(everything) == (1 << len(FEATURES)) - 1
    assert lib.features_of(0) == 0
    for missing in Counter:
        kept = lib.features_of(everything & ~(1 << missing))
        assert kept != (1 << len(FEATURES)) - 1, missing.name

"""Whatever a profile says, no limit of a plan exceeds the catalog's.

The file seam is faked: readings are made up, the catalog is the real one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ktune.catalog.catalog import load_catalog
from ktune.catalog.model import KnobEntry
from ktune.kernel.limits import within
from ktune.kernel.nsread import Reading
from ktune.kernel.values import Value, ValueType
from ktune.profile.errors import ProfileError
from ktune.profile.host import HostFacts
from ktune.profile.load import parse_profile
from ktune.profile.plan import Plan, PlannedKnob
from ktune.profile.resolve import resolve
from ktune.profile.space import DimensionKind
from ktune.profile.yaml12 import dump_yaml
from tests.depth import examples

CATALOG = load_catalog()
NUMBERS = sorted(
    entry.name
    for entry in CATALOG.tunable()
    if entry.type in (ValueType.INT, ValueType.VECTOR) and not entry.pattern
)
ANY_INT = st.integers(-(2**40), 2**40) | st.integers(-5, 300) | st.integers(0, 2**20)


def reader(values: Mapping[str, Value]) -> Callable[[Iterable[str]], Mapping[str, Reading]]:
    """Knob files that hold these values; all others are missing."""
    texts = {}
    for key, value in values.items():
        match = CATALOG.find(key)
        assert match is not None
        texts[match.path] = " ".join(map(str, value)) if isinstance(value, tuple) else str(value)

    def read(paths: Iterable[str]) -> Mapping[str, Reading]:
        return {
            path: Reading(texts[path], writable=True) if path in texts else Reading(None, 2)
            for path in paths
        }

    return read


@st.composite
def cases(draw: st.DrawFn) -> tuple[KnobEntry, dict[str, object], Value]:
    entry = CATALOG.entry(draw(st.sampled_from(NUMBERS)))
    assert entry is not None
    low, high = sorted((draw(ANY_INT), draw(ANY_INT)))
    spec: dict[str, object] = {"range": [low, high]}
    if draw(st.booleans()):
        spec["step"] = draw(st.integers(1, 1000))
    elif low >= 1 and draw(st.booleans()):
        spec["log"] = True
    for flag in draw(st.sampled_from([(), ("only_raise",), ("only_lower",)])):
        spec[flag] = True
    if entry.type is ValueType.INT:
        if draw(st.booleans()):
            spec["special"] = [draw(ANY_INT)]
        if draw(st.integers(0, 5)) == 0:
            spec = {"choices": [draw(ANY_INT), draw(ANY_INT)]}
        return entry, spec, draw(ANY_INT)
    spec["element"] = draw(st.integers(0, (entry.length or 1) - 1))
    return entry, spec, tuple(draw(ANY_INT) for _ in range(entry.length or 1))


def plan_of(
    entry: KnobEntry, spec: dict[str, object], current: Value, host: HostFacts
) -> Plan | None:
    data = {"ktune": 1, "kind": "profile", "name": "p"}
    data |= {"knobs": {entry.kind.value: {entry.name: spec}}}
    try:
        profile = parse_profile(dump_yaml(data).encode(), file="f", search_path=(), facts=host)
        return resolve(profile, CATALOG, host, read=reader({entry.name: current}))
    except ProfileError:
        return None


@settings(max_examples=examples(250), deadline=None)
@given(case=cases())
def test_no_limit_of_a_plan_exceeds_the_catalogs(
    case: tuple[KnobEntry, dict[str, object], Value], small_host: HostFacts
) -> None:
    entry, spec, current = case
    plan = plan_of(entry, spec, current, small_host)
    assume(plan is not None)
    assert plan is not None
    assert bool(plan.knobs) != bool(plan.skipped)

    for knob in plan.knobs:
        assert all(entry.accepts(value, small_host.numbers) for value in proposed(knob))
        low, high = entry.limits(small_host.numbers)
        for bound in (knob.minimum, knob.maximum):
            assert bound is None or within(bound, low, high)
        for value in knob.special:
            assert entry.accepts(value, small_host.numbers)


@settings(max_examples=examples(250), deadline=None)
@given(case=cases())
def test_nothing_is_proposed_outside_the_profile_or_against_its_direction(
    case: tuple[KnobEntry, dict[str, object], Value], small_host: HostFacts
) -> None:
    entry, spec, current = case
    plan = plan_of(entry, spec, current, small_host)
    assume(plan is not None and "range" in spec)
    assert plan is not None

    for dimension in plan.dimensions:
        wanted = spec["range"]
        assert isinstance(wanted, list)
        low, high = wanted
        assert low <= dimension.low <= dimension.high <= high
        assert (dimension.low - low) % dimension.step == 0, (
            "the grid starts at the profile's lowest"
        )
        assert not dimension.log or dimension.low >= 1
        held = current[dimension.element or 0] if isinstance(current, tuple) else current
        assert isinstance(held, int)
        assert "only_raise" not in spec or dimension.low >= held
        assert "only_lower" not in spec or dimension.high <= held


def proposed(knob: PlannedKnob) -> list[Value]:
    """The extreme values that the search may propose for a knob, as whole values."""
    found: list[Value] = []
    for dimension in knob.dimensions:
        if dimension.kind is DimensionKind.CHOICE:
            found += dimension.choices
        elif isinstance(knob.baseline, tuple) and dimension.element is not None:
            at = dimension.element
            for bound in (dimension.low, dimension.high):
                found.append((*knob.baseline[:at], bound, *knob.baseline[at + 1 :]))
        else:
            found += [dimension.low, dimension.high, *dimension.special]
    return found

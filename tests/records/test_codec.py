"""Records survive JSON, and nothing else passes for one."""

from __future__ import annotations

import json
import math
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktune.evidence.pairs import Arm
from ktune.records.codec import RecordError, decode, encode
from ktune.records.history import Action, Actor, Change, HistoryEntry
from ktune.records.types import (
    ConstraintRecord,
    GainRecord,
    PairCounts,
    Phase,
    Proof,
    ProofOutcome,
    RuleRecord,
    Runner,
    StudyManifest,
    StudyStatus,
    WindowRecord,
)

text = st.text(max_size=30)
keys = st.text(string.ascii_letters + "._/", min_size=1, max_size=20)
values = st.one_of(st.integers(), text, st.lists(st.integers(), min_size=1, max_size=5).map(tuple))
assignments = st.dictionaries(keys, values, max_size=4)
numbers = st.floats(allow_nan=False)
tables = st.dictionaries(
    text, st.one_of(st.integers(), text, st.booleans(), st.none(), numbers), max_size=3
).map(lambda found: {key: value for key, value in found.items() if value != math.inf})
finite = st.floats(allow_nan=False, allow_infinity=False)

windows = st.builds(
    WindowRecord,
    seq=st.integers(0),
    phase=st.sampled_from(Phase),
    arm=st.sampled_from(Arm),
    pair=st.none() | st.integers(0),
    trial=st.none() | st.integers(0),
    assignment=assignments,
    metrics=st.dictionaries(text, numbers, max_size=4),
    validity=text,
    reason=text,
    started_at=text,
    duration_s=finite,
)
proofs = st.builds(
    Proof,
    outcome=st.sampled_from(ProofOutcome),
    assignment=assignments,
    baseline=assignments,
    rule=st.builds(
        RuleRecord,
        tests=st.lists(text, max_size=3).map(tuple),
        alpha=finite,
        hypothesis=text,
        fired=st.none() | text,
        e_value=st.none() | numbers,
        threshold=st.none() | finite,
    ),
    pairs=st.builds(PairCounts, st.integers(0), st.integers(0), st.integers(0), st.integers(0)),
    gain=st.none() | st.builds(GainRecord, text, finite, st.tuples(finite, finite), finite),
    constraints=st.lists(
        st.builds(ConstraintRecord, text, finite, finite, finite, st.booleans()), max_size=2
    ).map(tuple),
    claimed_by_search=st.none() | finite,
)
manifests = st.builds(
    StudyManifest,
    id=text,
    profile_name=text,
    created_at=text,
    profile_text=text,
    seed=st.integers(),
    baseline=assignments,
    status=st.sampled_from(StudyStatus),
    runner=st.none() | st.builds(Runner, st.integers(), st.integers(), text),
    plan=st.dictionaries(text, st.integers() | text, max_size=3),
)
histories = st.builds(
    HistoryEntry,
    at=text,
    who=st.builds(Actor, st.integers(), text, text),
    what=st.sampled_from(Action),
    why=text,
    subject=text,
    scope=text,
    changes=st.lists(
        st.builds(Change, text, st.none() | values, st.none() | values), max_size=3
    ).map(tuple),
    undo=text,
)


@given(st.one_of(windows, proofs, manifests, histories))
def test_every_record_comes_back_as_it_went(record):
    stored = json.loads(json.dumps(encode(record), allow_nan=False))
    assert decode(type(record), stored) == record


def test_a_metric_that_is_not_a_number_stays_visible():
    record = _window(metrics={"tps": math.nan, "p99": math.inf})
    back = decode(WindowRecord, json.loads(json.dumps(encode(record), allow_nan=False)))
    assert math.isnan(back.metrics["tps"])
    assert back.metrics["p99"] == math.inf


json_data = st.recursive(
    st.none() | st.booleans() | st.integers() | finite | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=10,
)


@given(json_data)
def test_foreign_json_is_a_record_error_and_nothing_else(data):
    with pytest.raises(RecordError):
        decode(WindowRecord, data)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seq": "1"}, "seq: expected int"),
        ({"seq": True}, "seq: expected int"),
        ({"phase": "after all"}, "phase: expected one of calibration"),
        ({"assignment": {"vm.x": [1, "2"]}}, "assignment.vm.x: expected a knob value"),
        ({"assignment": {"vm.x": True}}, "assignment.vm.x: expected a knob value"),
        ({"metrics": {"tps": "fast"}}, "metrics.tps: expected a number"),
        ({"colour": 1}, "unknown field 'colour'"),
    ],
)
def test_a_wrong_field_is_named(change, said):
    data = encode(_window()) | change
    with pytest.raises(RecordError, match=said.replace("[", r"\[")):
        decode(WindowRecord, data, "w")


def test_a_missing_field_is_named():
    data = encode(_window())
    del data["arm"]
    with pytest.raises(RecordError, match="'arm' is missing"):
        decode(WindowRecord, data)


def _window(**changes):
    fields = {
        "seq": 1,
        "phase": Phase.LEARNING,
        "arm": Arm.CANDIDATE,
        "pair": None,
        "trial": 3,
        "assignment": {"vm.swappiness": 10, "net.ipv4.tcp_rmem": (4096, 131072, 6291456)},
        "metrics": {"tps": 1.5},
        "validity": "valid",
        "reason": "",
        "started_at": "2026-11-21T10:15:00Z",
        "duration_s": 2.5,
    }
    return WindowRecord(**(fields | changes))

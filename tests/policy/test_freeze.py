"""A frozen policy says what was measured, readably, the same each time."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ktune.errors import ExitCode, KtuneError, UsageError
from ktune.policy import emit
from ktune.policy.freeze import FreezeOptions, freeze
from ktune.policy.load import parse_policy
from ktune.profile.yaml12 import load_yaml
from ktune.records.codec import RecordError
from ktune.records.paths import StatePaths
from ktune.records.types import ProofOutcome

from . import support


@pytest.fixture
def paths(tmp_path):
    return StatePaths(tmp_path / "state", tmp_path / "run")


def test_a_frozen_policy_loads_and_carries_the_evidence(paths):
    text = freeze(support.study(paths, host=support.FACTS), paths)
    document = parse_policy(text.encode(), path="p.yaml").document
    assert document.assignment["net.ipv4.tcp_rmem"] == "4096 131072 33554432"
    assert document.baseline["net.ipv4.tcp_congestion_control"] == "cubic"
    assert document.evidence.gain.estimate == pytest.approx(0.061)
    assert document.evidence.gain.interval == pytest.approx((0.04, 0.083))
    assert document.evidence.rule.e_value == 57.23
    assert document.host.mem == 32 << 30
    assert document.fits.kernel == ">= 6.1, < 6.2"
    assert document.created == "2026-11-21T10:15:00Z"
    assert document.not_after == "2027-05-20T10:15:00Z"


def test_freezing_twice_gives_the_same_bytes(paths):
    study = support.study(paths)
    assert freeze(study, paths) == freeze(study, paths)


def test_the_serial_grows_with_each_proven_study_of_a_profile(paths):
    first = support.study(paths, study_id="20260101-000000-aa")
    support.study(paths, study_id="20260102-000000-aa", outcome=ProofOutcome.NO_IMPROVEMENT_FOUND)
    second = support.study(paths, study_id="20260103-000000-aa")
    assert "\nserial: 1\n" in freeze(first, paths)
    assert "\nserial: 2\n" in freeze(second, paths)


@pytest.mark.parametrize("outcome", [None, ProofOutcome.NO_IMPROVEMENT_FOUND, ProofOutcome.STOPPED])
def test_an_unproven_study_is_not_frozen(paths, outcome):
    with pytest.raises(KtuneError) as caught:
        freeze(support.study(paths, outcome=outcome), paths)
    assert caught.value.exit_code is ExitCode.NO_IMPROVEMENT


def test_a_study_without_host_facts_is_not_frozen(paths):
    with pytest.raises(RecordError, match="the host's kernel"):
        freeze(support.study(paths, host={}), paths)


def test_other_readers_of_yaml_see_the_same_values(paths):
    """PyYAML reads YAML 1.1: what it takes for something else would be quoted badly."""
    assignment = {
        "net.ipv4.tcp_congestion_control": "reno",
        "/sys/module/zswap/parameters/enabled": "Y",
        "vm.swappiness": 10,
    }
    text = freeze(support.study(paths, assignment=assignment, baseline=assignment), paths)
    assert yaml.safe_load(text)["assignment"] == assignment


def test_the_knobs_stand_sysctls_first_in_alphabetical_order(paths):
    assignment = {"/sys/block/vda/queue/read_ahead_kb": 16, "vm.x": 1, "net.y": 2}
    text = freeze(support.study(paths, assignment=assignment, baseline=assignment), paths)
    document = parse_policy(text.encode(), path="p").document
    assert list(document.assignment) == ["net.y", "vm.x", "/sys/block/vda/queue/read_ahead_kb"]


@pytest.mark.parametrize(
    "options",
    [FreezeOptions(name="../x"), FreezeOptions(fits_mem="much"), FreezeOptions(fits_kernel="new")],
)
def test_an_option_that_no_policy_may_have_is_a_mistake_not_a_bug(paths, options):
    with pytest.raises(UsageError, match="no valid policy"):
        freeze(support.study(paths, host=support.FACTS), paths, options)


def test_options_of_the_person_who_freezes(paths):
    options = FreezeOptions("mine@lab", 9, 1, ">= 6.1, < 7", ">= 1GiB")
    document = parse_policy(
        freeze(support.study(paths), paths, options).encode(), path="p"
    ).document
    assert (document.name, document.serial) == ("mine@lab", 9)
    assert document.not_after == "2026-11-22T10:15:00Z"
    assert document.fits.kernel == ">= 6.1, < 7"


scalars = st.one_of(
    st.integers(-(10**12), 10**12),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.none(),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.sampled_from(["0o17", "1e3", "012", "on", "No", "~", "null", "5%", "a: b", "- a", "#", "Y"]),
)


@given(st.dictionaries(st.text("abc.-", min_size=1, max_size=8), scalars, max_size=5))
def test_whatever_is_written_is_read_back(tree):
    text = emit.document({"top": tree, "list": list(tree.values())}, block=frozenset(), header="h")
    assert load_yaml(text.encode(), file="p").plain() == {
        "top": tree,
        "list": list(tree.values()),
    }

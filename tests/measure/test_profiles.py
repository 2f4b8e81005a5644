"""The shipped profiles and the way from their model to what is measured."""

from __future__ import annotations

import pytest

from ktune.errors import UsageError
from ktune.measure.from_profile import BUNDLED, link_spec, workload_spec
from ktune.profile.load import load_profile
from ktune.profile.model import Profile
from tests.measure.helpers import ROOT


def shipped(name: str) -> Profile:
    return load_profile(ROOT / "profiles" / f"{name}.yaml")


def test_the_quickstart_runs_the_bundled_transfer_over_a_link() -> None:
    profile = shipped("quickstart")
    assert profile.workload is not None
    spec = workload_spec(profile.workload)
    assert spec.bundled == BUNDLED["ktune-transfer"]
    assert spec.argv[:2] == ("--up", "128M")
    assert ("KTUNE_MEASURE", str(256 << 20)) in spec.environment
    (service,) = profile.services
    assert link_spec(service).rtt_s == pytest.approx(0.012)
    assert link_spec(service).rate_bit_s == 0


def test_the_quickstart_states_the_baseline_of_every_knob() -> None:
    profile = shipped("quickstart")
    assert profile.scope == "ephemeral"
    assert isinstance(profile.baseline, dict)
    assert set(profile.baseline) == set(profile.knobs.sysctl)


def test_the_random_read_profile_says_what_its_baseline_is() -> None:
    profile = shipped("random-mmap-read")
    assert profile.workload is not None
    assert (profile.scope, profile.baseline) == ("host", "current")
    assert "whatever the host has" in profile.summary
    assert workload_spec(profile.workload).bundled == BUNDLED["ktune-mmap-read"]


def test_an_unknown_bundled_program_is_refused_with_the_nearest_name() -> None:
    workload = shipped("quickstart").workload
    assert workload is not None
    wrong = workload.model_copy(update={"command": ("ktune-transfers",)})
    with pytest.raises(UsageError, match="ktune-transfer"):
        workload_spec(wrong)


def test_any_other_program_is_left_as_it_is() -> None:
    workload = shipped("quickstart").workload
    assert workload is not None
    spec = workload_spec(workload.model_copy(update={"command": ("wrk", "-c", "8")}))
    assert (spec.argv, spec.bundled) == (("wrk", "-c", "8"), None)

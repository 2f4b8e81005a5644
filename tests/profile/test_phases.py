"""The profile of one phase."""

from __future__ import annotations

import pytest

from ktune.errors import RefusedError, UsageError
from ktune.profile.attach_notes import attach_notes
from ktune.profile.load import load_profile
from ktune.profile.phases import in_phase, phases_of
from tests.profile.examples import GOOD

PHASES = next(path for path in GOOD if path.stem == "phases")


def test_a_phase_replaces_what_it_names_and_shares_alpha() -> None:
    profile = load_profile(PHASES)
    assert phases_of(profile) == ("day", "night")
    day, night = (in_phase(profile, name) for name in phases_of(profile))
    assert day.workload is not None and night.workload is not None
    assert (day.workload.command, night.workload.command) == (("true",), ("true", "--scan"))
    assert day.workload.env == {"LC_ALL": "C", "MIX": "oltp"}
    assert night.workload.env == {"LC_ALL": "C"}
    assert day.workload.phases is None
    assert day.promotion.alpha == night.promotion.alpha == 0.025
    assert day.digest == profile.digest, "a study of a phase keeps the whole profile"


def test_an_unknown_phase_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'night'"):
        in_phase(load_profile(PHASES), "nigth")


def test_a_profile_without_phases_says_how_to_give_some() -> None:
    plain = next(path for path in GOOD if path.stem != "phases")
    with pytest.raises(RefusedError, match="no phases"):
        phases_of(load_profile(plain))


def test_the_plan_tells_what_every_phase_runs() -> None:
    notes = list(attach_notes(load_profile(PHASES).workload))
    assert notes == [
        "phase day (tune --contexts) runs: MIX=oltp true",
        "phase night (tune --contexts) runs: true --scan",
    ]

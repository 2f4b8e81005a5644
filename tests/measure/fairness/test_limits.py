"""Whether a window was fair: decisions over numbers, and files as a host with them would have."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktune.measure.fairness.cpus import CpuFiles, CpuState, throttled_share
from ktune.measure.fairness.from_profile import DEFAULTS, limits_of, survey
from ktune.measure.fairness.limits import Cause, HostLimits, disturbance, programs_text
from ktune.profile.fairness import Fairness, first_said

NAMES = {
    "steal": "steal_share",
    "others": "others_share",
    "throttled": "throttled_share",
    "memory": "memory_outside_share",
    "frequency": "frequency_share",
}
SHARES = st.floats(0, 1, allow_nan=False)
LIMITS = st.builds(HostLimits, **{name: st.none() | SHARES for name in NAMES})
AROUND = st.dictionaries(st.sampled_from(sorted(NAMES.values())), SHARES)


@given(AROUND, LIMITS)
def test_a_window_is_void_just_where_something_recorded_is_beyond_its_limit(
    around: dict[str, float], limits: HostLimits
) -> None:
    beyond = set()
    for name, key in NAMES.items():
        share, limit = around.get(key), getattr(limits, name)
        if share is None or limit is None:
            continue
        if share < limit if name == "frequency" else share > limit:
            beyond.add(name)
    found = disturbance(around, {}, limits)
    assert (found is not None) == bool(beyond)
    assert found is None or found.cause.value in beyond


@given(AROUND)
def test_what_has_no_limit_voids_nothing(around: dict[str, float]) -> None:
    assert disturbance(around, {}, HostLimits(**dict.fromkeys(NAMES))) is None


@given(AROUND, LIMITS, st.sampled_from(sorted(set(NAMES) - {"frequency"})))
def test_a_stricter_limit_never_makes_a_window_valid(
    around: dict[str, float], limits: HostLimits, name: str
) -> None:
    if disturbance(around, {}, limits) is not None and getattr(limits, name) is not None:
        stricter = replace(limits, **{name: getattr(limits, name) / 2})
        assert disturbance(around, {}, stricter) is not None


def test_the_reason_names_who_it_was() -> None:
    others = {"cc1": 0.03, "stress-ng": 0.45, "sh": 0.01, "sshd": 0.004}
    found = disturbance({"others_share": 0.5}, others, DEFAULTS)
    assert found is not None and found.cause is Cause.OTHERS
    assert found.reason == (
        "other programs took 50% of the CPU time (limit 25%): stress-ng 45%, cc1 3%, sh 1%"
    )
    assert programs_text({}) == ""


def test_of_several_limits_the_first_that_was_passed_is_named() -> None:
    found = disturbance({"steal_share": 0.9, "others_share": 0.9}, {}, DEFAULTS)
    assert found is not None and found.cause is Cause.STEAL


def test_a_profile_goes_before_the_machine_and_both_before_the_default() -> None:
    profile = Fairness.model_validate({"others": "10%", "part_of_it": ["postgres"]})
    here = Fairness.model_validate({"others": "off", "steal": "off", "part_of_it": ["pgbouncer"]})
    fair = first_said(profile, here)
    assert fair.part_of_it == ("postgres", "pgbouncer")
    limits = limits_of(fair, attached=False)
    assert (limits.others, limits.steal, limits.memory) == (0.1, 1.0, DEFAULTS.memory)


def test_the_clients_of_a_service_that_runs_already_are_no_disturbance() -> None:
    limits = limits_of(Fairness(), attached=True)
    assert limits.others is None
    assert limits.memory is None
    assert limits.steal == DEFAULTS.steal
    assert limits_of(Fairness.model_validate({"others": "30%"}), attached=True).others == 0.3


def test_every_limit_can_be_said_in_a_profile() -> None:
    assert {item.name for item in fields(HostLimits)} == {*Fairness.model_fields} - {"part_of_it"}
    off = Fairness.model_validate(dict.fromkeys(NAMES, "off"))
    everything = {key: 0.0 if key == "frequency_share" else 1.0 for key in NAMES.values()}
    assert disturbance(everything, {}, limits_of(off, attached=False)) is None


@pytest.fixture
def cpus(tmp_path: Path) -> Path:
    """The files of two CPUs, as cpufreq and the thermal driver make them."""
    for number, khz in ((0, 800_000), (1, 2_700_000)):
        policy = tmp_path / f"cpufreq/policy{number}"
        policy.mkdir(parents=True)
        (policy / "cpuinfo_max_freq").write_text("3000000\n")
        (policy / "scaling_cur_freq").write_text(f"{khz}\n")
        throttle = tmp_path / f"cpu{number}/thermal_throttle"
        throttle.mkdir(parents=True)
        (throttle / "core_throttle_total_time_ms").write_text("100\n")
        (throttle / "package_throttle_total_time_ms").write_text("250\n")
    (tmp_path / "cpuidle").mkdir()
    return tmp_path


def test_the_fastest_cpu_and_the_hottest_count(cpus: Path) -> None:
    files = CpuFiles(str(cpus))
    assert (files.no_frequency, files.no_throttling) == ("", "")
    before = files.look()
    assert before.frequency_share == pytest.approx(0.9)
    assert throttled_share(before, files.look(), 2.0) == 0
    (cpus / "cpu1/thermal_throttle/core_throttle_total_time_ms").write_text("600\n")
    assert throttled_share(before, files.look(), 2.0) == pytest.approx(0.25)


def test_a_cpu_that_is_taken_offline_is_left_out(cpus: Path) -> None:
    files = CpuFiles(str(cpus))
    before = files.look()
    (cpus / "cpufreq/policy1/scaling_cur_freq").unlink()
    (cpus / "cpu0/thermal_throttle/core_throttle_total_time_ms").unlink()
    after = files.look()
    assert after.frequency_share == pytest.approx(0.8 / 3)
    assert throttled_share(before, after, 1.0) == 0


def test_what_a_host_does_not_tell_is_missing_and_never_nothing(tmp_path: Path) -> None:
    files = CpuFiles(str(tmp_path))
    assert files.no_frequency and files.no_throttling
    assert files.look() == CpuState()
    assert throttled_share(files.look(), files.look(), 1.0) is None


def test_a_survey_names_each_thing_once() -> None:
    found = list(survey(DEFAULTS, virtual=True))
    assert [item.name for item in found] == list(NAMES)
    for item in found:
        assert ("not recorded here" in item.text) == (bool(item.missing) and not item.partly)


def test_the_memory_of_an_attached_service_depends_on_its_cgroup() -> None:
    (command,) = (item for item in survey(DEFAULTS, virtual=False) if item.name == "memory")
    (attached,) = (
        item for item in survey(DEFAULTS, virtual=False, attached=True) if item.name == "memory"
    )
    assert attached.missing
    assert attached.partly or attached.missing == command.missing

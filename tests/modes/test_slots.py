"""Slots of a kernel's schedule: long enough, and no window counts that its slot did not hold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktune.evidence.pairs import Arm
from ktune.measure.window import Validity
from ktune.modes.kernel_pairs import NO_LENGTH, fixed_window_s, switched_by, why_not
from ktune.modes.proof import switching_record
from ktune.modes.slots import NS, Pace, not_in_force, overheads_of, pace_of
from ktune.profile.load import parse_profile
from ktune.proxy.backends import Backend, Standing
from ktune.proxy.stamps import Stamp, Stamped
from ktune.records.types import Phase, StampRecord, WindowRecord
from tests.modes.rig import PROFILE

seconds = st.floats(min_value=0.0, max_value=4000.0)
paces = st.builds(Pace, seconds, seconds, seconds)
moments = st.integers(min_value=0, max_value=10**15)
stamps = st.builds(
    Stamp,
    window=st.integers(0, 4095),
    candidate=st.booleans(),
    asked_ns=moments,
    begun_ns=moments,
    ended_ns=moments,
    late=st.booleans(),
    failed=st.booleans(),
    cut=st.booleans(),
)


@given(seconds, seconds, st.lists(st.floats(min_value=0.0, max_value=100.0), max_size=20))
def test_a_slot_holds_its_window_and_what_the_windows_before_took_beside_it(
    settle_s: float, window_s: float, overheads_s: list[float]
) -> None:
    pace = pace_of(settle_s, window_s, overheads_s)
    usual_s = sorted((0.0, 0.0, *overheads_s[-8:]))[-2]
    assert pace.margin_s >= 0.25
    assert pace.margin_s >= min(usual_s, max(10.0, window_s))
    assert pace.margin_s <= max(10.0, window_s)
    assert pace.slot_s >= settle_s + window_s
    assert pace.margin_s >= pace_of(settle_s, window_s, []).margin_s


@given(seconds, seconds, st.lists(st.floats(min_value=0.0, max_value=0.1), max_size=7))
def test_no_slot_is_sized_for_one_stall(
    settle_s: float, window_s: float, overheads_s: list[float]
) -> None:
    usual, stalled = (pace_of(settle_s, window_s, [*overheads_s, late]) for late in (0.1, 8.0))
    assert stalled.slot_s <= usual.slot_s + 0.15


@given(stamps, paces, st.booleans(), moments, moments)
def test_a_window_counts_only_within_the_stamps_of_its_own_side(
    stamp: Stamp, pace: Pace, candidate: bool, from_ns: int, to_ns: int
) -> None:
    held = not not_in_force(stamp, pace, candidate=candidate, from_ns=from_ns, to_ns=to_ns)
    settled_ns = stamp.begun_ns + round(pace.settle_s * NS)
    assert held == (
        stamp.candidate == candidate
        and not stamp.failed
        and stamp.begun_ns > 0
        and from_ns >= settled_ns
        and (stamp.ended_ns == 0 or to_ns <= stamp.ended_ns)
    )


@given(stamps, paces, st.integers(0, 10**13), st.integers(0, 10**13), st.integers(1, 10**13))
def test_a_switch_before_the_windows_end_voids_it_however_short(
    stamp: Stamp, pace: Pace, after_ns: int, lasts_ns: int, too_early_ns: int
) -> None:
    begun = replace(stamp, begun_ns=max(1, stamp.begun_ns), failed=False)
    from_ns = pace.settled_ns(begun) + after_ns
    to_ns = from_ns + lasts_ns
    for ended_ns, held in ((0, True), (to_ns, True), (to_ns + 1, True), (to_ns - 1, False)):
        ended = replace(begun, ended_ns=max(0, ended_ns))
        why = not_in_force(ended, pace, candidate=begun.candidate, from_ns=from_ns, to_ns=to_ns)
        assert (why == "") is (held or ended.ended_ns == 0)


@given(stamps, paces)
def test_a_window_begun_at_the_latest_ends_with_its_slot(stamp: Stamp, pace: Pace) -> None:
    ends_ns = pace.latest_ns(stamp) + round(pace.window_s * NS)
    assert abs(ends_ns - (stamp.begun_ns + round(pace.slot_s * NS))) <= 1
    assert pace.settled_ns(stamp) <= pace.latest_ns(stamp) + 1


@given(st.lists(stamps, max_size=4), st.booleans())
def test_stamps_survive_the_way_from_the_guardian(windows: list[Stamp], over: bool) -> None:
    told = Stamped(tuple(windows), over)
    assert Stamped.from_json(told.to_json()) == told


def window(
    pair: int, arm: Arm, slot_s: float | None, validity: Validity = Validity.VALID
) -> WindowRecord:
    stamp = None if slot_s is None else StampRecord(0.002, slot_s, 1.0, 0.1, 0.2)
    return WindowRecord(
        0, Phase.DECISION, arm, pair, None, {}, {}, validity.value, "", "", 1.0, stamp
    )


def test_a_resumed_run_goes_by_what_its_windows_took_and_not_by_their_slots() -> None:
    searched = replace(window(0, Arm.BASELINE, None), duration_s=2.5)
    void = replace(window(0, Arm.BASELINE, None, Validity.VOID), duration_s=99.0)
    in_slot = window(1, Arm.BASELINE, 1.0)  # of its second, 0.2 were left
    assert overheads_of([searched, void], 0.5, 1.0) == [1.0]
    assert overheads_of([searched, void, in_slot], 0.1, 0.5) == [pytest.approx(0.2)]
    assert overheads_of([in_slot], 1.0, 1.0) == [0.0]


def test_the_record_tells_the_worst_of_the_stamps() -> None:
    found = switching_record(
        [
            window(0, Arm.BASELINE, 1.004),
            window(0, Arm.CANDIDATE, 1.001),
            window(1, Arm.BASELINE, 1.020),
            window(1, Arm.CANDIDATE, 1.021),
            window(2, Arm.BASELINE, None, Validity.VOID),
        ],
        "",
    )
    assert (found.by, found.kernel_windows) == ("kernel", 4)
    assert found.worst_skew_s == pytest.approx(0.003)
    assert found.worst_late_s == pytest.approx(0.021)
    assert found.worst_switch_s == 0.002


def test_the_record_tells_who_switched_also_when_both_did() -> None:
    both = [window(0, Arm.BASELINE, 1.0), window(1, Arm.BASELINE, None)]
    assert switching_record(both, "").by == "kernel and ktune"
    assert switching_record(both[1:], NO_LENGTH).by == "ktune"
    assert switching_record([], NO_LENGTH).by == "ktune"
    assert switching_record([], "").by == "kernel"


def test_only_windows_of_a_known_length_in_the_modules_hands_are_the_kernels() -> None:
    module = Standing(Backend.MODULE)
    assert why_not(module, 10.0) == ""
    assert why_not(module, None) == NO_LENGTH
    assert "it is not loaded" in why_not(Standing(module_why="it is not loaded"), 10.0)
    assert switched_by(NO_LENGTH).startswith("switched by ktune: its windows are programs")
    assert switched_by("") == "switched by the kernel, by a schedule of coins"


def test_the_length_of_a_window_is_known_of_attached_services_alone(tmp_path: Path) -> None:
    command = parse_profile(PROFILE.encode(), file="command.yaml")
    assert fixed_window_s(command.workload) is None
    at_home = PROFILE.replace("scope: ephemeral", "scope: host").split("baseline:")
    attached = (
        (at_home[0] + at_home[1].split("\n", 1)[1])
        .replace('command: ["true"]', "attach: {pid: 1}\n  settle: 2s")
        .replace("renews:", "measure: {for: 10s}\n  renews:")
    )
    attached = attached.replace(
        "{from: key_value, unit: 1/s, plausible: [0.001, 1000000]}",
        "{from: proc, file: io, field: read_bytes, plausible: [1, 1000000000]}",
    ).replace("[new_socket, new_process]", "[new_socket]")
    found = fixed_window_s(parse_profile(attached.encode(), file="attached.yaml").workload)
    assert found == 12.0

"""Calibrations with a simulated workload: what is said of noise, switches and order."""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
from pathlib import Path

import pytest

from ktune.evidence.coin import Order, toss
from ktune.evidence.pairs import Arm, PairState
from ktune.modes.bench import Disturbed
from ktune.modes.calibration import candidate_of
from ktune.modes.modes import Emergency
from ktune.modes.readiness import judge
from ktune.modes.resume import pairs_of
from ktune.records.readiness import Readiness, read_readiness, write_readiness
from ktune.records.types import Phase
from ktune.report.progress import Note, PairDone
from tests.modes.rig import FIN, PROBES, PROFILE, RUNS, Rig, Simulated, Speed, Values, rig
from tests.modes.test_tuning import flat, in_scope

EXPERT = PROFILE.replace("baseline:", f"expert: [{{{FIN}: 30}}]\nbaseline:")
CONSTRAINED = PROFILE.replace(
    "promotion:", "constraints: [{metric: speed, worse_by_at_most: 2%}]\npromotion:"
)


def calibrate(
    tmp_path: Path,
    speed: Speed = flat,
    *,
    noise: float = 0.005,
    text: str = PROFILE,
    pairs: int = 10,
) -> tuple[Readiness, Rig]:
    with rig(tmp_path, text) as it, it.calibration(Simulated(speed, noise=noise)) as calibration:
        calibration.measure(pairs)
        return judge(calibration.pairs, calibration.records, it.settings, runs=RUNS), it


def test_a_quiet_workload_is_ready(tmp_path: Path) -> None:
    found, it = calibrate(tmp_path)
    assert found.ready and not found.problems and not found.remarks
    assert 0.002 < found.noise.sd < 0.015 and found.noise.low < found.noise.sd < found.noise.high
    assert found.proof.power > 0.8 and found.proof.gain == pytest.approx(0.02)
    assert found.proof.pairs_needed is not None and 5 <= found.proof.pairs_needed <= 30
    assert found.proof.smallest_gain is not None and found.proof.smallest_gain <= 0.02
    assert not found.gate.fired
    assert len([told for told in it.told if isinstance(told, PairDone)]) == 10


def test_a_noisy_workload_is_refused_with_what_would_help(tmp_path: Path) -> None:
    found, _ = calibrate(tmp_path, noise=0.05)
    assert not found.ready and found.proof.power < 0.5
    assert "within" in found.problems[0] or "of 30 pairs" in found.problems[0]
    helps = " ".join(found.helps)
    for words in ("more pairs", "times as long", "larger promotion: {mei:", "less noise"):
        assert words in helps


def test_what_is_said_to_help_does(tmp_path: Path) -> None:
    """The larger MEI and the smaller noise that it names are ready when one takes them."""
    found, it = calibrate(tmp_path, noise=0.05)
    mei = re.search(r"mei: ([0-9.]+)%", " ".join(found.helps))
    assert mei is not None
    larger = dataclasses.replace(it.settings, mei_log=math.log1p(float(mei[1]) / 100))
    records = it.study.windows().records
    pairs = pairs_of(records, Phase.CALIBRATION, it.settings.goals)
    assert judge(pairs, records, larger, runs=RUNS).ready


def test_the_pairs_are_of_the_baseline_alone_and_in_the_order_of_the_coin(tmp_path: Path) -> None:
    source = Simulated(flat)
    with rig(tmp_path) as it, it.calibration(source) as calibration:
        calibration.measure(10)
        records = it.study.windows().records
    own = [record for record in records if record.phase is Phase.CALIBRATION]
    assert len(own) == 20 and all(record.assignment == it.plan.baseline for record in own)
    for draw in range(10):
        first, second = (record.arm for record in own if record.pair == draw)
        assert {first, second} == set(Arm)
        candidate_first = toss(11, "calibration", draw) is Order.CANDIDATE_FIRST
        assert (first is Arm.CANDIDATE) == candidate_first


def test_it_switches_under_the_lease_and_restores(tmp_path: Path) -> None:
    source = Simulated(flat)
    with rig(tmp_path, EXPERT) as it:
        before = in_scope(it, FIN)
        with it.calibration(source) as calibration:
            assert calibration.candidate == {FIN: 30}
            calibration.measure(10)
        assert in_scope(it, FIN) == before
    assert sum(values[FIN] == 30 for values in source.seen) == 18
    assert sum(values[FIN] == 60 for values in source.seen) == 29
    records = it.study.windows().records
    phases = "".join("c" if r.phase is Phase.CALIBRATION else "s" for r in records)
    assert phases == "cc" + "ssscc" * 9
    blocks = [r.arm for r in records if r.phase is Phase.SWITCHING]
    assert blocks == [Arm.CANDIDATE, Arm.CANDIDATE, Arm.BASELINE] * 9


def test_without_an_expert_setting_one_knob_is_moved_far(tmp_path: Path) -> None:
    with rig(tmp_path) as it:
        assert candidate_of(it.plan) == {FIN: 110}


def test_what_a_candidate_leaves_behind_is_found(tmp_path: Path) -> None:
    """The baseline is 20 % slower for one window after the candidate."""
    left = {"behind": False}

    def dirty(values: Values, _: int) -> float:
        slow, left["behind"] = left["behind"], values[FIN] == 30
        return 80.0 if slow and values[FIN] == 60 else 100.0

    found, _ = calibrate(tmp_path, dirty, text=EXPERT)
    assert found.carry_over is not None and found.carry_over.found
    assert found.carry_over.mean == pytest.approx(-0.22, abs=0.03)
    assert found.warm_up is not None
    assert any("leaves something behind" in remark for remark in found.remarks)


def test_a_window_that_begins_too_early_after_a_switch_is_found(tmp_path: Path) -> None:
    last: dict[str, object] = {}

    def cold(values: Values, _: int) -> float:
        switched = last.get("fin", values[FIN]) != values[FIN]
        last["fin"] = values[FIN]
        return 70.0 if switched else 100.0

    found, _ = calibrate(tmp_path, cold, text=EXPERT)
    assert found.warm_up is not None and found.warm_up.found and found.warm_up.mean < -0.3
    assert any("after a switch" in remark for remark in found.remarks)


def test_neither_is_found_in_a_drift_that_has_nothing_to_do_with_switches(tmp_path: Path) -> None:
    found, _ = calibrate(tmp_path, lambda _, number: 100.0 * 1.01**number, text=EXPERT)
    assert found.carry_over is not None and not found.carry_over.found
    assert found.warm_up is not None and not found.warm_up.found


def test_a_candidate_that_crashes_costs_only_what_is_known_of_switches(tmp_path: Path) -> None:
    found, it = calibrate(
        tmp_path, lambda values, _: 0.0 if values[FIN] == 30 else 100.0, text=EXPERT
    )
    assert found.ready and found.carry_over is None and found.warm_up is None
    assert any(isinstance(told, Note) and "switching" in told.text for told in it.told)


def test_a_baseline_that_fails_ends_it(tmp_path: Path) -> None:
    with (
        rig(tmp_path) as it,
        it.calibration(Simulated(lambda values, number: 0.0)) as calibration,
        pytest.raises(Disturbed, match="under the baseline itself"),
    ):
        calibration.measure(10)


def test_a_constraint_too_noisy_for_its_margin_is_named_with_one_that_is_not(
    tmp_path: Path,
) -> None:
    found, _ = calibrate(tmp_path, noise=0.05, text=CONSTRAINED)
    assert not found.ready and "speed" in found.problems[0]
    wider = re.search(r"{metric: speed, worse_by_at_most: (\d+)%} \(now 2.0%\)", found.helps[0])
    assert wider is not None
    text = CONSTRAINED.replace("worse_by_at_most: 2%", f"worse_by_at_most: {wider[1]}%")
    text = text.replace("pairs: {min", "mei: 20%, pairs: {min")
    assert calibrate(tmp_path / "wider", noise=0.05, text=text)[0].ready


def test_a_rule_that_fires_on_identical_settings_is_said(tmp_path: Path) -> None:
    """A workload that knows which arm it runs for: what a bug in the order would look like."""
    with rig(tmp_path) as it:

        def knows(_: Values, __: int) -> float:
            return 100.0

        with it.calibration(Simulated(knows, noise=0.001)) as calibration:
            calibration.measure(10)
            settings = calibration.settings
            biased = [
                dataclasses.replace(pair, gain=pair.gain + 0.05)
                for pair in calibration.pairs
                if pair.state is PairState.MEASURED and pair.gain is not None
            ]
            found = judge(biased, it.study.windows().records, settings, runs=RUNS)
    assert found.gate.fired and not found.ready
    assert any("identical settings" in problem for problem in found.problems)


def test_guardrails_end_it_like_a_run(tmp_path: Path) -> None:
    with rig(tmp_path) as it, it.calibration(Simulated(flat)) as calibration:
        calibration.bench.guardrails.crossed = lambda: "planted"  # type: ignore[method-assign]
        calibration.bench.guardrails.quiet = lambda: True  # type: ignore[method-assign]
        calibration.keeper.rest = lambda: None
        with pytest.raises(Emergency):
            calibration.measure(10)


def test_the_answer_is_written_beside_its_windows(tmp_path: Path) -> None:
    found, it = calibrate(tmp_path)
    found = dataclasses.replace(found, switched_to={PROBES: 3})
    write_readiness(it.study.folder, found)
    assert read_readiness(it.study.folder) == found


@pytest.mark.full
def test_the_time_to_wait_is_a_number(tmp_path: Path) -> None:
    """After each switch speed falls by 20 %, 4 %, ... for one window after another."""
    fin: list[object] = [60]
    since = [9]

    def fading(values: Values, _: int) -> float:
        since[0] = since[0] + 1 if values[FIN] == fin[0] else 0
        fin[0] = values[FIN]
        return 100.0 * (1 - 0.2 * 0.2 ** since[0])

    text = EXPERT.replace("  metrics:", "  measure: {count: 1000, unit: ops}\n  metrics:")
    found, _ = calibrate(tmp_path, fading, noise=0.001, text=text, pairs=12)
    assert found.carry_over is not None and found.carry_over.found
    assert found.lasting is not None and found.lasting.found
    wait = found.waiting
    assert wait.enough and wait.settle_now_s == 0
    # log(20 / .2) / log(5) = 2.9 windows until a tenth of the MEI of 2 % is left
    assert 2.5 * found.window_s < wait.settle_s < 3.5 * found.window_s
    assert wait.warm_up is not None and 2500 < wait.warm_up < 3500 and wait.unit == "ops"
    assert any("settle:" in remark and "warm_up:" in remark for remark in found.remarks)


def test_where_nothing_is_left_behind_the_wait_stays(tmp_path: Path) -> None:
    text = EXPERT.replace("  metrics:", "  settle: 1ms\n  metrics:")
    found, _ = calibrate(tmp_path, text=text)
    assert found.waiting.settle_s == found.waiting.settle_now_s == 0.001 and found.waiting.enough


def test_what_the_first_window_after_a_switch_has_lost_is_over_in_the_second(
    tmp_path: Path,
) -> None:
    left = {"behind": False}

    def dirty(values: Values, _: int) -> float:
        slow, left["behind"] = left["behind"], values[FIN] == 30
        return 80.0 if slow and values[FIN] == 60 else 100.0

    found, _ = calibrate(tmp_path, dirty, text=EXPERT)
    assert found.lasting is not None and not found.lasting.found
    assert found.waiting.enough
    assert 0 < found.waiting.settle_s <= 1.2 * found.window_s


@pytest.mark.parametrize(
    ("season", "helps"), [(0, "if the noise averages out"), (1, "hardly longer windows")]
)
def test_longer_windows_are_advised_by_how_the_noise_averages_out(
    tmp_path: Path, season: int, helps: str
) -> None:
    """A slow wave is the same in both windows of a pair, and is not lost in a longer one."""
    found, _ = calibrate(
        tmp_path,
        lambda _, number: 100.0 * math.exp(season * 0.4 * math.sin(number / 3)),
        noise=0.05,
        pairs=20,
    )
    assert found.averaging is not None
    assert any(helps in item for item in found.helps)


def test_no_window_is_advised_that_nobody_would_make(tmp_path: Path) -> None:
    text = PROFILE.replace("pairs: {min", "mei: 0.1%, pairs: {min")
    found, _ = calibrate(tmp_path, noise=0.05, text=text)
    (advice,) = [item for item in found.helps if "windows" in item]
    assert advice.startswith("hardly longer windows: about")


def test_an_interrupted_one_goes_on_where_it_was(tmp_path: Path) -> None:
    class Cut(Exception):
        pass

    def cut(number: int) -> None:
        if number == 22:
            raise Cut

    with rig(tmp_path, EXPERT) as it:
        with it.calibration(Simulated(flat, before=cut)) as calibration, pytest.raises(Cut):
            calibration.measure(10)
        with it.calibration(Simulated(flat, seed=2)) as calibration:
            assert calibration.counted == 5 and calibration.blocks == 4
            calibration.measure(10)
        records = it.study.windows().records
        found = judge(calibration.pairs, calibration.records, it.settings, runs=RUNS)
    assert found.pairs == 10
    assert len({record.seq for record in records}) == len(records)
    gaps = [b.seq - a.seq for a, b in itertools.pairwise(records)]
    assert sorted(gaps)[-2:] == [1, 2], "the windows around the interruption are no neighbours"
    assert found.carry_over is not None and found.carry_over.values == 8

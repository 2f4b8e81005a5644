"""Several objectives: a win on the weighted goal that loses on none; and the front instead."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from ktune.errors import UsageError
from ktune.measure.window import Validity, WindowResult
from ktune.policy.freeze import freeze
from ktune.policy.model import PolicyDocument
from ktune.profile.yaml12 import load_yaml
from ktune.records.front import read_front
from ktune.records.summary import report_lines
from ktune.records.types import Phase, Proof, ProofOutcome, StudyStatus
from tests.modes.rig import FIN, PROFILE, Values, rig, windows

TWO = (
    PROFILE.replace(
        "    speed: {from: key_value, unit: 1/s, plausible: [0.001, 1000000]}",
        "    speed: {from: key_value, unit: 1/s, plausible: [0.001, 1000000]}\n"
        "    delay: {from: key_value, unit: ms, plausible: [0.001, 1000000]}",
    )
    .replace(
        "objectives: [{metric: speed, direction: maximize}]",
        "objectives: [{metric: speed, direction: maximize}, {metric: delay, direction: minimize}]",
    )
    .replace("trials: 12, stop_after: 12", "trials: 14, stop_after: 14")
)


def machine(faster: float, slower: float, noise: float = 0.01):  # type: ignore[no-untyped-def]
    """Below 50 of the first knob: `faster` times the speed at `slower` times the delay."""

    def window(values: Values, _: int, rng: random.Random) -> WindowResult:
        fin = values[FIN]
        assert isinstance(fin, int)
        on = fin < 50
        speed = (faster if on else 1.0) * rng.lognormvariate(0, noise)
        delay = (slower if on else 1.0) * rng.lognormvariate(0, noise)
        return WindowResult({"speed": 100 * speed, "delay": 10 * delay}, 0.001, Validity.VALID)

    return windows(window)


def proof_of(tmp_path: Path, text: str, faster: float, slower: float) -> Proof:
    with rig(tmp_path, text) as it, it.tuning(machine(faster, slower)) as tuning:
        proof = tuning.run().proof
    assert proof is not None
    return proof


def test_a_win_on_both_is_promoted_with_the_gain_of_each(tmp_path: Path) -> None:
    with rig(tmp_path, TWO) as it, it.tuning(machine(1.3, 0.9)) as tuning:
        proof = tuning.run().proof
        assert proof is not None and proof.outcome is ProofOutcome.IMPROVED
        assert proof.gain is not None and proof.gain.metric == "speed+delay"
        assert proof.gain.estimate == pytest.approx((1.3 / 0.9) ** 0.5 - 1, abs=0.02)
        speed, delay = proof.objectives
        assert speed.interval[0] <= 0.30 <= speed.interval[1]
        assert delay.interval[0] <= 0.10 <= delay.interval[1]
        assert delay.worst < 0 and delay.margin == pytest.approx(0.02)
        assert proof.constraints == ()
        report = "\n".join(report_lines(it.study))
        assert re.search(r"  objective   delay [\d.]+% better", report), report
        assert "allowed: 2.0% worse): held" in report


def test_a_win_on_one_that_loses_on_the_other_is_not_promoted(tmp_path: Path) -> None:
    proof = proof_of(tmp_path, TWO.replace("seed: 11", "seed: 5"), 1.5, 1.15)
    assert proof.outcome is ProofOutcome.NO_IMPROVEMENT_FOUND


def test_the_trade_is_promoted_where_the_profile_allows_it(tmp_path: Path) -> None:
    allowed = TWO.replace(
        "direction: minimize}", "direction: minimize, worse_by_at_most: 25%}"
    ).replace("trials: 14", "trials: 10")
    proof = proof_of(tmp_path, allowed, 1.5, 1.15)
    assert proof.outcome is ProofOutcome.IMPROVED
    assert [item.metric for item in proof.objectives] == ["speed", "delay"]
    delay = proof.objectives[1]
    assert -0.20 < delay.estimate < -0.12 and 0.15 < delay.worst < delay.margin


def test_what_only_the_proof_shows_to_be_worse_is_not_promoted(tmp_path: Path) -> None:
    """Harmless while it is searched; in fresh windows the second objective loses."""
    with rig(tmp_path, TWO) as it:

        def window(values: Values, n: int, rng: random.Random) -> WindowResult:
            proving = (it.study.folder / "finalists.json").is_file()
            source = machine(1.5, 1.1 if proving else 1.0)
            assert source.window is not None
            return source.window(values, n, rng)

        with it.tuning(windows(window)) as tuning:
            proof = tuning.run().proof
    assert proof is not None and proof.outcome is ProofOutcome.NO_IMPROVEMENT_FOUND
    assert "the constraint on delay" in proof.reason


def test_a_constraint_on_an_objective_is_its_margin(tmp_path: Path) -> None:
    text = TWO.replace(
        "objectives:", "constraints: [{metric: delay, worse_by_at_most: 25%}]\nobjectives:"
    )
    proof = proof_of(tmp_path, text, 1.5, 1.15)
    assert proof.outcome is ProofOutcome.IMPROVED
    assert proof.objectives[1].margin == pytest.approx(0.25)
    assert [item.metric for item in proof.constraints] == ["delay"]


def test_the_policy_carries_the_gain_of_each_objective(tmp_path: Path) -> None:
    with rig(tmp_path, TWO) as it, it.tuning(machine(1.3, 0.9)) as tuning:
        tuning.run()
        text = freeze(it.study, it.paths)
    policy = PolicyDocument.model_validate(load_yaml(text.encode(), file="policy").plain())
    assert policy.evidence.gain.metric == "speed+delay"
    assert [item.metric for item in policy.evidence.objectives] == ["speed", "delay"]
    assert all(item.held for item in policy.evidence.objectives)


def trade(values: Values, _: int, rng: random.Random) -> WindowResult:
    """The lower the first knob, the faster and the later; the second knob does nothing."""
    fin = values[FIN]
    assert isinstance(fin, int)
    speed = 100 * (110 / fin) ** 0.5 * rng.lognormvariate(0, 0.005)
    delay = 10 * (110 / fin) ** 0.25 * rng.lognormvariate(0, 0.005)
    return WindowResult({"speed": speed, "delay": delay}, 0.001, Validity.VALID)


def test_a_pareto_search_shows_trades_and_proves_nothing(tmp_path: Path) -> None:
    with rig(tmp_path, TWO) as it, it.tuning(windows(trade), pareto=True) as tuning:
        done = tuning.run()
        assert done.proof is None and done.outcome == "unconfirmed"
        assert it.study.status is StudyStatus.FINISHED
        front = read_front(it.study.folder)
        assert front is not None and len(front.points) >= 3
        report = "\n".join(report_lines(it.study))
    assert "unconfirmed trades" in report
    speeds = [point.gains["speed"] for point in front.points]
    delays = [point.gains["delay"] for point in front.points]
    assert max(speeds) > 0.1 and min(delays) < -0.02 and max(delays) > 0
    for one in front.points:
        for other in front.points:
            better = [one.gains[name] >= other.gains[name] for name in one.gains]
            assert one is other or not all(better)
    beyond = {point.trial: point.beyond_margin for point in front.points}
    assert any("delay" in names for names in beyond.values()), "such a trade would be refused"
    assert not any(r.phase is Phase.DECISION for r in it.study.windows().records)


def test_a_trade_of_the_front_can_be_proven(tmp_path: Path) -> None:
    allowed = TWO.replace("direction: minimize}", "direction: minimize, worse_by_at_most: 60%}")
    with rig(tmp_path, allowed) as it:
        with it.tuning(windows(trade), pareto=True) as tuning:
            tuning.run()
        front = read_front(it.study.folder)
        assert front is not None
        point = max(front.points, key=lambda item: item.gains["speed"])
        it.study.resume()
        with it.tuning(windows(trade, 2), pareto=True, picks=[point.trial]) as tuning:
            proof = tuning.run().proof
        assert proof is not None and proof.outcome is ProofOutcome.IMPROVED
        assert dict(proof.assignment) == dict(point.assignment)
        assert it.study.status is StudyStatus.PROVEN


def test_picks_share_alpha_and_are_not_exchanged(tmp_path: Path) -> None:
    with rig(tmp_path, TWO) as it:
        with it.tuning(windows(trade), pareto=True) as tuning:
            tuning.run()
        front = read_front(it.study.folder)
        assert front is not None
        one, other, third = (point.trial for point in front.points[:3])
        it.study.resume()
        with it.tuning(windows(trade, 2), pareto=True, picks=[one, other]) as tuning:
            proof = tuning.run().proof
        assert proof is not None
        if proof.rule.threshold is not None:
            assert proof.rule.threshold in (40.0, 80.0), "1/alpha or 2/alpha of half the alpha"
        it.study.resume()
        with (
            it.tuning(windows(trade, 3), pareto=True, picks=[third]) as tuning,
            pytest.raises(UsageError, match="are fixed"),
        ):
            tuning.run()


def test_a_trial_that_is_not_there_can_not_be_picked(tmp_path: Path) -> None:
    with rig(tmp_path, TWO) as it:
        with it.tuning(windows(trade), pareto=True) as tuning:
            tuning.run()
        it.study.resume()
        with (
            it.tuning(windows(trade), pareto=True, picks=[9999]) as tuning,
            pytest.raises(UsageError, match="no trial 9999"),
        ):
            tuning.run()

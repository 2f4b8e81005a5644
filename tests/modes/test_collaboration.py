"""Collaboration clause by clause: what a window's fate does to its pair and to the proof."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktune.evidence.coin import Order, toss
from ktune.evidence.pairs import Arm, Direction, PairState
from ktune.measure.window import Validity, WindowResult
from ktune.modes.bench import Measured
from ktune.modes.collaboration import TooDisturbed, pair_of
from ktune.modes.scoring import Goals, Limit
from ktune.records.summary import report_lines
from ktune.records.types import Phase, ProofOutcome
from ktune.search.baseline import Goal
from tests.modes.rig import FIN, PROFILE, Rig, Values, rig, windows

GOALS = Goals(
    (Goal("speed", Direction.MAXIMIZE),), (Limit("p99", Direction.MINIMIZE, 0.05, at_most=50.0),)
)
BETTER_BY = 1.3


def speed_of(values: Values, factor: float = BETTER_BY) -> float:
    fin = values[FIN]
    assert isinstance(fin, int)
    return 100.0 * (factor if fin < 50 else 1.0)


def valid(speed: float) -> WindowResult:
    return WindowResult({"speed": speed}, 0.001, Validity.VALID)


def proving(it: Rig) -> bool:
    return (it.study.folder / "finalists.json").is_file()


window_fates = st.builds(
    Measured,
    st.builds(
        lambda speed, p99: {"speed": speed, "p99": p99},
        st.floats(min_value=0.1, max_value=1e6),
        st.floats(min_value=0.1, max_value=100),
    ),
    st.sampled_from(Validity),
)
seen = st.fixed_dictionaries({}, optional={Arm.BASELINE: window_fates, Arm.CANDIDATE: window_fates})


@given(seen)
def test_a_pair_is_what_its_windows_say(windows_seen: dict[Arm, Measured]) -> None:
    pair = pair_of(3, Order.CANDIDATE_FIRST, windows_seen, GOALS)
    base, cand = windows_seen.get(Arm.BASELINE), windows_seen.get(Arm.CANDIDATE)
    if base is not None and not base.valid:
        assert pair.state is PairState.VOID and pair.void_arm is Arm.BASELINE
    elif cand is not None and cand.validity is Validity.CANDIDATE_FAILED:
        assert pair.state is PairState.LOST
    elif cand is not None and cand.validity is Validity.VOID:
        assert pair.state is PairState.VOID and pair.void_arm is Arm.CANDIDATE
    elif base is None or cand is None:
        assert pair.state is PairState.VOID
    elif cand.metrics["p99"] > 50:
        assert pair.state is PairState.LOST
    else:
        assert pair.state is PairState.MEASURED and pair.gain is not None
        assert (pair.gain > 0) == (cand.metrics["speed"] > base.metrics["speed"])


def test_a_void_window_voids_its_pair_and_a_new_coin_is_tossed(tmp_path: Path) -> None:
    with rig(tmp_path) as it:
        first: list[int] = []

        def window(values: Values, n: int, rng: random.Random) -> WindowResult:
            if proving(it):
                first.append(n)
                if len(first) in (1, 4):  # the first window of draw 0, the second of draw 2
                    return WindowResult({}, 0.001, Validity.VOID, "stolen CPU time")
            return valid(speed_of(values) * rng.lognormvariate(0, 0.01))

        with it.tuning(windows(window)) as tuning:
            proof = tuning.run().proof
        records = it.study.windows().records
        report = "\n".join(report_lines(it.study))
    assert proof is not None and proof.outcome is ProofOutcome.IMPROVED
    assert (proof.pairs.void, proof.pairs.decision) == (2, 6)
    assert proof.switching is not None and proof.switching.by == "ktune"
    assert "the kernel module does not hold the lease" in proof.switching.why
    assert f"switched by ktune ({proof.switching.why})" in report
    by_draw: dict[int, list[Arm]] = {}
    for record in records:
        if record.phase is Phase.DECISION and record.pair is not None:
            by_draw.setdefault(record.pair, []).append(record.arm)
    assert list(by_draw) == list(range(8)), "each void pair costs one toss"
    for draw, arms in by_draw.items():
        wanted = (
            Arm.CANDIDATE if toss(11, "decision", draw) is Order.CANDIDATE_FIRST else (Arm.BASELINE)
        )
        assert arms[0] is wanted
    assert "pairs voided by a window: " in report and "in the candidate's" in report


def test_void_upon_void_ends_the_proof_and_says_why(tmp_path: Path) -> None:
    with rig(tmp_path) as it:

        def window(values: Values, _: int, rng: random.Random) -> WindowResult:
            if proving(it):
                return WindowResult({}, 0.001, Validity.VOID, "stolen CPU time")
            return valid(speed_of(values) * rng.lognormvariate(0, 0.01))

        with (
            it.tuning(windows(window)) as tuning,
            pytest.raises(TooDisturbed, match="stolen CPU time"),
        ):
            tuning.run()


def test_an_outlier_is_kept_and_the_report_says_so(tmp_path: Path) -> None:
    with rig(tmp_path) as it:
        candidates: list[int] = []

        def window(values: Values, n: int, rng: random.Random) -> WindowResult:
            speed = speed_of(values) * rng.lognormvariate(0, 0.01)
            if proving(it) and speed > 115:
                candidates.append(n)
                if len(candidates) == 9:
                    speed *= 20
            return valid(speed)

        with it.tuning(windows(window)) as tuning:
            proof = tuning.run().proof
        report = "\n".join(report_lines(it.study))
    assert proof is not None and proof.outcome is ProofOutcome.IMPROVED
    assert proof.pairs.outliers == 1
    assert proof.gain is not None and proof.gain.interval[1] > 0.5, "it is in the interval"
    assert "outliers    1 of these far out, and counted" in report


def test_against_the_mei_a_smaller_gain_is_not_promoted(tmp_path: Path) -> None:
    against = PROFILE.replace("promotion: {", "promotion: {mei: 20%, against: mei, ")
    outcomes = {}
    for factor in (1.1, 1.4):
        with rig(tmp_path / str(factor), against) as it:

            def window(
                values: Values, _: int, rng: random.Random, by: float = factor
            ) -> WindowResult:
                return valid(speed_of(values, by) * rng.lognormvariate(0, 0.01))

            with it.tuning(windows(window)) as tuning:
                proof = tuning.run().proof
        assert proof is not None
        outcomes[factor] = proof.outcome
    assert outcomes == {1.1: ProofOutcome.NO_IMPROVEMENT_FOUND, 1.4: ProofOutcome.IMPROVED}


def test_finalists_are_measured_again_by_halving(tmp_path: Path) -> None:
    with rig(tmp_path) as it:

        def window(values: Values, _: int, rng: random.Random) -> WindowResult:
            return valid(speed_of(values) * rng.lognormvariate(0, 0.05))

        with it.tuning(windows(window)) as tuning:
            tuning.run()
        again = [
            record.trial
            for record in it.study.windows().records
            if record.phase is Phase.FINALISTS and record.trial is not None
        ]
    counts = sorted((again.count(trial) for trial in set(again)), reverse=True)
    assert len(counts) >= 3 and counts[0] > counts[-1], "fewer and fewer, more and more often"

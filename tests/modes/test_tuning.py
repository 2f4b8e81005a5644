"""Whole runs with a simulated workload: what is promoted, and what never is."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from ktune.errors import ExitCode
from ktune.evidence.coin import Order, toss
from ktune.evidence.pairs import Arm
from ktune.kernel.tunable import sysctl_path
from ktune.measure.window import Validity
from ktune.modes.bench import Disturbed, NothingLeft
from ktune.modes.collaboration import FinalistChanged
from ktune.modes.modes import Emergency
from ktune.proxy.client import LeaseLost
from ktune.records.types import Phase, ProofOutcome, StudyStatus, WindowRecord
from tests.modes.rig import FIN, PROBES, PROFILE, Rig, Simulated, Values, rig

BASE = {FIN: 60, PROBES: 9}


def better_below_50(values: Values, _: int) -> float:
    """30 % faster below 50, whatever the other knob is."""
    fin = values[FIN]
    assert isinstance(fin, int)
    return 130.0 if fin < 50 else 100.0


def flat(_: Values, __: int) -> float:
    return 100.0


def in_scope(rig: Rig, key: str) -> str:
    """The live value, read by a process of its own."""
    ref = rig.scope.ref
    enter = ["nsenter", f"--net={ref.netns}"]
    if ref.userns:
        enter += [f"--user={ref.userns}", "--preserve-credentials"]
    done = subprocess.run([*enter, "cat", sysctl_path(key)], capture_output=True, check=True)
    return done.stdout.decode().strip()


def of(records: tuple[WindowRecord, ...], *phases: Phase) -> list[WindowRecord]:
    return [record for record in records if record.phase in phases]


def test_a_real_effect_is_found_and_its_size_is_right(tmp_path: Path) -> None:
    with rig(tmp_path) as it, it.tuning(Simulated(better_below_50)) as tuning:
        proof = tuning.run().proof
        assert proof is not None and proof.gain is not None
        assert proof.outcome is ProofOutcome.IMPROVED
        low, high = proof.gain.interval
        assert low <= 0.30 <= high
        assert isinstance(proof.assignment[FIN], int) and proof.assignment[FIN] < 50
        assert it.study.status is StudyStatus.PROVEN


def test_a_knob_without_an_effect_is_left_out_of_the_finalist(tmp_path: Path) -> None:
    with rig(tmp_path) as it, it.tuning(Simulated(better_below_50)) as tuning:
        proof = tuning.run().proof
    assert proof is not None and proof.outcome is ProofOutcome.IMPROVED
    assert proof.assignment[PROBES] == BASE[PROBES]


def test_knobs_that_only_help_together_both_stay(tmp_path: Path) -> None:
    def together(values: Values, _: int) -> float:
        fin, probes = values[FIN], values[PROBES]
        assert isinstance(fin, int) and isinstance(probes, int)
        return 150.0 if fin < 90 and probes < 9 and fin != 60 else 100.0

    with rig(tmp_path) as it, it.tuning(Simulated(together)) as tuning:
        proof = tuning.run().proof
    assert proof is not None and proof.outcome is ProofOutcome.IMPROVED
    assert proof.assignment[FIN] != 60 and proof.assignment[PROBES] != 9


def test_where_the_knobs_do_not_matter_nothing_is_promoted(tmp_path: Path) -> None:
    with rig(tmp_path) as it, it.tuning(Simulated(flat, noise=0.05)) as tuning:
        proof = tuning.run().proof
    assert proof is not None and proof.gain is None
    assert proof.outcome is ProofOutcome.NO_IMPROVEMENT_FOUND


def test_luck_in_the_search_is_not_carried_into_the_proof(tmp_path: Path) -> None:
    """Every candidate shines until the proof begins: only fresh windows may decide."""
    with rig(tmp_path) as it:

        def shines_while_searched(values: Values, _: int) -> float:
            windows = it.study.windows().records
            proving = (
                bool(of(windows, Phase.DECISION)) or (it.study.folder / "finalists.json").is_file()
            )
            searched = values[FIN] != 60 or values[PROBES] != 9
            return 100.0 if proving or not searched else 300.0

        with it.tuning(Simulated(shines_while_searched, noise=0.02)) as tuning:
            proof = tuning.run().proof
    assert proof is not None
    assert proof.outcome is ProofOutcome.NO_IMPROVEMENT_FOUND
    assert proof.claimed_by_search is not None and proof.claimed_by_search > 1.0
    assert proof.gain is None


def test_the_gain_comes_from_pairs_that_the_decision_did_not_see(tmp_path: Path) -> None:
    """Double speed in the decision, 10 % after it: the report must say 10 %."""
    with rig(tmp_path) as it:

        def fades(values: Values, _: int) -> float:
            if not (isinstance(values[FIN], int) and values[FIN] < 50):
                return 100.0
            decision = [r for r in it.study.windows().records if r.phase is Phase.DECISION]
            return 110.0 if len(decision) >= 12 else 200.0

        with it.tuning(Simulated(fades, noise=0.001)) as tuning:
            proof = tuning.run().proof
    assert proof is not None and proof.gain is not None
    assert proof.pairs.decision == 6
    assert proof.gain.estimate == pytest.approx(0.10, abs=0.01)


def test_each_pair_runs_in_the_order_of_its_coin(tmp_path: Path) -> None:
    with rig(tmp_path) as it, it.tuning(Simulated(better_below_50)) as tuning:
        tuning.run()
        records = it.study.windows().records
    orders = set()
    for phase in (Phase.DECISION, Phase.AFTER):
        for draw in range(5):
            arms = [r.arm for r in records if r.phase is phase and r.pair == draw]
            order = toss(11, phase.value, draw)
            expected = [Arm.BASELINE, Arm.CANDIDATE]
            assert arms == (expected if order is Order.BASELINE_FIRST else expected[::-1])
            orders.add(order)
    assert orders == set(Order)


def test_windows_run_under_the_values_that_the_record_says(tmp_path: Path) -> None:
    source = Simulated(better_below_50)
    with rig(tmp_path) as it, it.tuning(source) as tuning:
        tuning.run()
        records = it.study.windows().records
    seen = [{key: values[key] for key in BASE} for values in source.seen]
    assert seen == [dict(record.assignment) for record in records]


def test_everything_is_restored_at_the_end(tmp_path: Path) -> None:
    with rig(tmp_path) as it:
        before = {key: in_scope(it, key) for key in BASE}
        with it.tuning(Simulated(better_below_50)) as tuning:
            tuning.run()
        assert {key: in_scope(it, key) for key in BASE} == before


def test_a_candidate_that_crashes_in_the_proof_loses_the_pair(tmp_path: Path) -> None:
    with rig(tmp_path) as it:

        def crashes_when_proven(values: Values, _: int) -> float:
            fixed = (it.study.folder / "finalists.json").is_file()
            candidate = {key: values[key] for key in BASE} != BASE
            return -1.0 if fixed and candidate else better_below_50(values, 0)

        with it.tuning(Simulated(crashes_when_proven)) as tuning:
            proof = tuning.run().proof
    assert proof is not None
    assert proof.outcome is ProofOutcome.NO_IMPROVEMENT_FOUND
    assert proof.pairs.lost == proof.pairs.decision > 0


def test_a_workload_that_fails_under_the_baseline_ends_the_run(tmp_path: Path) -> None:
    fails = pytest.raises(Disturbed, match="fails under the baseline itself: simulated crash")
    with rig(tmp_path) as it, it.tuning(Simulated(lambda *_: -1.0)) as tuning, fails:
        tuning.run()


def test_what_somebody_else_writes_is_kept_and_its_knob_dropped(tmp_path: Path) -> None:
    with rig(tmp_path) as it:

        def administrator(number: int) -> None:
            if number == 3:
                write_in_scope(it, PROBES, "17")

        source = Simulated(better_below_50, before=administrator)
        with it.tuning(source) as tuning:
            done = tuning.run()
        assert [item.key for item in done.foreign] == [PROBES]
        assert in_scope(it, PROBES) == "17"
        later = it.study.windows().records[4:]
        assert all(PROBES not in record.assignment for record in later)
        assert done.proof is not None and done.proof.outcome is ProofOutcome.IMPROVED
        assert done.proof.others_wrote == {PROBES: 17}


def test_what_somebody_else_writes_while_a_write_settles_voids_the_window_before_it_runs(
    tmp_path: Path,
) -> None:
    with rig(tmp_path) as it:
        source = Simulated(flat)
        with it.tuning(source) as tuning:
            bench = tuning.bench
            bench.settle_s = {FIN: 60.0}
            timer = threading.Timer(0.2, write_in_scope, (it, PROBES, "17"))
            timer.start()
            measured = bench.measure({FIN: 40}, phase=Phase.LEARNING, arm=Arm.CANDIDATE)
            timer.join()
        assert measured.validity is Validity.VOID
        assert [item.key for item in bench.foreign] == [PROBES]
        assert source.windows == 0


def test_a_finalist_whose_knob_is_taken_over_is_not_proven(tmp_path: Path) -> None:
    with rig(tmp_path) as it:

        def administrator(number: int) -> None:
            if of(it.study.windows().records, Phase.DECISION):
                write_in_scope(it, FIN, "33")

        source = Simulated(better_below_50, before=administrator)
        with it.tuning(source) as tuning, pytest.raises(FinalistChanged) as raised:
            tuning.run()
        assert raised.value.exit_code is ExitCode.DRIFT
        assert in_scope(it, FIN) == "33"


def test_when_others_take_every_knob_the_run_ends_as_foreign_change(tmp_path: Path) -> None:
    with rig(tmp_path) as it:

        def administrator(_: int) -> None:
            write_in_scope(it, FIN, "33")
            write_in_scope(it, PROBES, "3")

        source = Simulated(flat, before=administrator)
        with it.tuning(source) as tuning, pytest.raises(NothingLeft) as raised:
            tuning.run()
        assert raised.value.exit_code is ExitCode.DRIFT
        assert (in_scope(it, FIN), in_scope(it, PROBES)) == ("33", "3")


def test_three_crossed_guardrails_are_an_emergency(tmp_path: Path) -> None:
    from ktune.modes.bench import GuardrailTripped

    with rig(tmp_path) as it:
        before = in_scope(it, FIN)

        def trips(values: Values, _: int) -> float:
            if {key: values[key] for key in BASE} != BASE:
                raise GuardrailTripped("simulated pressure")
            return 100.0

        with pytest.raises(Emergency, match="trip 3"), it.tuning(Simulated(trips)) as tuning:
            tuning.run()
        assert Emergency.exit_code is ExitCode.ROLLED_BACK
        assert in_scope(it, FIN) == before


def test_a_killed_guardian_is_noticed_in_the_window_and_everything_restored(
    tmp_path: Path,
) -> None:
    with rig(tmp_path) as it:
        before = in_scope(it, FIN)
        source = Simulated(better_below_50)

        def kill(number: int) -> None:
            assert source.lease is not None
            if number == 4:
                os.kill(source.lease.guardian_pid, signal.SIGKILL)
                os.waitpid(source.lease.guardian_pid, 0)

        source.before = kill
        with pytest.raises(LeaseLost, match="every knob is back"), it.tuning(source) as tuning:
            tuning.run()
        assert in_scope(it, FIN) == before


@pytest.mark.parametrize("stop_at", [3, 22, 35, 44])
def test_an_interrupted_run_goes_on_where_it_was(tmp_path: Path, stop_at: int) -> None:
    with rig(tmp_path) as it:

        def stop(number: int) -> None:
            if number == stop_at:
                raise KeyboardInterrupt

        stopped = Simulated(better_below_50, before=stop)
        with pytest.raises(KeyboardInterrupt), it.tuning(stopped) as tuning:
            tuning.run()
        earlier = it.study.windows().records
        with it.tuning(Simulated(better_below_50, seed=2)) as tuning:
            proof = tuning.run().proof
        records = it.study.windows().records
    assert records[: len(earlier)] == earlier
    assert [record.seq for record in records] == list(range(len(records)))
    assert proof is not None and proof.outcome is ProofOutcome.IMPROVED
    for phase in (Phase.DECISION, Phase.AFTER):
        draws = [(r.pair, r.arm) for r in of(records, phase)]
        assert len(draws) == len(set(draws)), "a toss was used twice"


def test_a_constraint_that_breaks_keeps_a_gain_from_being_promoted(tmp_path: Path) -> None:
    text = PROFILE.replace(
        "objectives:", "constraints: [{metric: speed, at_most: 115}]\nobjectives:"
    )
    with rig(tmp_path, text) as it, it.tuning(Simulated(better_below_50)) as tuning:
        proof = tuning.run().proof
    assert proof is not None
    assert proof.outcome is ProofOutcome.NO_IMPROVEMENT_FOUND


def write_in_scope(rig: Rig, key: str, value: str) -> None:
    """An administrator in the namespace."""
    ref = rig.scope.ref
    enter = ["nsenter", f"--net={ref.netns}"]
    if ref.userns:
        enter += [f"--user={ref.userns}", "--preserve-credentials"]
    script = f"echo {value} > {sysctl_path(key)}"
    subprocess.run([*enter, "sh", "-c", script], check=True)


def test_a_study_in_which_nothing_was_measured_is_not_kept(tmp_path: Path) -> None:
    with rig(tmp_path) as it:
        assert it.study.discard()
        assert not it.study.folder.exists()


def test_a_study_with_windows_is_kept(tmp_path: Path) -> None:
    with rig(tmp_path) as it:
        with it.tuning(Simulated(flat)) as tuning:
            tuning.run()
        assert not it.study.discard()
        assert it.study.windows().records

"""The search's own economy through the real lease: what it measures again, drops, starts from."""

from __future__ import annotations

from pathlib import Path

import pytest

from ktune.records.search import read_search
from ktune.records.shares import window_shares
from ktune.records.summary import report_lines
from ktune.records.types import Phase, ProofOutcome
from tests.modes.rig import FIN, PROFILE, Simulated, Values, rig
from tests.modes.wide import KEEPALIVE, REORDERING, WIDE, two_matter

LONGER = PROFILE.replace("trials: 12, stop_after: 12", "trials: 40, stop_after: 40")


def rising(values: Values, _: int) -> float:
    fin = values[FIN]
    assert isinstance(fin, int)
    return 100.0 + (110 - fin) / 10


def test_about_70_percent_of_the_windows_are_new_and_the_report_says_so(tmp_path: Path) -> None:
    with rig(tmp_path, LONGER) as it, it.tuning(Simulated(rising, noise=0.03)) as tuning:
        tuning.run()
        shares = window_shares(it.study.windows().records)
        report = "\n".join(report_lines(it.study))
    assert 0.22 <= shares.share <= 0.38
    assert f"{shares.new} windows of new candidates, {shares.again} measured the best again" in (
        report
    )


def test_a_projected_search_of_40_knobs_is_proven_and_restored(tmp_path: Path) -> None:
    with rig(tmp_path, WIDE) as it:
        before = dict(it.plan.baseline)
        source = Simulated(two_matter, noise=0.02)
        with it.tuning(source) as tuning:
            proof = tuning.run().proof
        record = read_search(it.study.folder)
        report = "\n".join(report_lines(it.study))
        windows = it.study.windows().records
    assert len(it.plan.knobs) == 40 and record is not None
    assert len(record.projection) == 40 and record.dimensions == 6
    assert "40 knobs projected to 6 dimensions" in report
    tried = [dict(r.assignment) for r in windows if r.trial is not None]
    assert tried[0] == before, "the exact baseline is measured"
    assert {**before, KEEPALIVE: 5000} == tried[1], "and the exact expert setting"
    assert proof is not None and proof.outcome is ProofOutcome.IMPROVED
    changed = {key for key in before if proof.assignment[key] != before[key]}
    assert changed <= {KEEPALIVE, REORDERING}, "38 knobs without an effect are put back"


def test_an_interrupted_projected_search_goes_on_in_the_same_projection(tmp_path: Path) -> None:
    def stop(number: int) -> None:
        if number == 14:
            raise KeyboardInterrupt

    with rig(tmp_path, WIDE) as it:
        with (
            pytest.raises(KeyboardInterrupt),
            it.tuning(Simulated(two_matter, before=stop)) as tuning,
        ):
            tuning.run()
        first = read_search(it.study.folder)
        tried = len([r for r in it.study.windows().records if r.trial is not None])
        with it.tuning(Simulated(two_matter)) as tuning:
            proof = tuning.run().proof
        assert read_search(it.study.folder) == first
        learning = [r for r in it.study.windows().records if r.phase is Phase.LEARNING]
    assert proof is not None
    assert tried < len([r for r in learning if r.trial is not None]) <= 31

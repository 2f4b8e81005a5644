"""The search's own economy through the real lease: what it measures again, drops, starts from."""

from __future__ import annotations

from pathlib import Path

import pytest

from ktune.modes.search_setup import SearchSetup
from ktune.modes.settings import Overrides, settings_of
from ktune.records.search import read_search
from ktune.records.shares import window_shares
from ktune.records.summary import report_lines
from ktune.records.types import Phase, ProofOutcome
from ktune.report.progress import Note
from ktune.search.trials import key_of
from tests.modes.rig import FIN, PROFILE, Simulated, Values, rig
from tests.modes.wide import KEEPALIVE, REORDERING, WIDE, two_matter

LONGER = PROFILE.replace("trials: 12, stop_after: 12", "trials: 40, stop_after: 40")


def rising(values: Values, _: int) -> float:
    fin = values[FIN]
    assert isinstance(fin, int)
    return 100.0 + (110 - fin) / 10


def flat(_: Values, __: int) -> float:
    return 100.0


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


@pytest.mark.full
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


FIVE = LONGER.replace(
    "baseline: {",
    "    net.ipv4.tcp_retries2: {range: [8, 30]}\n"
    "    net.ipv4.tcp_syn_retries: {range: [2, 12]}\n"
    "    net.ipv4.tcp_synack_retries: {range: [2, 12]}\nbaseline: {",
    1,
)


def test_screening_drops_knobs_without_effect_keeps_the_other_and_says_so(tmp_path: Path) -> None:
    """Without noise, so that real time (drift is interpolated) can't sway what is near a level."""
    with rig(tmp_path, FIVE) as it, it.tuning(Simulated(rising, noise=0.0)) as tuning:
        tuning.run()
        record = read_search(it.study.folder)
        report = "\n".join(report_lines(it.study))
        windows = [r for r in it.study.windows().records if r.phase is Phase.LEARNING]
        baseline = it.plan.baseline
    assert record is not None and record.screened
    assert FIN not in record.screened, "the one that matters is kept"
    look = next(item for item in record.screenings if item.dropped)
    assert look.clear and look.assignments >= 24
    notes = [item.text for item in it.told if isinstance(item, Note)]
    assert any("no effect seen of" in text for text in notes)
    assert f"left at the baseline: {look.dropped[0].name}" in report
    new = {key_of(r.assignment): r.assignment for r in windows if r.trial is not None}
    later = list(new.values())[look.assignments + 2 :]
    dropped = [item.name for item in look.dropped]
    assert later and all(window[key] == baseline[key] for window in later for key in dropped)


def test_on_flat_noise_screening_finds_nothing_and_drops_nothing(tmp_path: Path) -> None:
    with rig(tmp_path, FIVE) as it, it.tuning(Simulated(flat, noise=0.05, seed=3)) as tuning:
        tuning.run()
        record = read_search(it.study.folder)
    assert record is not None and record.screened == ()
    notes = [item.text for item in it.told if isinstance(item, Note)]
    assert any("no knob stands out of the noise, none is dropped" in text for text in notes)


@pytest.mark.full
def test_what_screening_dropped_stays_dropped_after_a_resume(tmp_path: Path) -> None:
    def stop(number: int) -> None:
        if number == 46:
            raise KeyboardInterrupt

    with rig(tmp_path, FIVE) as it:
        source = Simulated(rising, noise=0.0, before=stop)
        with pytest.raises(KeyboardInterrupt), it.tuning(source) as tuning:
            tuning.run()
        before = read_search(it.study.folder)
        assert before is not None and before.screened
        settings = settings_of(it.plan.profile, Overrides(), drawn_seed=0)
        with SearchSetup(it.plan, it.study, settings, it.told.append).open(set()) as search:
            assert {axis.name for axis in search.active.axes}.isdisjoint(before.screened)


@pytest.mark.full
def test_pruning_saves_windows_and_nothing_of_it_reaches_the_proof(tmp_path: Path) -> None:
    pytest.importorskip("scipy")
    text = LONGER.replace("40", "160").replace("seed: 11", "seed: 11, pruning: wilcoxon")
    with rig(tmp_path, text) as it, it.tuning(Simulated(rising, noise=0.03)) as tuning:
        proof = tuning.run().proof
        record = read_search(it.study.folder)
        report = "\n".join(report_lines(it.study))
    assert record is not None and record.pruned > 0
    assert "behind the best not measured further" in report
    assert proof is not None and proof.pairs.decision >= 5

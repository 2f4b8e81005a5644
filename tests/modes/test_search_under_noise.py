"""The search's own economy through the real lease: what it measures again, drops, starts from."""

from __future__ import annotations

from pathlib import Path

from ktune.records.shares import window_shares
from ktune.records.summary import report_lines
from tests.modes.rig import FIN, PROFILE, Simulated, Values, rig

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

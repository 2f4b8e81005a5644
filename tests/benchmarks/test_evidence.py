"""The evidence benchmarks in a tiny size, and the parts that their tables rest on."""

from __future__ import annotations

import itertools
import json
import math
import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.evidence.noise import BLOCK, TRACES, ar1_season_drift, kinds, trace_names
from benchmarks.evidence.rates import alarm_from, power_against, sessions_needed, upper_limit
from benchmarks.evidence.real_aa import WORKLOADS
from benchmarks.evidence.results import Case, Results
from benchmarks.evidence.side_by_side import RULES, t_at_each_look, three_in_a_row
from ktune.evidence.binomial import lower_limit
from tests.benchmarks.test_benchmarks import rows

HOME = Path(__file__).resolve().parents[2]
MEMORY = "/dev/shm"
"""For the studies of simulated sessions: thousands of fsyncs that say nothing here."""


def printed(module: str, *arguments: object) -> str:
    """What a benchmark prints."""
    done = run("-m", module, *map(str, arguments))
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A Python program."""
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=HOME,
        env={**os.environ, "TMPDIR": MEMORY} if Path(MEMORY).is_dir() else None,
        timeout=110,
    )


def test_every_kind_of_noise_has_its_row() -> None:
    text = printed("benchmarks.evidence", "--only", "aa", "--sessions", 1)
    found = rows(text, "False promotions: identical settings")
    assert [row[0] for row in found] == list(kinds())
    assert all(row[1].endswith(" / 1") for row in found)


@pytest.mark.full
def test_an_interrupted_run_goes_on_where_it_was(tmp_path: Path) -> None:
    """Cut short after one session of each kind; the second run adds only what is missing."""
    how = ("--state", tmp_path, "--only", "power")
    printed("benchmarks.evidence", *how, "--sessions", 1)
    first = (tmp_path / "rows.jsonl").read_text()
    printed("benchmarks.evidence", *how, "--sessions", 2)
    everything = (tmp_path / "rows.jsonl").read_text()
    assert everything.startswith(first) and len(everything.splitlines()) == 4
    text = printed("benchmarks.evidence", *how, "--report")
    power = rows(text, "Power: true gain 10 %, pair sd 5 %")
    assert [row[0] for row in power] == ["Gauss", "Student t (3)"]
    assert all(row[1].endswith(" / 2") for row in power)


@pytest.mark.full
def test_every_rule_and_every_trade_has_its_row() -> None:
    text = printed("benchmarks.evidence", "--only", "side-by-side", "trades", "--sessions", 1)
    assert len(rows(text, "Two objectives: speed +20 %, pair sd 5 %")) == 2
    side = rows(text, "Side by side: share of sessions that promote")
    assert [row[0] for row in side] == list(RULES)


def test_the_rule_alone_keeps_its_promises() -> None:
    text = printed("benchmarks.evidence.rule", "--runs", 60)
    exact = rows(text, "The coin alone decides")
    assert [float(cell.split()[0]) <= 5 for cell in exact[-1][1:]] == [True] * 4
    assert float(exact[0][4].split()[0]) > 5, "the former rule, four finalists"
    assert {row[4] for row in rows(text, "The rule alone: no true gain")} == {"met", "found out"}
    assert len(rows(text, "Rules that were weighed")) == 3


_PLANTED = """
import sys
import ktune.evidence.decide as decide
import ktune.evidence.coin as coin
{bug}
from benchmarks.evidence.{module} import main
sys.exit(main({arguments}))
"""
_ANYTHING_GOES = "decide.Rule.threshold = property(lambda rule: 1e-9)"
_NOTHING_GOES = "decide.Rule.threshold = property(lambda rule: 1e300)"
_NO_COIN = "coin.toss = lambda *_: coin.Order.BASELINE_FIRST"


@pytest.mark.parametrize(
    ("bug", "module", "arguments", "title"),
    [
        pytest.param(
            _ANYTHING_GOES,
            "__main__",
            ["--only", "aa", "--sessions", "2"],
            "False promotions: identical settings",
            marks=pytest.mark.full,
        ),
        pytest.param(
            _NOTHING_GOES,
            "__main__",
            ["--only", "power", "--sessions", "3"],
            "Power: true gain 10 %, pair sd 5 %",
            marks=pytest.mark.full,
        ),
        (_NO_COIN, "rule", ["--runs", "40"], "The rule alone: no true gain"),
    ],
)
def test_a_broken_rule_fails_the_small_form(
    bug: str, module: str, arguments: list[str], title: str
) -> None:
    """Planted bugs: two sessions of each kind, all promoted, are beyond what chance allows at 5 %;
    three that are not promoted, beyond what it allows at 85 %."""
    code = _PLANTED.format(bug=bug, module=module, arguments=arguments)
    done = run("-c", code)
    assert done.returncode == 1, done.stdout + done.stderr
    assert any("MISSED" in row for row in rows(done.stdout, title))


@pytest.mark.full
def test_a_real_tuning_of_each_workload_is_counted(tmp_path: Path) -> None:
    text = printed("benchmarks.evidence.real_aa", "--state", tmp_path, "--runs", 2)
    found = rows(text, "Real A/A tunings: knobs that can't matter")
    assert [row[0] for row in found] == [*WORKLOADS, "all"]


@pytest.mark.full
def test_a_recording_is_a_trace_that_can_be_replayed(root: None, tmp_path: Path) -> None:
    printed("benchmarks.evidence.record", "sqlite-commits", "--windows", 3, "--output", tmp_path)
    trace = json.loads((tmp_path / "sqlite-commits.json").read_text())
    assert len(trace["values"]) == 3 and min(trace["values"]) > 0


def test_noise_is_seeded_and_without_a_true_difference() -> None:
    for name, kind in kinds().items():
        one, same, other = (list(itertools.islice(kind(seed), 400)) for seed in (1, 1, 2))
        assert one == same and one != other, name
        pairs = [second - first for first, second in zip(one[::2], one[1::2], strict=True)]
        assert abs(statistics.median(pairs)) < 0.5 * statistics.pstdev(pairs), name


def test_the_kinds_are_what_they_say() -> None:
    sd = {
        name: statistics.pstdev(
            [
                second - first
                for seed in range(20)
                for first, second in zip(*[itertools.islice(kind(seed), 400)] * 2, strict=True)
            ]
        )
        for name, kind in kinds().items()
    }
    assert sd["Gauss"] == pytest.approx(0.05, rel=0.1)
    assert sd["Student t (3)"] == pytest.approx(0.05, rel=0.4)
    windows = list(itertools.islice(ar1_season_drift(3), 4000))
    middle = statistics.fmean(windows)
    moved = [value - middle for value in windows]
    lag1 = math.fsum(a * b for a, b in itertools.pairwise(moved)) / math.fsum(a * a for a in moved)
    assert lag1 > 0.9


def test_traces_are_long_enough_for_their_blocks() -> None:
    assert trace_names(), "no trace was recorded"
    for name in trace_names():
        trace = json.loads((TRACES / f"{name}.json").read_text())
        assert len(trace["values"]) >= 3 * BLOCK, name
        assert min(trace["values"]) > 0


def test_the_sessions_asked_for_do_find_twice_the_nominal_rate() -> None:
    needed = sessions_needed(0.05, 0.10)
    assert power_against(needed, 0.05, 0.10) >= 0.9
    assert power_against(needed // 2, 0.05, 0.10) < 0.9
    alarm = alarm_from(needed, 0.05)
    assert lower_limit(alarm, needed, 0.99) > 0.05 >= lower_limit(alarm - 1, needed, 0.99)
    assert upper_limit(5, 10) == pytest.approx(1 - lower_limit(5, 10, 0.99))


def test_the_rules_that_ktune_is_compared_with() -> None:
    assert three_in_a_row([0.0, 0.03, 0.03, 0.03])
    assert not three_in_a_row([0.03, 0.03, 0.0, 0.03, 0.03])
    assert not three_in_a_row([0.019] * 30)
    assert t_at_each_look([0.01, 0.02, 0.01, 0.02, 0.015])
    assert not t_at_each_look([0.01, -0.02, 0.01, -0.02, 0.015, -0.015])


class Question:
    name = "q"
    usual_sessions = 2

    def __init__(self, version: str = "1") -> None:
        self.version = version

    def design(self, condition: str) -> str:
        return f"{self.version} {condition}"

    def cases(self, sessions: int) -> list[Case]:
        return [Case(name, seed) for name in ("a", "b") for seed in range(sessions)]

    def show(self, rows: object) -> bool:
        return True


def test_results_go_on_after_a_torn_line_and_not_with_another_design(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.add(Question(), Case("a", 0), {"x": 1})
    with (tmp_path / "rows.jsonl").open("a") as file:
        file.write('{"experiment": "q", "des')
    assert [row["x"] for row in results.of(Question())] == [1]
    assert results.missing(Question(), 2) == [Case("b", 0), Case("a", 1), Case("b", 1)]
    results.add(Question(), Case("b", 0), {"x": 2})
    assert len(results.of(Question())) == 2
    assert results.of(Question("2")) == []


def test_one_run_at_a_time_adds_results(tmp_path: Path) -> None:
    with (
        Results(tmp_path).held(),
        pytest.raises(SystemExit, match="another run"),
        Results(tmp_path).held(),
    ):
        pass

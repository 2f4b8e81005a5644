"""The benchmarks of `ktune watch` in a tiny size: tables, going on, and that the rule alone, which
the comparison with others uses, decides as a whole watch does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.evidence.watch_questions import of_condition, power_against
from benchmarks.evidence.watch_rivals import RULES
from benchmarks.evidence.watch_world import Outcome, Setup, Situation, World

from .test_benchmarks import rows

ROOT = Path(__file__).resolve().parents[2]


def printed(module: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.evidence.{module}", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.full
def test_a_run_prints_its_table_and_goes_on_where_it_was(root: None, tmp_path: Path) -> None:
    arguments = ("--state", str(tmp_path), "--only", "load-innocent")
    printed("watch", *arguments, "--sessions", "1")
    text = printed("watch", *arguments, "--report")
    table = rows(text, "Load steps of +-50 %, policy innocent")
    assert [row[1].partition(" / ")[2] for row in table] == ["1"] * 6 + ["6"]
    before = (tmp_path / "watch-0" / "rows.jsonl").read_bytes()
    printed("watch", *arguments, "--sessions", "1")
    assert (tmp_path / "watch-0" / "rows.jsonl").read_bytes() == before
    assert sum(json.loads(line)["pairs"] == 30 for line in before.splitlines()) >= 5


@pytest.mark.parametrize("worse_by", [0.0, 0.1])
def test_a_watch_decides_as_its_rule_alone_does(root: None, worse_by: float) -> None:
    situation = Situation(worse_by=worse_by)
    with World(Setup(margin=0.0)) as world:
        found = world.watch(situation, "same")
    windows = RULES["ktune"](situation, "same")
    assert found.rolled_back == (windows is not None) == (worse_by > 0)
    assert 2 * found.pairs == (windows or 60)


@pytest.mark.full
def test_the_same_case_gives_the_same_outcome(root: None) -> None:
    outcomes: list[Outcome] = []
    for _ in range(2):
        with World(Setup()) as world:
            world.watch(Situation(), "before")
            outcomes.append(world.watch(Situation(worse_by=0.05), "again"))
    assert outcomes[0].pairs == outcomes[1].pairs


def test_the_other_rules_see_what_they_are_known_for() -> None:
    step = Situation(load="every 7 windows")
    assert RULES["3 in a row, > 5 %"](step, "7") is not None
    late = Situation(order_effect=0.05)
    assert RULES["fixed order"](late, "7") is not None
    assert RULES["ktune"](late, "7") is None


def test_power_is_that_of_the_exact_limit() -> None:
    assert power_against(2000, 0.02) == pytest.approx(0.917, abs=0.001)
    assert of_condition([{"case": "a"}, {"case": "b"}], "b") == [{"case": "b"}]


@pytest.mark.full
def test_the_cost_of_a_watch_is_measured_on_a_real_process(root: None) -> None:
    text = printed("watch_cost", "--seconds", "5")
    cells = dict(row[:2] for row in rows(text, "`ktune watch --interval 10s` in the steady state"))
    assert cells["processes beside the watcher"] == "0"
    assert len(rows(text, "Share of time on the baseline")) == 3

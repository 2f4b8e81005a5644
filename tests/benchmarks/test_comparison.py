"""The comparison: every method gets as many windows, and its tables say what the rows hold."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.comparison.methods import KTUNE, METHODS, Tools, space_of, tuned, tuned_axes
from benchmarks.comparison.picture import svg
from benchmarks.comparison.problem import best_of_search, simulated
from benchmarks.comparison.question import Comparison
from benchmarks.comparison.report import replace_block
from benchmarks.comparison.searches import plain
from benchmarks.comparison.sizes import installed_bytes
from benchmarks.comparison.table import summaries, verdicts
from benchmarks.surfaces.definitions import DEFINITIONS, without_disk
from benchmarks.surfaces.model import Surface
from benchmarks.surfaces.store import Writer
from ktune.catalog.catalog import load_catalog
from ktune.profile.host import host_facts
from ktune.profile.resolve import resolve
from ktune.search.space import Space
from tests.benchmarks.test_surfaces import recording

ROOT = Path(__file__).resolve().parents[2]


def row(method: str, gain: float, **more: object) -> dict[str, object]:
    return {
        "case": f"made-up|60|{method}",
        "gain": gain,
        "claimed": None,
        "changed": gain != 0,
        "found": None,
        "windows": 60,
        "wall_s": 1.0,
        "left": 0,
        **more,
    }


@pytest.mark.parametrize("sampler", [pytest.param("random", marks=pytest.mark.full), "tpe"])
def test_a_plain_search_uses_its_windows_and_deploys_its_luckiest(sampler: str) -> None:
    surface = Surface(recording(sd=0.2))
    space = space_of(surface.axes, surface.recording.head.reference)
    problem = simulated(surface, space, seed=3, budget=25)
    outcome = plain(problem, sampler)
    assert outcome.windows == len(problem.asked) == 25
    assert problem.asked[0].setting == surface.recording.head.reference
    assert outcome.deployed == max(problem.asked, key=lambda item: item.value or 0).setting
    assert outcome.claimed is not None and outcome.claimed > surface.gain(outcome.deployed)
    assert outcome.left > 0
    with pytest.raises(IndexError):
        problem.measure(problem.reference)


def test_the_claim_is_against_the_reference_also_where_less_is_better() -> None:
    surface = Surface(recording())
    space = space_of(surface.axes, surface.recording.head.reference)
    problem = simulated(surface, space, seed=3, budget=2)
    problem.maximize = False
    values = iter((100.0, 80.0))
    problem.window = lambda _: next(values)
    problem.measure(problem.reference)
    problem.measure((1, 0, "two"))
    outcome = best_of_search(problem, 0.0)
    assert outcome.deployed == (1, 0, "two")
    assert outcome.claimed == pytest.approx(math.log(100 / 80))
    assert outcome.left == 3


@pytest.mark.full
def test_tuned_sets_only_what_a_surface_has() -> None:
    for item in DEFINITIONS:
        plan = resolve(item.profile(item.amount, "/var/tmp/x"), load_catalog(), host_facts())
        space = Space(plan.dimensions, plan.relations, plan.baseline)
        disks = {axis.key.split("/")[3] for axis in space.axes if "/block/" in axis.key}
        names = {without_disk(axis.name, disk) for axis in space.axes for disk in disks or {""}}
        assert tuned_axes(item.name) and tuned_axes(item.name) <= names
    surface = Surface(recording())
    with pytest.raises(KeyError):
        tuned("made-up", surface.axes, surface.recording.head.reference)


def test_a_loss_is_said_and_a_harm_counted() -> None:
    rows = [row("Optuna TPE", 0.30), row("Optuna TPE", 0.30), row("default", 0.0)]
    rows += [row("ktune tpe", 0.05), row("ktune tpe", -0.05)]
    items = summaries(rows)
    assert [item.cell.method for item in items] == ["default", "Optuna TPE", "ktune tpe"]
    assert items[2].harm == 0.5
    said = verdicts(items)
    assert any(line.startswith("LOST: made-up") for line in said)
    assert any("harm 50%" in line for line in said)
    assert said[-1].startswith("MISSED: mean true gain")


def test_a_win_is_said() -> None:
    rows = [row("Optuna TPE", 0.1), row("default", 0.0), row("ktune tpe", 0.2)]
    assert verdicts(summaries(rows))[-1].startswith("met: mean true gain")


def test_the_picture_has_a_line_for_each_method() -> None:
    drawn = svg(summaries([row("Optuna TPE", 0.1, claimed=0.4), row("ktune tpe", 0.2)]))
    assert drawn.count("<circle") == 3
    assert "made-up, 60 windows" in drawn


def test_a_block_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "x.md"
    path.write_text("before\n<!-- begin: a -->\nold\n<!-- end: a -->\nafter\n")
    replace_block(path, "a", "new")
    assert path.read_text() == "before\n<!-- begin: a -->\n\nnew\n\n<!-- end: a -->\nafter\n"
    with pytest.raises(SystemExit, match="no lines"):
        replace_block(path, "b", "new")


def test_methods_that_can_not_run_say_what_they_need(tmp_path: Path) -> None:
    tools = Tools(tmp_path)
    assert "install_mlos.sh" in tools.missing("MLOS SMAC")
    assert tools.missing("ktune tpe") == tools.missing("random") == ""


def test_an_installed_size_is_that_of_all_it_needs() -> None:
    assert installed_bytes("ktune") > installed_bytes("optuna") > installed_bytes("tqdm") > 0
    assert installed_bytes("no-such-distribution") == 0


def test_dear_methods_get_few_seeds_and_fixed_ones_one(tmp_path: Path) -> None:
    written(tmp_path)
    question = Comparison(tmp_path, ["long-link"], METHODS, [60], dear_seeds=3)
    seeds = {cell.method: question.seeds(cell, 10) for cell in question.cells}
    assert (seeds["default"], seeds["MLOS SMAC"], seeds["ktune gp"]) == (1, 3, 3)
    assert seeds["ktune tpe"] == seeds["random"] == 10


def written(folder: Path) -> None:
    """The made-up surface under the name of a real one."""
    whole = recording(points=40)
    writer = Writer(folder / "long-link.jsonl", whole.head, "today")
    for window in whole.windows:
        writer.add(window)
    writer.close()


@pytest.mark.full
def test_a_whole_comparison_is_cut_and_gone_on_with(root: None, tmp_path: Path) -> None:
    written(tmp_path)
    command = [sys.executable, "-m", "benchmarks.comparison", "--state", str(tmp_path / "state")]
    command += ["--recorded", str(tmp_path), "--windows", "60", "--no-sizes"]
    command += ["--only", "default", "random", KTUNE[0], "--picture", str(tmp_path / "p.svg")]
    for seeds in ("1", "2"):
        done = subprocess.run(
            [*command, "--seeds", seeds], cwd=ROOT, env=os.environ, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert "2 of 2" in done.stderr
    assert "| ktune tpe | 2 |" in done.stdout
    assert (tmp_path / "p.svg").read_text().startswith("<svg")

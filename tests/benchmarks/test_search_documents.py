"""docs/search.md is written by programs: each runs in a tiny size and finds its place there."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BLOCKS = ("designs", "comparison", "comparison-real", "scale")


def ran(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_document_has_a_place_for_each_table() -> None:
    text = (ROOT / "docs/search.md").read_text()
    for name in BLOCKS:
        assert text.count(f"<!-- begin: {name} -->") == text.count(f"<!-- end: {name} -->") == 1


@pytest.mark.full
def test_a_small_search_says_what_a_trial_costs(tmp_path: Path) -> None:
    page = tmp_path / "search.md"
    shutil.copy(ROOT / "docs/search.md", page)
    words = ("--knobs", "8", "--trials", "30", "--no-screening")
    pictures = ("--picture", str(tmp_path / "p.svg"), "--write", str(page))
    text = ran("benchmarks.scale", *words, *pictures)
    assert len([line for line in text.splitlines() if line.startswith("| ")]) == 2 + 10
    assert text.strip() in page.read_text()
    assert (tmp_path / "p.svg").read_text().count("<polyline") == 2


@pytest.mark.full
def test_every_design_that_can_run_has_a_row(tmp_path: Path) -> None:
    words = ("--sessions", "1", "--windows", "20", "--dimensions", "2", "--noises", "0.05")
    text = ran("benchmarks.search_designs", *words, "--recorded", str(tmp_path))
    rows = [line for line in text.splitlines() if line.startswith("| ")][2:]
    assert rows[0].startswith("| ktune: tpe, 10 random |")
    assert len(rows) >= 9

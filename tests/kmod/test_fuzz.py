"""Untrusted trees and schedules against the memory around them (AddressSanitizer)."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.kmod.core import HERE, KMOD, UBSAN, WARNINGS, compiler

ASAN = ("-fsanitize=address", *UBSAN)


def fuzzed(folder: Path, kmod: Path, rounds: int) -> subprocess.CompletedProcess[str]:
    """Build and run the fuzzer against the headers in `kmod`."""
    target = folder / "fuzz"
    command = [compiler() or "cc", *WARNINGS, *ASAN, "-O1", "-g", f"-I{kmod}"]
    subprocess.run([*command, "-o", str(target), str(HERE / "fuzz.c")], check=True, timeout=60)
    return subprocess.run(
        [str(target), str(rounds), "7"], capture_output=True, text=True, timeout=60
    )


@pytest.fixture(autouse=True)
def needs_compiler() -> None:
    if compiler() is None:
        pytest.skip("no C compiler")


def test_nothing_leaves_its_memory(tmp_path: Path) -> None:
    done = fuzzed(tmp_path, KMOD, 20_000)
    assert done.returncode == 0, done.stderr
    counts = re.match(r"(\d+) trees, (\d+) schedules accepted of 20000", done.stdout)
    assert counts is not None
    trees, schedules = (int(text) for text in counts.groups())
    assert 500 < trees < 19_500  # both sides of the check were seen
    assert 500 < schedules < 19_500


PLANTED = {
    "kt_tree.h": ("return ref < raw->nodes && ref > from;", "return ref > from;"),
    "kt_schedule.h": ("if (s->window + 1 == s->windows) {", "if (s->window == s->windows) {"),
}


@pytest.mark.parametrize("header", PLANTED)
def test_a_missing_bound_is_found(tmp_path: Path, header: str) -> None:
    copy = tmp_path / "kmod"
    for path in KMOD.rglob("*.h"):
        target = copy / path.relative_to(KMOD)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(path.read_text())
    right, wrong = PLANTED[header]
    text = (copy / header).read_text()
    assert right in text
    (copy / header).write_text(text.replace(right, wrong))
    done = fuzzed(tmp_path, copy, 20_000)
    assert done.returncode != 0
    assert re.search(r"AddressSanitizer|runtime error", done.stderr), done.stderr

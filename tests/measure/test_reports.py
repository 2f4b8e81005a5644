"""Patterns, tables and pages of a command's output, and the folder of a window."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ktune.measure import scratch
from ktune.measure.metrics import MetricError, extract
from ktune.measure.runner import CommandSource
from ktune.measure.scratch import PREFIX, Scratch
from ktune.measure.specs import MetricSource, MetricSpec, TableNumber
from ktune.measure.window import Validity
from tests.measure.helpers import ROOT, nothing, shell, window

FAILED, VOID, VALID = Validity.CANDIDATE_FAILED, Validity.VOID, Validity.VALID
TABLE = 'test,rps,ms\n"GET",10,1.5\nSET,20,2.5\nGET,30,3.5\n\n'
PAGE = r"""printf '# TYPE jobs_total counter\njobs_total{kind="a"} 3\njobs_total{kind="b"} 4\n'"""


def pattern(text: str) -> tuple[MetricSpec, ...]:
    return (MetricSpec("x", MetricSource.REGEX, pattern=text),)


def page(name: str, **labels: str) -> tuple[MetricSpec, ...]:
    return (MetricSpec("x", MetricSource.PAGE, name, labels=tuple(labels.items())),)


def test_the_last_line_that_matches_a_pattern_counts() -> None:
    result = window(
        shell("echo took 1 s; echo took 2.5 s; echo end", metrics=pattern(r"took (?P<value>\S+) s"))
    )
    assert (result.validity, result.metrics) == (VALID, {"x": 2.5})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("nothing (?P<value>.)", "no line of the output matches"),
        ("took (?P<value>.)", "'a' is no number"),
        ("took|(?P<value>.)", "took no part"),
    ],
)
def test_a_pattern_that_finds_no_number_fails_the_window(text: str, reason: str) -> None:
    result = window(shell("echo took a while", metrics=pattern(text)))
    assert result.validity is FAILED
    assert reason in result.reason


def test_a_pattern_that_runs_for_ever_is_ended_and_says_nothing_of_the_candidate() -> None:
    began = time.monotonic()
    with CommandSource(
        shell("echo " + "a" * 40 + "!", metrics=pattern(r"^(a+)+(?P<value>[0-9])$"))
    ) as source:
        result = source.run(nothing)
        assert source._helper._process is None
    assert result.validity is VOID
    assert "its pattern gave no result: no answer within 2 s" in result.reason
    assert time.monotonic() - began < 60


def table(column: str | int, how: str = "last", **more: object) -> float:
    spec = MetricSpec("x", MetricSource.CSV, table=TableNumber(column, how=how, **more))  # type: ignore[arg-type]
    return extract([spec], TABLE, 1.0)["x"]


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("last", 30),
        ("first", 10),
        ("mean", 20),
        ("median", 20),
        ("min", 10),
        ("max", 30),
        ("sum", 60),
        ("p50", 20),
    ],
)
def test_a_column_is_reduced_as_asked(how: str, expected: float) -> None:
    assert table("rps", how) == table(1, how) == expected


def test_rows_are_chosen_by_other_columns() -> None:
    assert table("ms", "only", where=(("test", "SET"),)) == 2.5
    assert table("ms", "sum", where=(("test", "GET"), ("rps", "30"))) == 3.5


@pytest.mark.parametrize(
    ("column", "how", "where", "reason"),
    [
        ("qps", "last", (), "no column 'qps' .it has: test, rps, ms"),
        ("rps", "only", (), "3 match"),
        ("rps", "last", (("test", "DEL"),), "no row with test=DEL"),
        ("test", "last", (), "'GET' is no number"),
        (7, "last", (), "a row has 3 columns"),
        ("rps", "p99", (), "needs 100 rows"),
    ],
)
def test_a_table_without_the_number_is_told(
    column: str | int, how: str, where: tuple[tuple[str, str], ...], reason: str
) -> None:
    with pytest.raises(MetricError, match=reason):
        table(column, how, where=where)


def test_a_table_may_do_without_a_header() -> None:
    spec = MetricSpec("x", MetricSource.CSV, table=TableNumber(1, header=False, separator=";"))
    assert extract([spec], "1;2\n3;4\n", 1.0) == {"x": 4}


def test_a_series_of_a_printed_page() -> None:
    result = window(shell(PAGE, metrics=page("jobs_total", kind="b")))
    assert (result.validity, result.metrics) == (VALID, {"x": 4.0})


@pytest.mark.parametrize(
    ("script", "name", "reason"),
    [
        (PAGE, "jobs_total", "2 series jobs_total in the output"),
        (PAGE, "other", "no page of metrics: the page has no series other"),
        ("echo 'jobs_total{ 3'", "jobs_total", "no page of metrics"),
        ("echo 'jobs_total NaN'", "jobs_total", "is nan"),
    ],
)
def test_a_page_without_the_number_fails_the_window(script: str, name: str, reason: str) -> None:
    result = window(shell(script, metrics=page(name)))
    assert result.validity is FAILED
    assert reason in result.reason


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder in which those of windows are made, readable by anybody."""
    path = Path(tempfile.mkdtemp(prefix="ktune-test-"))
    path.chmod(0o777)
    monkeypatch.setenv("TMPDIR", str(path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield path
    shutil.rmtree(path)
    monkeypatch.setattr(tempfile, "tempdir", None)


def test_a_window_starts_in_an_empty_folder_that_goes_with_it(temporary: Path) -> None:
    script = "ls -A | wc -l | sed s/^/x=/; touch a; mkdir b; stat -c y=%u .; pwd >&2"
    metrics = (MetricSpec("x"), MetricSpec("y"))
    with CommandSource(shell(script, metrics=metrics)) as source:
        for _ in range(2):
            result = source.run(nothing)
            assert result.metrics == {"x": 0, "y": source._account.uid}
            assert list(temporary.iterdir()) == []


def test_a_folder_that_was_left_empty_is_the_next_windows(temporary: Path) -> None:
    script = "stat -c x=%i .; stat -c y=%a .; chmod 500 ."
    with CommandSource(shell(script, metrics=(MetricSpec("x"), MetricSpec("y")))) as source:
        first, second = source.run(nothing), source.run(nothing)
        assert len(list(temporary.iterdir())) == 1
    assert first.metrics == second.metrics
    assert first.metrics["y"] == 700
    assert list(temporary.iterdir()) == []


def test_the_folder_goes_with_a_tuner_that_is_killed(temporary: Path) -> None:
    code = (
        "from tests.measure.helpers import *; "
        "CommandSource(shell('touch a; sleep 60', timeout_s=60.0)).run(nothing)"
    )
    tuner = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    assert until(lambda: any(temporary.glob("*/a")))
    tuner.kill()
    tuner.wait()
    assert until(lambda: not list(temporary.iterdir()))


def until(condition: Callable[[], bool]) -> bool:
    """Does it come true?"""
    deadline = time.monotonic() + 20
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def test_the_folder_of_a_window_that_hangs_goes_too(temporary: Path) -> None:
    result = window(shell("touch a; sleep 60", timeout_s=0.3))
    assert result.validity is FAILED
    assert list(temporary.iterdir()) == []


def test_what_a_killed_one_left_is_swept_and_nothing_else(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, used = Scratch.create(None, None), Scratch.create(None, None)
    (Path(left.path) / "file").touch()
    os.close(left._fd)
    (temporary / "something").mkdir()
    (temporary / f"{PREFIX}link").symlink_to(temporary / "something")
    scratch.sweep()
    assert Path(left.path).exists()  # too young
    monkeypatch.setattr(scratch, "_STALE_AFTER_S", -1)
    scratch.sweep()
    assert sorted(path.name for path in temporary.iterdir()) == sorted(
        (f"{PREFIX}link", Path(used.path).name, "something")
    )
    used.remove()

"""Each benchmark runs in a tiny size and prints its table. No time is asserted: that is what the
benchmarks are for, on a calm machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that other users may enter: workloads run as nobody."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def printed(program: str, *arguments: str, within_s: float = 110) -> str:
    """What a benchmark prints."""
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / program), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=within_s,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def rows(text: str, title: str) -> list[list[str]]:
    """The cells of the table below `title`, without its head."""
    lines = text.partition(f"### {title}")[2].splitlines()[2:]
    found = []
    for line in lines:
        if not line.startswith("|"):
            break
        found.append([cell.strip() for cell in line.strip("|").split("|")])
    return found[2:]


@pytest.mark.full
def test_startup_prints_a_row_for_each_command(folder: Path) -> None:
    text = printed("overhead.py", "--only", "startup", "--runs", "2", "--scratch", str(folder))
    names = [row[0] for row in rows(text, "Start-up")]
    assert names[:3] == ["python -c pass", "ktune --help", "ktune status"]


def test_apply_prints_both_ways_and_their_ratio(root: None) -> None:
    text = printed("overhead.py", "--only", "apply", "--runs", "2", "--knobs", "5")
    assert [row[0] for row in rows(text, "Apply and read back")][1] == "lease.apply"
    assert "ratio " in text


@pytest.mark.full
def test_a_run_prints_what_the_framework_took_and_its_parts(folder: Path) -> None:
    size = ("--rounds", "1", "--trials", "2", "--scratch", str(folder))
    text = printed("overhead.py", "--only", "tuning", *size)
    assert rows(text, "Framework time per trial")[0][0] == "ktune"
    assert "MLOS is not installed" in text
    assert rows(text, "ktune's parts, a trial")[-1][0] == "all"
    assert list(folder.iterdir()) == []


@pytest.mark.full
def test_kills_print_both_disks_and_the_guardians_memory(root: None, folder: Path) -> None:
    text = printed("overhead.py", "--only", "restore", "--kills", "1", "--scratch", str(folder))
    disks = [row[0] for row in rows(text, "kill -9 of the tuner")]
    assert disks == ["idle", "saturated by a writer"]
    assert rows(text, "Guardian's memory")[0][0] == "as tune starts it"
    assert list(folder.iterdir()) == []


@pytest.mark.full
def test_the_quickstarts_rate_counts_its_runs() -> None:
    text = printed("quickstart_rate.py", "1", "--options", "--trials", "2", "--search-only")
    assert len(rows(text, "1 quickstarts")) == 1
    assert "improved: 0 of 1" in text


@pytest.mark.full
@pytest.mark.parametrize(
    ("program", "arguments", "first"),
    [
        ("projection.py", ("--sessions", "1", "--trials", "4"), "1 alone | "),
        ("screening.py", ("--sessions", "1", "--trials", "30", "--case", "flat"), "flat | "),
    ],
)
def test_the_search_benchmarks_print_their_table(
    program: str, arguments: tuple[str, ...], first: str
) -> None:
    assert f"\n{first}" in printed(program, *arguments)


@pytest.mark.full
@pytest.mark.timeout(420)
def test_live_tuning_leaves_a_service_running_and_every_knob_as_it_was(root: None) -> None:
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        pytest.skip("no /dev/net/tun")
    text = printed(
        *("live_service.py", "--trials", "4", "--window", "2", "--pairs", "6"), within_s=400
    )
    tried = rows(text, "What was in force, window after window")
    assert {row[0] for row in tried} == {"baseline", "candidate"}
    assert "every knob as before: yes" in text
    assert "the service was never restarted: yes" in text


@pytest.mark.full
def test_sensors_print_what_an_event_costs_and_what_the_budget_leaves(root: None) -> None:
    text = printed("sensors.py", "--rounds", "3", "--windows", "2", "--runs", "1", "--loops", "50")
    names = [row[0] for row in rows(text, "A sensor attached all the time")]
    assert names == ["runqueue_latency", "tcp_rtt", "page_faults"]
    assert "<= 1 %" in rows(text, "Run-queue latency on a ping-pong")[0][1]
    assert "hackbench" in text


@pytest.mark.full
@pytest.mark.timeout(420)
@pytest.mark.parametrize("name", ["redis", "nginx"])
def test_a_real_server_is_tuned_live_and_left_as_it_was(root: None, name: str) -> None:
    text = printed(
        *("live_servers.py", name, "--trials", "3", "--window", "1", "--pairs", "6"), within_s=400
    )
    if "left out: " in text:
        pytest.skip(text.strip().splitlines()[-1])
    shown = dict(row for row in rows(text, f"{name}: live tuning"))
    assert shown["windows"] and shown["outcome"] != "no proof"
    assert f"{name}: every knob as before: yes" in text
    assert f"{name}: never restarted: yes" in text


@pytest.mark.full
def test_load_rate_prints_the_highest_rate_and_half_of_it() -> None:
    if shutil.which("redis-server") is None:
        pytest.skip("no redis-server: apt-get install redis-server")
    text = printed("load_rate.py", "redis", "--seconds", "0.3", "--steps", "1")
    if "too busy" in text:
        pytest.skip("the machine is too busy for 2000 requests/s")
    best, half = rows(text, "Highest rate kept on one CPU, and half of it")
    assert best[0] == half[0] == "redis"
    assert float(half[1]) == pytest.approx(float(best[1]) / 2, abs=1)

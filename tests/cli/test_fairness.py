"""Windows beside a program that takes the CPU: void where it is none of the run's, and said so."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from ktune.evidence.pairs import Arm
from ktune.records.paths import StatePaths
from ktune.records.study import Study
from ktune.records.types import Phase, StudyManifest, WindowRecord

from .support import Cli, Ran

OUTSIDE, INSIDE = "outside-hog", "inside-hog"
BUSY = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; echo speed=$i"
"""Some tenths of a second of pure shell: what others did in less than one is not judged."""


@pytest.fixture
def hogs(tmp_path: Path) -> Path:
    """A shell under two names, where the workload's user gets at it."""
    folder = Path("/tmp") / f"ktune-hogs-{os.getpid()}"
    folder.mkdir(mode=0o755)
    try:
        for name in (OUTSIDE, INSIDE):
            shutil.copy("/bin/dash", folder / name)
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def hog(folder: Path) -> Iterator[None]:
    """Three of them, to be seen on a busy machine, too."""
    with hog_of([folder / OUTSIDE, "-c", "while :; do :; done"], 3):
        yield


@contextmanager
def hog_of(argv: Sequence[object], count: int = 1) -> Iterator[None]:
    """In groups of their own: ended with all that they have started."""
    running = [subprocess.Popen(list(map(str, argv)), process_group=0) for _ in range(count)]
    try:
        yield
    finally:
        for process in running:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def profile(tmp_path: Path, hogs: Path, fairness: str) -> Path:
    path = tmp_path / "p.yaml"
    path.write_text(
        f"""ktune: 1
kind: profile
name: nothing-to-gain
scope: ephemeral
workload:
  command: ["{hogs / INSIDE}", -c, "{BUSY}"]
  renews: [new_process, new_socket]
  timeout: 60s
  metrics: {{speed: {{from: key_value, unit: 1/s, plausible: [1, 1000000]}}}}
knobs: {{sysctl: {{net.ipv4.tcp_fin_timeout: {{range: [10, 60]}}}}}}
objectives: [{{metric: speed, direction: maximize}}]
search: {{trials: 2, seed: 1}}
fairness: {fairness}
"""
    )
    return path


def windows(cli: Cli) -> list[dict]:
    (folder,) = (cli.state / "studies").iterdir()
    return [json.loads(line) for line in (folder / "windows.jsonl").read_text().splitlines()]


def tune(cli: Cli, *words: object) -> Ran:
    return cli("tune", *words, "--search-only", timeout_s=300)


@pytest.mark.full
def test_a_hog_outside_the_run_voids_its_windows_and_is_named(
    cli: Cli, tmp_path: Path, hogs: Path
) -> None:
    """The baseline against itself beside a hog ends without a number, and says what to do."""
    path = profile(tmp_path, hogs, "{others: 1%}")
    with hog(hogs):
        done = tune(cli, path)
    assert done.code == 1, done.out + done.err
    assert "6 baseline windows in a row were disturbed: other programs took" in done.err
    assert "part_of_it: [" in done.err
    seen = windows(cli)
    assert {item["validity"] for item in seen} == {"void"}
    assert {item["cause"] for item in seen} == {"others"}
    assert all(item["metrics"] == {} for item in seen)
    assert sum(OUTSIDE in item["others"] for item in seen) > len(seen) // 2
    assert all(INSIDE not in item["others"] for item in seen)
    study = cli("studies", "list", "--json").json[0]["id"]
    assert "disturbed" in cli("report", study).out
    document = cli("report", study, "--json").json["disturbed"]
    assert document["void"] == document["by_cause"]["others"] == len(seen)
    assert OUTSIDE in document["programs"]


@pytest.mark.full
def test_the_same_hog_does_not_count_where_it_is_part_of_the_work(
    cli: Cli, tmp_path: Path, hogs: Path
) -> None:
    """... nor where the profile accepts any; the workload itself never does."""
    path = profile(tmp_path, hogs, f"{{others: off, part_of_it: [{OUTSIDE}]}}")
    with hog(hogs):
        done = tune(cli, path)
    assert done.code == 0, done.out + done.err
    seen = windows(cli)
    assert {item["validity"] for item in seen} == {"valid"}
    for item in seen:
        assert item["environment"]["others_share"] >= 0
        assert not {OUTSIDE, INSIDE} & set(item["others"])


def test_the_plan_says_what_is_recorded_here(cli: Cli, tmp_path: Path, hogs: Path) -> None:
    path = profile(tmp_path, hogs, "{others: 10%, steal: off}")
    text = cli("plan", path).out
    assert "others: limit 10%" in text
    found = {item["name"]: item for item in cli("plan", path, "--json").json["fairness"]}
    assert list(found) == ["steal", "others", "throttled", "memory", "frequency"]
    assert found["others"]["limit"] == 0.1
    has_cpufreq = bool(list(Path("/sys/devices/system/cpu/cpufreq").glob("policy*")))
    assert has_cpufreq != bool(found["frequency"]["missing"])
    doctor = {item["name"]: item["answer"] for item in cli("doctor", "--json").json}
    assert (doctor["window: frequency"] == "works") == has_cpufreq


def test_a_wrong_limit_is_named_with_its_place(cli: Cli, tmp_path: Path, hogs: Path) -> None:
    path = profile(tmp_path, hogs, "{others: 0.1, stael: 10%}")
    done = cli("profile", "validate", path)
    assert done.code == 2
    assert f"{path}:13:" in done.err + done.out
    assert "steal" in done.err + done.out


@pytest.mark.full
def test_a_run_beside_a_hog_that_comes_and_goes_promotes_nothing(
    cli: Cli, tmp_path: Path, hogs: Path
) -> None:
    """Nothing is to be gained; half the time a hog has the machine. What is scored was fair."""
    limit = 0.4
    path = profile(tmp_path, hogs, f"{{others: {limit:.0%}}}")
    argv = [
        hogs / OUTSIDE,
        "-c",
        "while :; do timeout --foreground 1 sh -c 'while :; do :; done'; sleep 1; done",
    ]
    with hog_of(argv):
        done = cli("tune", path, timeout_s=600)
    assert done.code in (1, 3), done.out + done.err
    assert "Improved" not in done.out
    seen = windows(cli)
    for item in seen:
        share = item["environment"]["others_share"]
        assert (item["cause"] == "others") == (share > limit)
        assert (item["validity"] == "void") == (item["cause"] != "")
    void = sum(item["validity"] == "void" for item in seen)
    study = cli("studies", "list", "--json").json[0]["id"]
    assert cli("report", study, "--json").json["disturbed"]["void"] == void
    assert (f"{void} of {len(seen)} windows void" in cli("report", study).out) == (void > 0)


def test_the_status_of_a_run_says_how_many_windows_were_void(cli: Cli) -> None:
    study = Study.create(StatePaths.resolve(cli.state), StudyManifest("", "busy-machine", ""))
    for number in range(8):
        share = 0.6 if number else 0.1
        study.append_window(
            WindowRecord(
                *(number, Phase.LEARNING, Arm.CANDIDATE, None, number, {}, {}),
                *("void" if number else "valid", "", "", 1.0),
                environment={"others_share": share},
                others={OUTSIDE: share},
                cause="others" if number else "",
            )
        )
    shown = cli("status").out
    assert f"  7 of 8 windows void: 7 by other programs ({OUTSIDE} 60%)\n" in shown
    assert f"stop {OUTSIDE} or wait for its end" in shown
    (running,) = cli("status", "--json").json["running"]
    assert running["disturbed"]["by_cause"] == {"others": 7}
    (study.folder / "windows.jsonl").write_text("{\n{\n")
    assert cli("status").code == 0

"""`ktune calibrate` as people run it: a real workload, the real kernel, a namespace of its own."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ktune.cli import signals
from ktune.cli.main import main

from .support import Cli

FIN = "net.ipv4.tcp_fin_timeout"
PROFILE = f"""
ktune: 1
kind: profile
name: steady
scope: ephemeral
workload:
  command: [sh, -c, 'WORKLOAD']
  renews: [new_socket, new_process]
  metrics:
    speed: {{from: key_value, unit: 1/s, plausible: [0.001, 1000000]}}
knobs: {{sysctl: {{{FIN}: {{range: [10, 110]}}}}}}
baseline: {{{FIN}: 60}}
expert: [{{{FIN}: 30}}]
objectives: [{{metric: speed, direction: maximize}}]
"""
STEADY = "echo speed=$((900000 + $(od -An -N2 -tu2 /dev/urandom) / 4))"
COUNTED = "n=$(cat COUNT); echo $((n + 1)) > COUNT; echo speed=$((900000 + n * 7919 % 16384))"
"""The same numbers in the same order in every run: of ten random pairs nine or more go the same
way once in fifty runs, which is an order effect to whoever looks at them."""
NOISY = "echo speed=$((50000 + $(od -An -N2 -tu2 /dev/urandom)))"


Said = Callable[..., str]


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    return tmp_path / "steady.yaml"


@pytest.fixture
def refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Said:
    """Run a command in this process: a usage error (exit 2) that leaves nothing behind."""
    monkeypatch.setattr(signals, "install", lambda: None)

    def run(*words: object) -> str:
        assert main([f"--state-dir={tmp_path}/state", *map(str, words)]) == 2
        assert not (tmp_path / "state").exists()
        return capsys.readouterr().err

    return run


@pytest.fixture
def count() -> Iterator[Path]:
    """Counts windows, for whatever user the workload runs as."""
    with tempfile.NamedTemporaryFile("w", prefix="ktune-count-", dir="/tmp") as file:
        file.write("0")
        file.flush()
        os.chmod(file.name, 0o666)
        yield Path(file.name)


def test_a_steady_workload_is_ready(cli: Cli, profile: Path, count: Path) -> None:
    profile.write_text(PROFILE.replace("WORKLOAD", COUNTED.replace("COUNT", str(count))))
    done = cli("calibrate", profile, "--seed", 1)
    assert done.code == 0, done.err
    for words in ("sd of a pair", "carry-over", "does not fire", "pairs needed", "Ready."):
        assert words in done.out
    (folder,) = (cli.state / "calibrations").iterdir()
    assert json.loads((folder / "study.json").read_text())["status"] == "finished"
    assert len((folder / "windows.jsonl").read_text().splitlines()) == 47
    assert "nothing pending" in cli("status").out
    (listed,) = cli("studies", "list", "--json").json
    assert (listed["id"], listed["kind"], listed["status"]) == (
        *(folder.name, "calibration"),
        "finished",
    )
    assert "ready, sd of a pair" in listed["noise"]
    for words in (("studies", "show"), ("report",)):
        assert cli(*words, folder.name).out == done.out
    assert cli("studies", "export", folder.name).json["readiness"]["ready"] is True


@pytest.mark.full
def test_a_noisy_one_is_refused_with_what_would_help(cli: Cli, profile: Path) -> None:
    profile.write_text(PROFILE.replace("WORKLOAD", NOISY))
    done = cli("calibrate", profile, "--seed", 1, "--json", "--quiet")
    assert done.code == 4
    assert done.json["ready"] is False and done.json["exit_code"] == 4
    assert done.json["helps"] and done.json["gate"]["fired"] is False
    assert done.json["switched_to"] == {FIN: 30}


@pytest.mark.full
def test_a_finished_one_takes_more_pairs(cli: Cli, profile: Path) -> None:
    profile.write_text(PROFILE.replace("WORKLOAD", STEADY))
    first = cli("calibrate", profile, "--json", "--quiet").json["calibration"]
    again = cli("calibrate", "--resume", first)
    assert again.code == 2 and "finished, with 10 pairs" in again.err
    more = cli("calibrate", "--resume", first, "--pairs", 12, "--json", "--quiet")
    assert more.code == 0, more.err
    assert (more.json["calibration"], more.json["pairs"]) == (first, 12)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "name a profile, or a calibration with --resume"),
        (("quickstart", "--resume", "x"), "name a profile, or a calibration with --resume"),
        (("--resume", "20260101-000000-aa"), "no calibration '20260101-000000-aa'"),
        (("--resume", "../studies/x"), "no calibration '../studies/x'"),
        (("--resume", "x", "--seed", "1"), "the seed that it began with"),
        (("--resume", "x", "--dry-run"), "the plan of a PROFILE"),
        (("quickstart", "--pairs", "9"), "9 is less than 10"),
        (("quickstart", "--pairs", "-30"), "-30 is less than 10"),
        (("quickstart", "--pairs", "ten"), "'ten' is no whole number"),
        (("quickstart", "--seed", "-1"), "-1 is less than 0"),
        (("quickstart", "--pairs", "nan"), "'nan' is no whole number"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(
    refused: Said, words: tuple[str, ...], said: str
) -> None:
    assert said in refused("calibrate", *words)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--time", "0s"), "--time: the search needs some time"),
        (("--time", ""), "--time: expected a number"),
        (("--time=-5m",), "--time: a duration can't be negative"),
        (("--trials", "0"), "0 is less than 1"),
    ],
)
def test_budgets_of_tune_that_make_no_sense_are_usage_errors(
    refused: Said, words: tuple[str, ...], said: str
) -> None:
    assert said in refused("tune", "quickstart", *words)


@pytest.mark.parametrize(
    ("promotion", "where"),
    [
        ("alpha: 0.5", "expected less than 0.5, found 0.5"),
        ("alpha: -0.1", "expected more than 0, found -0.1"),
        ("mei: -2%", "expected at least 0%, found '-2%'"),
    ],
)
@pytest.mark.parametrize("command", ["calibrate", "tune"])
def test_bad_settings_are_errors_with_their_place(
    refused: Said, profile: Path, command: str, promotion: str, where: str
) -> None:
    text = PROFILE.replace("WORKLOAD", STEADY) + f"promotion: {{{promotion}}}\n"
    profile.write_text(text)
    said = refused(command, profile)
    line, column = len(text.splitlines()), text.splitlines()[-1].index(promotion.split()[1]) + 1
    assert f"steady.yaml:{line}:{column}: promotion." in said and where in said


# --- before a search ------------------------------------------------------------------------------


TUNED = PROFILE + "search: {trials: 3, baseline_every: 5, seed: 1}\n"


@pytest.mark.full
def test_a_search_warns_and_goes_on_where_its_proof_can_not_resolve_the_mei(
    cli: Cli, profile: Path
) -> None:
    profile.write_text(TUNED.replace("WORKLOAD", NOISY))
    done = cli("tune", profile, "--json", "--quiet")
    assert done.code in (0, 3), done.err
    assert "the MEI of 2.00% can't be resolved within 30 pairs" in done.err
    assert "what would help: more pairs" in done.err
    assert done.json["ready"] is False
    for words in (("report",), ("studies", "show")):
        out = cli(*words, done.json["study"]).out
        assert "calibration 10 pairs, before the search: sd of a pair" in out
        assert "NOT ready" in out and "would help: a larger promotion" in out
        assert "calibration  20 in" in out


@pytest.mark.full
def test_a_search_that_requires_readiness_ends_before_it_begins(cli: Cli, profile: Path) -> None:
    profile.write_text(TUNED.replace("WORKLOAD", NOISY))
    done = cli("tune", profile, "--require-ready", "--quiet")
    assert done.code == 4
    assert "ktune: not ready: the MEI of 2.00% can't be resolved" in done.err
    assert f"calibrate {profile} says more" in done.err
    (study,) = (cli.state / "studies").iterdir()
    windows = (study / "windows.jsonl").read_text().splitlines()
    assert {json.loads(line)["phase"] for line in windows} == {"calibration"}
    again = cli("tune", "--resume", study.name, "--require-ready", "--quiet")
    assert again.code == 4
    assert (study / "windows.jsonl").read_text().splitlines() == windows
    assert "nothing pending" in cli("status").out


@pytest.mark.full
def test_a_recent_calibration_serves_the_search(cli: Cli, profile: Path) -> None:
    profile.write_text(TUNED.replace("WORKLOAD", STEADY))
    calibration = cli("calibrate", profile, "--json", "--quiet").json["calibration"]
    done = cli("tune", profile, "--require-ready", "--json", "--quiet")
    assert done.code in (0, 3), done.err
    assert f"calibration {calibration} of this profile (10 pairs, " in done.err
    assert done.json["ready"] is True
    out = cli("report", done.json["study"]).out
    assert f"calibration 10 pairs, calibration {calibration}: " in out
    assert ": ready" in out
    kinds = [item["kind"] for item in cli("studies", "list", "--json").json]
    assert sorted(kinds) == ["calibration", "study"]


@pytest.mark.full
def test_a_search_without_a_proof_needs_none(cli: Cli, profile: Path) -> None:
    profile.write_text(TUNED.replace("WORKLOAD", STEADY))
    done = cli("tune", profile, "--search-only", "--json", "--quiet")
    assert done.code == 0 and done.json["ready"] is None

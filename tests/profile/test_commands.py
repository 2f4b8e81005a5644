"""`ktune plan`, `profile` and `schema` as people call them."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.profile.examples import HERE
from tests.warm import run_ktune

ROOT = HERE.parent.parent


def ktune(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run the command; a traceback is always a failure."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("KTUNE_")}
    done = run_ktune(words, env, timeout_s=60, cwd=cwd)
    assert "Traceback" not in done.stderr
    return done


@pytest.mark.usefixtures("host_knobs")
def test_plan_explains_each_knob_and_changes_nothing() -> None:
    before = Path("/proc/sys/vm/swappiness").read_text(encoding="utf-8")

    done = ktune("plan", str(HERE / "good" / "host-memory.yaml"))

    assert done.returncode == 0, done.stderr
    for text in ("vm.swappiness", "/proc/sys/vm/swappiness", "Journaled", "Nothing was changed."):
        assert text in done.stdout
    assert Path("/proc/sys/vm/swappiness").read_text(encoding="utf-8") == before


def test_plan_is_json_for_programs() -> None:
    data = json.loads(ktune("plan", str(HERE / "good" / "host-memory.yaml"), "--json").stdout)

    assert data["scope"] == "host"
    assert {knob["key"] for knob in data["knobs"]} >= {"vm.swappiness"}
    assert data["expected_duration_s"] > 0
    assert data["switching"]["by"] == "ktune", "a command's windows have no length of their own"


def test_plan_knows_shipped_profiles_by_name_and_offers_the_nearest() -> None:
    done = ktune("plan", "quickstrat")

    assert done.returncode == 2
    assert "did you mean 'quickstart'?" in done.stderr


@pytest.mark.parametrize(
    ("pairs", "needed"), [(9, 10), (10, None), pytest.param(3, 10, marks=pytest.mark.full)]
)
def test_a_probation_that_can_find_nothing_is_named_with_its_place(
    tmp_path: Path, pairs: int, needed: int | None
) -> None:
    file = tmp_path / "short.yaml"
    text = (HERE / "good" / "host-memory.yaml").read_text(encoding="utf-8")
    file.write_text(f"{text}\nwatch:\n  probation_pairs: {pairs}\n", encoding="utf-8")
    line = file.read_text(encoding="utf-8").splitlines().index(f"  probation_pairs: {pairs}") + 1
    place = f"{file}:{line}:20: watch.probation_pairs: {pairs} pairs can find no worsening"

    done = ktune("profile", "validate", str(file))
    data = json.loads(ktune("profile", "validate", str(file), "--json").stdout)
    planned = ktune("plan", str(file)).stdout

    assert done.returncode == 0
    assert (place in done.stderr) == (needed is not None) == (place in planned)
    (result,) = data
    assert [item["line"] for item in result["warnings"]] == ([line] if needed else [])
    assert needed is None or f"at least {needed} are needed" in done.stderr


def test_plan_refuses_with_exit_4_and_the_reason() -> None:
    done = ktune("plan", str(HERE / "refused" / "never.yaml"))

    assert done.returncode == 4
    assert "never.yaml:9:5: kernel.core_pattern is never tuned" in done.stderr


def test_validate_reports_all_problems_of_all_files() -> None:
    good = HERE / "good" / "minimal.yaml"
    bad = HERE / "bad" / "several-errors.yaml"

    done = ktune("profile", "validate", str(good), str(bad))
    listed = json.loads(ktune("profile", "validate", "--json", str(good), str(bad)).stdout)

    assert done.returncode == 2
    assert f"{good}: valid" in done.stdout
    assert done.stderr.count("several-errors.yaml:") == 4
    assert [len(item["problems"]) for item in listed] == [0, 4]
    assert listed[1]["problems"][0]["line"] == 8


@pytest.mark.parametrize("name", ["never", "unknown-knob"])
def test_validate_says_what_the_catalog_refuses_on_every_host(name: str) -> None:
    bad = HERE / "refused" / f"{name}.yaml"

    done = ktune("profile", "validate", str(bad))
    listed = json.loads(ktune("profile", "validate", "--json", str(bad)).stdout)

    assert done.returncode == 4
    assert "valid\n" not in done.stdout
    assert done.stderr == ktune("plan", str(bad)).stderr
    assert listed[0]["problems"]


def test_init_writes_a_profile_that_is_valid_and_never_overwrites(tmp_path: Path) -> None:
    first = ktune("profile", "init", "mine", cwd=tmp_path)
    again = ktune("profile", "init", "mine", cwd=tmp_path)

    assert first.returncode == 0, first.stderr
    assert ktune("profile", "validate", "mine.yaml", cwd=tmp_path).returncode == 0
    assert again.returncode == 2
    assert "exists already" in again.stderr


@pytest.mark.parametrize("name", ["../x", "", "a b", "-", "x" * 65])
def test_init_refuses_what_is_no_name(name: str, tmp_path: Path) -> None:
    assert ktune("profile", "init", "--", name, cwd=tmp_path).returncode == 2
    assert list(tmp_path.iterdir()) == []


def test_show_prints_the_profile_with_what_it_inherits(tmp_path: Path) -> None:
    folder = tmp_path / "profiles"
    folder.mkdir()
    for name in ("inherits", "parents/net-base", "parents/memory-base"):
        text = (HERE / "good" / f"{name}.yaml").read_text(encoding="utf-8")
        (folder / f"{Path(name).name}.yaml").write_text(text, encoding="utf-8")

    done = ktune("profile", "show", str(folder / "inherits.yaml"))
    (tmp_path / "shown.yaml").write_text(done.stdout, encoding="utf-8")

    assert "trials: 30" in done.stdout
    assert ktune("profile", "validate", str(tmp_path / "shown.yaml")).returncode == 0


def test_list_names_the_shipped_profiles() -> None:
    names = {row["name"] for row in json.loads(ktune("profile", "list", "--json").stdout)}

    assert "quickstart" in names


def test_a_fifo_given_as_a_profile_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")

    assert ktune("profile", "validate", str(tmp_path / "pipe.yaml")).returncode == 2


def test_schema_check_finds_a_stale_file(tmp_path: Path) -> None:
    assert ktune("schema", "-o", str(tmp_path)).returncode == 0
    assert ktune("schema", "--check", "-o", str(tmp_path)).returncode == 0

    (tmp_path / "profile.schema.json").write_text("{}", encoding="utf-8")

    assert ktune("schema", "--check", "-o", str(tmp_path)).returncode == 1


def test_plan_lists_what_a_run_keeps_to(tmp_path: Path) -> None:
    live = str(HERE / "good" / "live-service.yaml")
    text = ktune("plan", live).stdout
    for words in (
        "service level (safety.slo): p99 at most 0.5; crossed when outside for 2s",
        "candidates have cost 2.0% of the work",
        "within 10% of each knob's range",
        "Mon,Tue,Wed,Thu,Fri 02:00-05:00, Sat,Sun 00:00-24:00 (Europe/Berlin); ",
        "(safety.max_trips): 3",
        "approval: not required",
        "pairs of the proof: switched by the kernel"
        if os.path.exists("/dev/ktune")
        else "pairs of the proof: switched by ktune: the kernel module does not hold the lease: it "
        "is not loaded",
        "probation of 30 pairs, rolled back when worse by more than 2.0%",
    ):
        assert words in text
    rules = json.loads(ktune("plan", live, "--json").stdout)["rules"]
    opening = rules.pop("change_windows")
    assert rules == {
        "slo": [{"metric": "p99", "at_most": 0.5, "at_least": None, "for_s": 2.0}],
        "regret": 0.02,
        "max_trips": 3,
        "trust_region": 0.1,
        "approval": "",
        "probation_pairs": 30,
        "probation_alpha": 0.01,
        "margin": 0.02,
        "on_rollback": "baseline",
    }
    assert opening["windows"] == ["Mon,Tue,Wed,Thu,Fri 02:00-05:00", "Sat,Sun 00:00-24:00"]
    assert opening["time_zone"] == "Europe/Berlin"
    assert (opening["closes"] is None) != (opening["opens"] is None)


def test_plan_says_who_wants_an_approval_and_leaves_out_what_is_not_asked_for(
    tmp_path: Path,
) -> None:
    file = tmp_path / "p.yaml"
    text = (HERE / "good" / "host-memory.yaml").read_text(encoding="utf-8")
    file.write_text(text.replace("mei: 2%,", "mei: 2%, approval: required,"), encoding="utf-8")
    shown = ktune("plan", str(file)).stdout
    assert "approval: required by the profile: `ktune approve` before `ktune apply`" in shown
    for absent in ("service level", "regret budget", "trust region", "change windows"):
        assert absent not in shown
    rules = json.loads(ktune("plan", str(file), "--json").stdout)["rules"]
    assert (rules["approval"], rules["trust_region"], rules["slo"], rules["change_windows"]) == (
        "the profile",
        1.0,
        [],
        None,
    )

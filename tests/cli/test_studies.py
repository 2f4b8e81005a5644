"""Studies through the command line: listed, shown, exported, reported, frozen."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from pathlib import Path

import pytest

from ktune.evidence.pairs import Arm, Direction
from ktune.records.front import Front, FrontPoint, write_front
from ktune.records.types import Phase, ProofOutcome
from tests.policy import support

from .support import Namespace


def test_no_studies_yet(cli):
    done = cli("studies", "list")
    assert done.code == 0
    assert "no studies yet" in done.out
    assert cli("studies", "list", "--json").json == []


def test_the_list_shows_status_and_gain(cli, paths):
    proven = support.study(paths, study_id="20260101-000000-aa")
    support.study(paths, study_id="20260102-000000-aa", outcome=ProofOutcome.NO_IMPROVEMENT_FOUND)
    done = cli("studies", "list")
    lines = done.out.splitlines()
    assert lines[0].split() == [
        proven.id,
        "proven",
        "quickstart",
        *["throughput", "6.1%", "better,", "95%", "interval", "[+4.0%,", "+8.3%]"],
    ]
    assert "no_improvement" in lines[1]


def test_a_broken_study_does_not_hide_the_others(cli, paths):
    broken = support.study(paths, study_id="20260101-000000-aa")
    support.study(paths, study_id="20260102-000000-aa")
    (broken.folder / "study.json").write_text("{")
    done = cli("studies", "list")
    assert done.code == 0
    assert "20260102-000000-aa" in done.out
    assert "study.json" in done.err


def test_the_report_gives_the_gain_with_its_interval_and_not_the_search_numbers(cli, paths):
    done = cli("report", support.study(paths).id)
    assert done.code == 0
    assert "Improved: throughput 6.1% better, 95% interval [+4.0%, +8.3%]" in done.out
    assert "from 10 pairs after the decision" in done.out
    assert (
        "the search alone would have claimed 9.8% better (picked the best of many: not a gain)"
        in (done.out)
    )
    assert "net.ipv4.tcp_rmem" in done.out
    assert "4096 131072 6291456 -> 4096 131072 33554432" in done.out


def test_a_gain_that_may_be_none_is_nowhere_called_improved_without_a_word(cli, paths, tmp_path):
    study = support.study(paths, gain=support.UNCERTAIN_GAIN)
    done = cli("report", study.id)
    assert "Improved, how much is uncertain: throughput 0.1% better" in done.out
    assert "the interval includes no gain at all" in done.out
    assert "promotion: {pairs: {after: 40}}" in done.out
    assert f"`ktune tune PROFILE --warm-start {study.id}`" in done.out
    assert cli("report", study.id, "--json").json["gain"]["uncertain"] is True
    assert "how much is uncertain" in cli("studies", "list").out
    file = tmp_path / "policy.yaml"
    assert cli("freeze", study.id, "-o", file).code == 0
    with contextlib.ExitStack() as stack:
        scope = Namespace.make()
        stack.callback(scope.end)
        asked = cli("apply", file, "--netns", scope.path, "--dry-run")
    assert asked.code == 0, asked.err
    assert "[-21.0%, +27.0%], how much is uncertain, 10 pairs after the decision" in asked.out
    assert "the interval includes no gain at all" in asked.out


def test_a_gain_that_is_surely_one_has_no_such_word(cli, paths):
    done = cli("report", support.study(paths).id)
    assert "uncertain" not in done.out
    assert cli("report", support.study(paths).id, "--json").json["gain"]["uncertain"] is False


def test_the_report_counts_void_pairs_by_the_arm_that_voided_them(cli, paths):
    study = support.study(paths, outcome=None)
    for number, (arm, validity) in enumerate(
        [(Arm.BASELINE, "candidate_failed"), (Arm.CANDIDATE, "void"), (Arm.CANDIDATE, "void")]
    ):
        window = study.windows().records[0]
        study.append_window(
            dataclasses.replace(
                window,
                seq=10 + number,
                phase=Phase.DECISION,
                arm=arm,
                pair=number,
                validity=validity,
            )
        )
    out = cli("report", study.id).out
    assert "pairs voided by a window: 1 in the baseline's, 2 in the candidate's" in out


def test_the_report_of_no_improvement_says_so(cli, paths):
    study = support.study(paths, outcome=ProofOutcome.NO_IMPROVEMENT_FOUND)
    done = cli("report", study.id)
    assert done.code == 0
    assert "No improvement found: 30 pairs, E = 1.2." in done.out


def test_an_export_holds_everything_on_record(cli, paths, tmp_path):
    study = support.study(paths)
    done = cli("studies", "export", study.id, "-o", tmp_path / "study.json")
    assert done.code == 0
    found = json.loads((tmp_path / "study.json").read_text())
    assert found["manifest"]["id"] == study.id
    assert len(found["windows"]) == 1
    assert found["proof"]["outcome"] == "improved"
    assert cli("studies", "show", study.id, "--json").json == found


def test_a_torn_last_window_is_said(cli, paths):
    study = support.study(paths, outcome=None)
    with open(study.windows_path, "ab") as file:
        file.write(b'{"seq": 2, "pha')
    done = cli("studies", "show", study.id)
    assert done.code == 0
    assert "torn" in done.out


@pytest.mark.parametrize("command", [("report",), ("freeze",), ("studies", "show")])
def test_an_unknown_study_names_the_nearest(cli, paths, command):
    support.study(paths, study_id="20260101-000000-aa")
    done = cli(*command, "20260101-000000-ab")
    assert done.code == 2
    assert "did you mean 20260101-000000-aa?" in done.err


@pytest.mark.parametrize("outcome", [None, ProofOutcome.NO_IMPROVEMENT_FOUND])
def test_an_unproven_study_is_not_frozen(cli, paths, tmp_path, outcome):
    study = support.study(paths, outcome=outcome)
    done = cli("freeze", study.id, "-o", tmp_path / "p.yaml")
    assert done.code == 3
    assert not (tmp_path / "p.yaml").exists()


def test_freeze_does_not_replace_a_file_unasked(cli, paths, tmp_path):
    study = support.study(paths)
    (tmp_path / "p.yaml").write_text("mine")
    assert cli("freeze", study.id, "-o", tmp_path / "p.yaml").code == 2
    assert (tmp_path / "p.yaml").read_text() == "mine"
    assert cli("freeze", study.id, "-o", tmp_path / "p.yaml", "--force").code == 0


def test_a_study_with_changed_windows_is_not_trusted(cli, paths):
    study = support.study(paths)
    study.windows_path.write_bytes(study.windows_path.read_bytes().replace(b"1000000000.0", b"2e9"))
    assert cli("freeze", study.id).code == 7
    assert cli("report", study.id).code == 7


def test_names_from_a_study_can_not_drive_the_terminal(cli, paths):
    study = support.study(paths, outcome=None)
    manifest = study.folder / "study.json"
    manifest.write_text(manifest.read_text().replace('"quickstart"', '"\\u001b]0;x\\u0007"'))
    assert "\\x1b]0;x\\x07" in cli("studies", "list").out
    assert "\x1b" not in cli("report", study.id).out


@pytest.mark.parametrize(
    "words", [("status",), ("studies", "list"), ("history",), ("verify",), ("recover",)]
)
def test_a_state_folder_that_is_a_file_is_an_error_for_people(cli, tmp_path, words):
    (tmp_path / "file").write_text("")
    done = cli(*words, "--state-dir", tmp_path / "file")
    assert "this is a bug" not in done.err
    assert done.code in (0, 1)


def test_the_password_of_a_storage_is_not_passed_on(cli, paths):
    study = support.study(paths)
    storage = "postgresql://me:s3cret@db/optuna?sslpassword=s3cret"
    study.manifest = dataclasses.replace(study.manifest, storage=storage)
    study.end(study.manifest.status)
    for words in (("studies", "export"), ("studies", "show", "--json"), ("report",)):
        done = cli(*words, study.id)
        assert done.code == 0
        assert "s3cret" not in done.out
    assert cli("studies", "export", study.id).json["manifest"]["storage"] == (
        "postgresql://me:***@db/optuna"
    )


def test_a_search_that_can_not_be_is_refused_before_there_is_a_study(cli):
    done = cli("tune", "quickstart", "--storage", "redis://host/0")
    assert done.code == 7
    assert "unpickles" in done.err
    assert cli("studies", "list", "--json").json == []


@pytest.mark.full
def test_a_study_of_another_kernel_is_not_continued(cli, tmp_path):
    """Half of its pairs would be from a kernel that the policy does not name."""
    profile = tmp_path / "quick.yaml"
    profile.write_text(
        "{ktune: 1, kind: profile, name: quick, scope: ephemeral,\n"
        " workload: {command: [echo, 'v=5'], renews: [new_socket], timeout: 9s,\n"
        "  metrics: {v: {from: key_value, plausible: [1, 9]}}},\n"
        " knobs: {sysctl: {net.ipv4.tcp_slow_start_after_idle: {choices: [1, 0]}}},\n"
        " objectives: [{metric: v, direction: maximize}], search: {trials: 2}}\n"
    )
    done = cli("tune", profile, "--search-only", "--quiet", "--json")
    assert done.code == 0, done.err
    study = done.json["study"]
    file = cli.state / "studies" / study / "study.json"
    manifest = json.loads(file.read_text())
    manifest["host"]["kernel"] = "4.19.0"
    file.write_text(json.dumps(manifest))
    done = cli("tune", "--resume", study)
    assert done.code == 4
    assert "measured on another machine: kernel 4.19.0, now" in done.err


@pytest.mark.full
def test_a_metric_that_fell_is_written_as_one_that_fell(cli, paths, netns, tmp_path):
    """Of a metric to minimise, 6.1 % better is 6.1 % less, in every command that prints it."""
    made = support.study(paths, better=Direction.MINIMIZE)
    said = "throughput -6.1% (better), 95% interval [-8.3%, -4.0%]"
    file = tmp_path / "policy.yaml"
    assert cli("freeze", made.id, "-o", file, "--valid-days", 36500).code == 0
    assert "better: lower" in file.read_text()
    printed = {
        "report": cli("report", made.id),
        "studies list": cli("studies", "list"),
        "studies show": cli("studies", "show", made.id),
        "approve study": cli("approve", made.id, "--dry-run"),
        "approve policy": cli("approve", file, "--dry-run"),
        "apply": cli("apply", file, "--netns", netns.path, "--dry-run"),
    }
    assert {name for name, done in printed.items() if said not in done.out} == set()
    assert "would have claimed -9.8% (better)" in printed["report"].out


def test_a_front_says_which_way_each_metric_went(cli, paths):
    made = support.study(paths, outcome=None, better=Direction.MINIMIZE)
    point = FrontPoint(3, support.NET_ASSIGNMENT, {"throughput": 0.13, "p99": -0.02}, 4)
    write_front(made.folder, Front((point,), "budget"))
    assert "trial 3: throughput -13.0% (better), p99 2.0% worse (4 windows)" in (
        cli("report", made.id).out
    )
    front = cli("report", made.id, "--json").json["front"]
    assert front["points"][0]["gains"] == {"throughput": 0.13, "p99": -0.02}
    assert front["better"] == {"throughput": "lower"}


REPORT_KEYS = {
    *("format", "id", "kind", "profile", "profile_digest", "status", "reason", "began", "ended"),
    *("scope", "seed", "sampler", "host", "outcome", "why", "gain", "claimed_by_search"),
    *("objectives", "constraints", "rule", "pairs", "switching", "settings", "others_wrote"),
    *(
        "disturbed",
        "decided",
        "proof_digest",
        "front",
        "windows",
        "windows_torn",
        "search",
        "readiness",
    ),
    *("contexts", "loops"),
}
"""As docs/commands.md promises them."""


def test_the_report_is_json_for_programs(cli, paths):
    made = support.study(paths, better=Direction.MAXIMIZE)
    found = cli("report", made.id, "--json").json
    assert set(found) == REPORT_KEYS
    assert (found["format"], found["kind"], found["outcome"]) == (
        "ktune-report-1",
        "study",
        "improved",
    )
    assert found["gain"] == {
        "metric": "throughput",
        "estimate": 0.0613,
        "interval": [0.04, 0.083],
        "level": 0.95,
        "better": "higher",
        "text": "throughput +6.1% (better), 95% interval [+4.0%, +8.3%]",
        "uncertain": False,
    }
    (changed,) = [i for i in found["settings"] if i["key"] == "net.ipv4.tcp_notsent_lowat"]
    assert changed == {
        "key": "net.ipv4.tcp_notsent_lowat",
        "baseline": 4294967295,
        "value": 131072,
        "changed": True,
    }
    assert found["windows"]["decision"] == {
        "count": 1,
        "duration_s": 2.0,
        "by_validity": {"valid": 1},
    }


@pytest.mark.parametrize("outcome", [None, ProofOutcome.NO_IMPROVEMENT_FOUND])
def test_the_report_of_an_unproven_study_has_the_same_keys(cli, paths, outcome):
    found = cli("report", support.study(paths, outcome=outcome).id, "--json").json
    assert set(found) == REPORT_KEYS
    assert found["gain"] is None
    assert found["outcome"] == (None if outcome is None else outcome.value)


def test_docs_name_every_key_of_the_report():
    text = (Path(__file__).parents[2] / "docs" / "commands.md").read_text()
    assert {key for key in REPORT_KEYS if f"`{key}`" not in text} == set()

"""A study on disk: what was written is there, whatever killed the writer."""

from __future__ import annotations

import dataclasses
import json
import os
import stat

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ktune.errors import BusyError, ExitCode, KtuneError, UsageError
from ktune.evidence.pairs import Arm
from ktune.records.codec import RecordError
from ktune.records.paths import StatePaths
from ktune.records.study import Study, list_studies, new_study_id
from ktune.records.types import (
    PairCounts,
    Phase,
    Proof,
    ProofOutcome,
    RuleRecord,
    StudyManifest,
    StudyStatus,
    WindowRecord,
)


@pytest.fixture
def paths(tmp_path):
    return StatePaths(tmp_path / "state", tmp_path / "run")


def test_a_study_opens_as_it_was_created(paths):
    made = Study.create(paths, StudyManifest("", "demo", "", seed=7, baseline={"vm.x": (1, 2)}))
    opened = Study.open(paths, made.id)
    assert opened.manifest == made.manifest
    assert opened.manifest.baseline == {"vm.x": (1, 2)}
    assert stat.S_IMODE(made.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((made.folder / "study.json").stat().st_mode) == 0o600


def test_two_studies_of_one_second_get_two_names(paths):
    names = {Study.create(paths, _manifest()).id for _ in range(20)}
    assert len(names) == 20


def test_the_studies_come_oldest_first_and_a_broken_one_as_its_error(paths):
    for name in ("20260101-000000-aa", "20250101-000000-aa", "20270101-000000-aa"):
        Study.create(paths, _manifest(name))
    (paths.studies / "20260101-000000-aa" / "study.json").write_text("{")
    found = list(list_studies(paths))
    assert [item.id if isinstance(item, Study) else "error" for item in found] == [
        "20250101-000000-aa",
        "error",
        "20270101-000000-aa",
    ]


@pytest.mark.parametrize("name", ["20250101-000000-ab", "../../etc", "", "x" * 300])
def test_an_unknown_study_is_a_usage_error(paths, name):
    Study.create(paths, _manifest("20250101-000000-aa"))
    with pytest.raises(UsageError, match="no study"):
        Study.open(paths, name)


def test_a_study_whose_runner_died_is_interrupted(paths):
    study = Study.create(paths, _manifest())
    assert study.status is StudyStatus.RUNNING
    dead = os.fork()
    if dead == 0:
        os._exit(0)
    os.waitpid(dead, 0)
    runner = dataclasses.replace(study.manifest.runner, pid=dead)
    study.manifest = dataclasses.replace(study.manifest, runner=runner)
    assert study.status is StudyStatus.INTERRUPTED


def test_a_reused_pid_is_not_the_runner(paths):
    study = Study.create(paths, _manifest())
    other = dataclasses.replace(study.manifest.runner, started_ticks=1)
    study.manifest = dataclasses.replace(study.manifest, runner=other)
    assert study.status is StudyStatus.INTERRUPTED


def test_a_study_that_another_process_runs_is_not_resumed(paths):
    study = Study.create(paths, _manifest())
    pid = os.getppid()
    with open(f"/proc/{pid}/stat") as file:
        ticks = int(file.read().rpartition(")")[2].split()[19])
    runner = dataclasses.replace(study.manifest.runner, pid=pid, started_ticks=ticks)
    study.manifest = dataclasses.replace(study.manifest, runner=runner)
    with pytest.raises(BusyError):
        study.resume()


@settings(max_examples=50)
@given(count=st.integers(1, 4), cut=st.integers(0, 400))
def test_whole_windows_are_read_from_a_file_cut_anywhere(tmp_path_factory, count, cut):
    root = tmp_path_factory.mktemp("study")
    study = Study.create(StatePaths(root, root / "run"), _manifest())
    for seq in range(count):
        study.append_window(_window(seq), sync=False)
    data = study.windows_path.read_bytes()
    kept = data[: max(0, len(data) - cut)]
    study.windows_path.write_bytes(kept)
    log = study.windows()
    assert [record.seq for record in log.records] == list(range(kept.count(b"\n")))
    assert log.torn == (not kept.endswith(b"\n") and bool(kept))
    study.append_window(_window(99), sync=False)
    assert study.windows().records[-1].seq == 99
    assert not study.windows().torn


def test_a_damaged_line_in_the_middle_is_an_error_that_names_it(paths):
    study = Study.create(paths, _manifest())
    for seq in range(3):
        study.append_window(_window(seq))
    lines = study.windows_path.read_bytes().split(b"\n")
    lines[1] = b"{broken"
    study.windows_path.write_bytes(b"\n".join(lines))
    with pytest.raises(RecordError, match=r"windows\.jsonl:2"):
        study.windows()


def test_a_proof_ends_the_study_and_comes_back_sealed(paths):
    study = Study.create(paths, _manifest())
    study.append_window(_window(1))
    written = study.write_proof(_proof(ProofOutcome.IMPROVED))
    again = Study.open(paths, study.id)
    assert again.status is StudyStatus.PROVEN
    assert again.proof() == written
    assert written.digest.startswith("sha256:")


@pytest.mark.parametrize("target", ["proof", "windows"])
def test_evidence_changed_afterwards_is_not_trusted(paths, target):
    study = Study.create(paths, _manifest())
    study.append_window(_window(1))
    study.write_proof(_proof(ProofOutcome.IMPROVED))
    if target == "proof":
        path = study.folder / "proof.json"
        data = json.loads(path.read_text())
        data["assignment"]["vm.swappiness"] = 99
        path.write_text(json.dumps(data))
    else:
        study.append_window(_window(2))
    with pytest.raises(KtuneError) as caught:
        study.proof()
    assert caught.value.exit_code is ExitCode.UNTRUSTED


def test_a_stopped_study_resumes_without_its_old_proof(paths):
    study = Study.create(paths, _manifest())
    study.write_proof(_proof(ProofOutcome.STOPPED))
    assert study.status is StudyStatus.INTERRUPTED
    study.resume()
    assert study.status is StudyStatus.RUNNING
    assert study.proof() is None


def test_a_proven_study_has_nothing_to_resume(paths):
    study = Study.create(paths, _manifest())
    study.write_proof(_proof(ProofOutcome.IMPROVED))
    with pytest.raises(UsageError, match="proven"):
        study.resume()


def test_an_id_is_the_time_and_two_digits():
    assert len(new_study_id()) == len("20261121-101500-7c")


def _manifest(name=""):
    return StudyManifest(name, "demo", "")


def _window(seq):
    return WindowRecord(
        seq, Phase.DECISION, Arm.BASELINE, 1, None, {}, {"tps": 1.0}, "valid", "", "", 1.0
    )


def _proof(outcome):
    rule = RuleRecord(("symmetric-e",), 0.05, "gain <= 0", "symmetric-e", 25.0, 20.0)
    return Proof(outcome, {"vm.swappiness": 10}, {"vm.swappiness": 60}, rule, PairCounts(8, 10))

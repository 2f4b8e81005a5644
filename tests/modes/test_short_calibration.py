"""The short calibration before a search, with a simulated workload."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from ktune.errors import ExitCode, RefusedError
from ktune.modes.short_calibration import (
    calibrate_before_search,
    recent_calibrations,
    unresolved_text,
)
from ktune.profile.estimate import pairs_before
from ktune.records.codec import RecordError
from ktune.records.finalists import Finalists, fix_finalists
from ktune.records.readiness import Readiness, read_readiness, write_readiness
from ktune.records.study import Study
from ktune.records.types import Phase, StudyStatus
from ktune.report.progress import Note
from tests.modes.rig import FIN, PROFILE, RUNS, Rig, Simulated, rig
from tests.modes.test_tuning import flat

NOISY = 0.05


def short(it: Rig, noise: float = 0.003, *, require_ready: bool = False) -> Readiness | None:
    with it.bench(Simulated(flat, noise=noise)) as bench:
        return calibrate_before_search(
            bench, it.settings, it.paths, it.told.append, require_ready=require_ready, runs=RUNS
        )


def notes(it: Rig) -> str:
    return "\n".join(told.text for told in it.told if isinstance(told, Note))


def test_five_pairs_of_the_baseline_are_kept_in_the_study(tmp_path: Path) -> None:
    with rig(tmp_path) as it:
        found = short(it)
        records = it.study.windows().records
        assert found is not None and found.ready and found.pairs == 5
        assert found == read_readiness(it.study.folder)
    assert [record.phase for record in records] == [Phase.CALIBRATION] * 10
    assert all(record.assignment == it.plan.baseline for record in records)
    assert "resolved" not in notes(it)


def test_what_five_pairs_do_not_show_takes_ten(tmp_path: Path) -> None:
    """As measured it would do, at the upper limit of five pairs it would not."""
    with rig(tmp_path) as it:
        found = short(it, noise=0.022)
    assert found is not None and found.pairs == 10
    assert "5 pairs don't show that" in notes(it)


def test_noise_that_hides_the_mei_is_a_warning_that_says_what_would_help(tmp_path: Path) -> None:
    with rig(tmp_path) as it:
        found = short(it, NOISY)
    assert found is not None and not found.ready and not found.undecided
    assert "the MEI of 2.00% can't be resolved within 30 pairs: sd of a pair " in notes(it)
    assert "what would help: " in notes(it) and "larger promotion: {mei:" in notes(it)


def test_where_readiness_is_required_it_is_refused(tmp_path: Path) -> None:
    with rig(tmp_path) as it:
        with pytest.raises(RefusedError, match="the MEI of 2") as caught:
            short(it, NOISY, require_ready=True)
        assert caught.value.exit_code is ExitCode.REFUSED
        assert "ktune" in caught.value.hint and "calibrate" in caught.value.hint
        found = read_readiness(it.study.folder)
        assert found is not None and not found.ready


def test_a_resumed_study_goes_by_the_calibration_that_it_has(tmp_path: Path) -> None:
    with rig(tmp_path) as it:
        first = short(it, NOISY)
        windows = len(it.study.windows().records)
        assert short(it) == first
        assert len(it.study.windows().records) == windows
        assert notes(it).count("can't be resolved") == 2
        with pytest.raises(RefusedError):
            short(it, require_ready=True)


def test_one_that_was_cut_short_is_completed(tmp_path: Path) -> None:
    class Cut(Exception):
        pass

    def cut(number: int) -> None:
        if number == 5:
            raise Cut

    with rig(tmp_path) as it:
        with it.bench(Simulated(flat, noise=0.003, before=cut)) as bench, pytest.raises(Cut):
            calibrate_before_search(bench, it.settings, it.paths, it.told.append, runs=RUNS)
        assert read_readiness(it.study.folder) is None
        found = short(it)
        assert found is not None and found.pairs == 5
        assert len(it.study.windows().records) == 5 + 2 * 3


def test_once_the_finalists_are_chosen_it_is_too_late(tmp_path: Path) -> None:
    with rig(tmp_path) as it:
        fix_finalists(it.study.folder, Finalists(({FIN: 30},), "test", (0.1,)))
        assert short(it) is None
        assert not it.study.windows().records


@pytest.mark.parametrize(("trials", "pairs"), [(1, 5), (24, 5), (70, 7), (1000, 10)])
def test_it_is_cheap_beside_the_search(trials: int, pairs: int) -> None:
    assert pairs_before(trials) == pairs


def test_slow_windows_take_no_more_than_a_share_of_the_time(tmp_path: Path) -> None:
    with rig(tmp_path, PROFILE.replace("trials: 12,", "trials: 12, time: 1ns,")) as it:
        found = short(it)
    assert found is not None and found.pairs == 3


# --- a calibration of before in its place ---------------------------------------------------------


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Readiness:
    with rig(tmp_path_factory.mktemp("known")) as it:
        found = short(it)
    assert found is not None
    return dataclasses.replace(found, pairs=40)


def finished(it: Rig, known: Readiness) -> Study:
    """A calibration of the rig's profile on record."""
    manifest = dataclasses.replace(it.study.manifest, id="")
    made = Study.create(it.paths, manifest, under=it.paths.calibrations)
    write_readiness(made.folder, known)
    made.end(StudyStatus.FINISHED)
    return made


def test_a_recent_calibration_stands_for_a_new_one(tmp_path: Path, known: Readiness) -> None:
    with rig(tmp_path) as it:
        made = finished(it, known)
        found = short(it, NOISY)
        assert found is not None and found.source == made.id and found.pairs == 40
        assert not it.study.windows().records
        assert f"calibration {made.id} of this profile" in notes(it)
        assert found == read_readiness(it.study.folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"profile_digest": "another"},
        {"host": {"kernel": "4.19.0"}},
        {"baseline": {FIN: 61}},
        {"scope": "netns:/run/netns/x"},
        {"version": "0.0.0"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_one_of_something_else_does_not(
    tmp_path: Path, known: Readiness, changes: dict[str, object]
) -> None:
    with rig(tmp_path) as it:
        finished(it, known)
        assert len(list(recent_calibrations(it.paths, it.study.manifest))) == 1
        other = dataclasses.replace(it.study.manifest, **changes)  # type: ignore[arg-type]
        assert not list(recent_calibrations(it.paths, other))


@pytest.mark.parametrize("spoil", ["old", "of tomorrow", "interrupted", "damaged"])
def test_one_that_is_old_or_not_whole_does_not(
    tmp_path: Path, known: Readiness, spoil: str
) -> None:
    with rig(tmp_path) as it:
        made = finished(it, known)
        if spoil == "old":
            made._update(ended_at="2020-01-01T00:00:00Z")
        elif spoil == "of tomorrow":
            made._update(ended_at="2999-01-01T00:00:00Z")
        elif spoil == "interrupted":
            made.end(StudyStatus.INTERRUPTED)
        else:
            (made.folder / "readiness.json").write_text('{"ready": true}')
        found = list(recent_calibrations(it.paths, it.study.manifest))
        assert [type(item) for item in found] == ([RecordError] if spoil == "damaged" else [])


def test_a_damaged_one_is_said_and_a_new_one_measured(tmp_path: Path, known: Readiness) -> None:
    with rig(tmp_path) as it:
        (finished(it, known).folder / "readiness.json").write_text("{")
        found = short(it)
        assert found is not None and not found.source and found.pairs == 5
        assert "left out: " in notes(it)


def test_a_rule_that_fired_on_identical_settings_is_the_first_thing_said(known: Readiness) -> None:
    fired = dataclasses.replace(
        known,
        ready=False,
        gate=dataclasses.replace(known.gate, fired=True),
        problems=("the promotion rule fired on identical settings: x",),
        helps=("calibrate again",),
    )
    assert unresolved_text(fired).startswith("the promotion rule fired")

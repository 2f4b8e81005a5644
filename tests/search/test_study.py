"""Ask and tell on a simulated machine, with the real Optuna and a real journal file."""

from __future__ import annotations

import itertools
import json
import logging
import random
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from ktune.errors import BusyError, ExitCode, KtuneError, RefusedError, UsageError
from ktune.profile.knobs import parse_relation
from ktune.search.opening import open_search
from ktune.search.samplers import SamplerName, make_sampler, missing_modules
from ktune.search.space import NotInSpaceError, Space
from ktune.search.storage import check_url
from ktune.search.study import MAX_RETRIES, Search
from ktune.search.trials import (
    Candidate,
    InfeasibleTrial,
    Origin,
    ScoredTrial,
    Told,
    VoidTrial,
    key_of,
)
from tests.search.spaces import BASELINE, DIMENSIONS, example_space, gain_of, number, spaces
from tests.search.test_space import Drawn

COUNT = itertools.count()
Judge = Callable[[Candidate], Told]


def opened(folder: Path, space: Space | None = None, **more: object) -> Search:
    options: dict[str, object] = {"name": "study", "journal": folder / "optuna.journal", "seed": 7}
    return open_search(space or example_space(), **{**options, **more})  # type: ignore[arg-type]


def run(search: Search, trials: int, judge: Judge) -> list[Candidate]:
    asked = []
    for _ in range(trials):
        asked.append(search.ask())
        search.tell(asked[-1], judge(asked[-1]))
    return asked


def simulated(seed: int = 1, sd: float = 0.01) -> Judge:
    rng = random.Random(seed)
    return lambda candidate: ScoredTrial(gain_of(candidate.assignment, rng, sd))


@pytest.mark.parametrize("sampler", SamplerName)
def test_every_sampler_searches_within_limits_and_relations(
    sampler: SamplerName, tmp_path: Path
) -> None:
    missing = missing_modules(sampler)
    if missing:
        pytest.skip(f"sampler {sampler.value}: {', '.join(missing)} not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with opened(tmp_path, sampler=sampler) as search:
            asked = run(search, 30, simulated())
    assert all(search.space.why_not(candidate.assignment) is None for candidate in asked)
    assert len({key_of(candidate.assignment) for candidate in asked}) > 15
    assert search.ranked()[0].score > 0.03


def test_tpe_finds_what_random_seldom_finds(tmp_path: Path) -> None:
    with opened(tmp_path) as search:
        run(search, 45, simulated(sd=0.005))
        best = search.ranked()[0].assignment
    ahead, rmem = best["vm.ahead"], best["net.rmem"]
    assert isinstance(ahead, int) and isinstance(rmem, tuple)
    assert 256 <= ahead <= 4096 and rmem[2] > 10 << 20


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=spaces())
def test_no_candidate_ever_breaks_a_relation(drawn: Drawn, tmp_path: Path) -> None:
    dimensions, relations, baseline = drawn
    space = Space(dimensions, relations, baseline)
    journal = tmp_path / f"{next(COUNT)}.journal"
    with opened(tmp_path, space, journal=journal, sampler=SamplerName.RANDOM) as search:
        try:
            asked = run(search, 8, lambda candidate: ScoredTrial(-1.0))
        except UsageError as error:
            assert "no assignment within the limits" in str(error)
            return
    assert all(space.why_not(candidate.assignment) is None for candidate in asked)


def test_the_sampler_learns_the_repaired_point(tmp_path: Path) -> None:
    space = Space([number("k.a", 0, 9), number("k.b", 0, 9)], [parse_relation("k.a < k.b")])
    with opened(tmp_path, space) as search:
        asked = run(search, 20, lambda candidate: ScoredTrial(0.0))
        complete = [t for t in search._study.trials if t.state.name == "COMPLETE"]
        assert len(complete) == 20 < len(search._study.trials)
        assert [space.decode(t.params) for t in complete] == [c.assignment for c in asked]


def test_baseline_and_expert_settings_are_asked_first(tmp_path: Path) -> None:
    expert = {"vm.ahead": 1024}
    with opened(tmp_path) as search:
        assert search.enqueue(BASELINE, Origin.BASELINE)
        assert search.enqueue(expert)
        first, second, third = run(search, 3, lambda candidate: ScoredTrial(-0.1))
    assert (first.assignment, first.origin) == (BASELINE, Origin.BASELINE)
    assert (second.assignment, second.origin) == ({**BASELINE, **expert}, Origin.EXPERT)
    assert third.origin is Origin.SAMPLER
    assert next(entry.assignment for entry in search.ranked()) != BASELINE


def test_what_is_enqueued_again_after_a_resume_is_asked_once(tmp_path: Path) -> None:
    with opened(tmp_path) as search:
        search.enqueue({"vm.ahead": 1024})
        run(search, 1, simulated())
    with opened(tmp_path) as search:
        assert not search.enqueue({"vm.ahead": 1024})


def test_an_expert_setting_off_the_grid_is_measured_exactly_but_not_learnt(tmp_path: Path) -> None:
    space = Space([number("vm.total", 30, 60, step=10), number("vm.ahead", 1, 9)], (), BASELINE)
    with opened(tmp_path, space) as search:
        search.enqueue({"vm.ahead": 5})
        [asked] = run(search, 1, lambda candidate: ScoredTrial(0.2))
        assert asked.assignment == {"vm.total": 20, "vm.ahead": 5}
        again = search.ask()
        assert again.origin is Origin.REMEASURE and again.assignment == asked.assignment
        search.tell(again, ScoredTrial(0.1))
        assert not [t for t in search._study.trials if t.state.name == "COMPLETE"]
    with opened(tmp_path, space) as search:
        [best] = search.ranked()
        assert best.assignment == asked.assignment and best.score == pytest.approx(0.15)


def test_an_enqueued_assignment_outside_the_limits_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path) as search:
        with pytest.raises(NotInSpaceError, match=r"vm.background = 99 is outside 1\.\.20"):
            search.enqueue({"vm.background": 99})
        with pytest.raises(NotInSpaceError, match="relation"):
            search.enqueue({"vm.background": 20, "vm.total": 20})


def test_a_void_window_is_never_scored_and_comes_again_a_few_times(tmp_path: Path) -> None:
    with opened(tmp_path) as search:
        search.enqueue({"vm.ahead": 1024})
        asked = run(search, MAX_RETRIES + 1, lambda candidate: VoidTrial("steal"))
        assert all(candidate.assignment["vm.ahead"] == 1024 for candidate in asked)
        assert {t.state.name for t in search._study.trials} == {"FAIL"}
        assert search.ranked() == ()
        assert search.ask().origin is Origin.SAMPLER


def test_a_failed_candidate_is_infeasible_to_the_sampler_and_never_ranked(tmp_path: Path) -> None:
    with opened(tmp_path) as search:
        search.enqueue({"vm.ahead": 1024})
        run(search, 1, lambda candidate: InfeasibleTrial("EINVAL"))
        [trial] = search._study.trials
        assert trial.state.name == "PRUNED" and trial.constraints == {"ktune.failed": 1.0}
        search.remeasure({"vm.ahead": 1024})
        run(search, 1, lambda candidate: ScoredTrial(9.0))
        assert search.ranked() == ()


def test_constraints_reach_optuna_and_the_ranking(tmp_path: Path) -> None:
    with opened(tmp_path, constraints=["p99"]) as search:
        search.enqueue({"vm.ahead": 1024})
        search.enqueue({"vm.ahead": 2048})
        told = iter([ScoredTrial(0.5, {"p99": 0.1}), ScoredTrial(0.2, {"p99": -0.1})])
        run(search, 2, lambda candidate: next(told))
        assert [entry.assignment["vm.ahead"] for entry in search.ranked()] == [2048]
        assert search._study.best_trial.value == 0.2
        with pytest.raises(ValueError, match="constraints"):
            search.tell(search.ask(), ScoredTrial(0.1))


def test_a_new_leader_is_measured_again_and_the_mean_is_kept_and_told(tmp_path: Path) -> None:
    with opened(tmp_path) as search:
        search.enqueue({"vm.ahead": 1024})
        told = iter([ScoredTrial(0.30), ScoredTrial(0.10)])
        first, second = run(search, 2, lambda candidate: next(told))
        assert second.origin is Origin.REMEASURE and second.measured_before == 1
        assert first.assignment == second.assignment
        [best] = search.ranked()
        assert (best.score, best.measured, best.first) == (pytest.approx(0.2), 2, first.number)
        assert [t.value for t in search._study.trials] == [0.30, pytest.approx(0.2)]
        assert search.ask().origin is Origin.SAMPLER


def test_a_point_that_the_sampler_repeats_counts_as_measured_again(tmp_path: Path) -> None:
    space = Space([number("k.a", 0, 1)])
    with opened(tmp_path, space) as search:
        run(search, 12, lambda candidate: ScoredTrial(float(candidate.number)))
        assert len(search.ranked()) <= 2
        assert sum(entry.measured for entry in search.ranked()) == 12


def test_a_revised_score_changes_the_ranking_and_survives_a_resume(tmp_path: Path) -> None:
    with opened(tmp_path) as search:
        search.enqueue({"vm.ahead": 1024})
        search.enqueue({"vm.ahead": 2048})
        a, b = run(search, 2, lambda candidate: ScoredTrial(-0.1))
        search.revise(b.number, 0.4)
        with pytest.raises(ValueError, match="no score"):
            search.revise(77, 0.1)
    with opened(tmp_path) as search:
        ahead = [(e.assignment["vm.ahead"], e.score) for e in search.ranked()]
        assert ahead == [(2048, 0.4), (1024, -0.1)]
        assert a.number != b.number


def test_resume_keeps_everything_told_and_fails_what_was_running(tmp_path: Path) -> None:
    with opened(tmp_path) as search:
        run(search, 9, simulated())
        rows = search.rows
        left = search.ask()
    with opened(tmp_path) as search:
        assert search.rows == rows
        states = {t.number: t.state.name for t in search._study.trials}
        assert states[left.number] == "FAIL" and "RUNNING" not in states.values()
        with pytest.raises(ValueError, match="not open"):
            search.tell(left, ScoredTrial(0.1))


def test_a_resumed_search_does_not_draw_its_first_points_again(tmp_path: Path) -> None:
    judge: Judge = lambda candidate: ScoredTrial(-0.1)  # noqa: E731
    with opened(tmp_path) as search:
        before = {key_of(c.assignment) for c in run(search, 5, judge)}
    with opened(tmp_path) as search:
        after = {key_of(c.assignment) for c in run(search, 5, judge)}
    assert not before & after


def test_the_same_seed_asks_the_same(tmp_path: Path) -> None:
    asked = []
    for name in ("a", "b"):
        with opened(tmp_path, journal=tmp_path / name) as search:
            asked.append([c.assignment for c in run(search, 15, simulated())])
    assert asked[0] == asked[1]


def test_a_study_of_other_limits_is_not_resumed(tmp_path: Path) -> None:
    opened(tmp_path).close()
    with pytest.raises(UsageError, match="other knobs or limits"):
        opened(tmp_path, example_space(DIMENSIONS[:2]))


def test_a_record_cut_short_costs_that_record_only(tmp_path: Path) -> None:
    with opened(tmp_path) as search:
        run(search, 4, simulated())
        rows = search.rows
    journal = tmp_path / "optuna.journal"
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code":4,"worker')
    with opened(tmp_path) as search:
        assert search.rows == rows
        run(search, 1, simulated())
    assert (tmp_path / "optuna.journal.damaged").read_bytes() == b'{"op_code":4,"worker'
    assert all(json.loads(line) for line in journal.read_text().splitlines())


def test_a_full_disk_is_told_and_leaves_a_whole_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path) as search:
        run(search, 2, simulated())
        write = __import__("os").write
        monkeypatch.setattr("os.write", lambda fd, data: write(fd, data[: len(data) // 2]))
        with pytest.raises(KtuneError, match="can't be written"):
            search.ask()
        monkeypatch.undo()
        rows = search.rows
    with opened(tmp_path) as search:
        assert search.rows == rows
        run(search, 1, simulated())
    assert not (tmp_path / "optuna.journal.damaged").exists()


def test_the_journal_is_private_and_two_runs_never_share_it(tmp_path: Path) -> None:
    with opened(tmp_path):
        assert (tmp_path / "optuna.journal").stat().st_mode & 0o777 == 0o600
        program = (
            "import sys; from pathlib import Path\n"
            "from ktune.search.storage import Journal; from ktune.search.samplers import *\n"
            "Journal(Path(sys.argv[1]), SamplerName.TPE)"
        )
        command = [sys.executable, "-c", program, str(tmp_path / "optuna.journal")]
        other = subprocess.run(command, capture_output=True, text=True)
        assert other.returncode != 0 and BusyError.__name__ in other.stderr
    assert subprocess.run(command, capture_output=True).returncode == 0


def test_cmaes_reads_no_journal_that_others_may_write(tmp_path: Path) -> None:
    journal = tmp_path / "optuna.journal"
    journal.touch()
    journal.chmod(0o666)
    with pytest.raises(KtuneError, match="others may write") as caught:
        opened(tmp_path, sampler=SamplerName.CMAES)
    assert caught.value.exit_code is ExitCode.UNTRUSTED


@pytest.mark.parametrize(
    ("url", "sampler", "code"),
    [
        ("redis://host/0", SamplerName.TPE, ExitCode.UNTRUSTED),
        ("journal+redis://host/0", SamplerName.TPE, ExitCode.UNTRUSTED),
        ("sqlite:///x.db", SamplerName.CMAES, ExitCode.UNTRUSTED),
        ("ftp://host/x", SamplerName.TPE, ExitCode.USAGE),
        ("/tmp/x.db", SamplerName.TPE, ExitCode.USAGE),
    ],
)
def test_an_untrusted_storage_is_refused(url: str, sampler: SamplerName, code: ExitCode) -> None:
    with pytest.raises(KtuneError) as caught:
        check_url(url, sampler)
    assert caught.value.exit_code is code


@pytest.mark.full
def test_a_database_works_as_storage(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/studies.db"
    with opened(tmp_path, storage_url=url) as search:
        run(search, 6, simulated())
        rows = search.rows
        search.ask()
    with opened(tmp_path, storage_url=url) as search:
        assert search.rows == rows
    assert not (tmp_path / "optuna.journal").exists()


def test_a_missing_driver_is_named(tmp_path: Path) -> None:
    with pytest.raises(KtuneError, match=r"driver is not installed \(MySQLdb\)"):
        opened(tmp_path, storage_url="mysql://me:secret@localhost:1/none")


def test_a_database_that_can_not_be_opened_keeps_its_password_to_itself(tmp_path: Path) -> None:
    with pytest.raises(KtuneError) as caught:
        opened(tmp_path, storage_url="postgresql://me:secret@localhost:1/none")
    assert "secret" not in str(caught.value)


def test_a_missing_module_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ktune.search.samplers.find_spec", lambda name: None)
    for name in (SamplerName.GP, SamplerName.CMAES, SamplerName.QMC):
        with pytest.raises(RefusedError, match=rf"pip install 'ktune\[{name.value}\]'"):
            make_sampler(name, 1)


def test_optuna_prints_nothing_and_speaks_to_our_log(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "ktune.optuna")
    with opened(tmp_path, sampler=SamplerName.QMC) as search:
        run(search, 3, simulated())
        logging.getLogger("optuna.study").warning("seen")
    printed = capfd.readouterr()
    assert (printed.out, printed.err) == ("", "")
    assert "ExperimentalWarning" in caplog.text and "seen" in caplog.text


def test_optuna_is_imported_by_a_search_only() -> None:
    program = (
        "import sys, ktune.search.opening, ktune.search.stopping, ktune.search.finalists\n"
        "import ktune.evidence.verdict\n"
        "heavy = {'optuna', 'numpy', 'scipy', 'sqlalchemy', 'torch'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr

"""A run that meets the end of its change window stops cleanly and goes on in the next one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from ktune.errors import ExitCode
from ktune.modes import tuning
from ktune.modes.opening import ChangeWindowClosed
from ktune.modes.run import RunOptions, resume_study, tune_profile
from ktune.modes.settings import Overrides
from ktune.profile.goals import Safety
from ktune.records.paths import StatePaths
from ktune.records.study import list_studies
from ktune.records.types import StudyStatus
from ktune.report.progress import Note, Progress

FIN = "net.ipv4.tcp_fin_timeout"
PROFILE = f"""
ktune: 1
kind: profile
name: nightly
scope: ephemeral
workload:
  command: [sh, -c, 'echo speed=$((900000 + $(od -An -N2 -tu2 /dev/urandom) / 4))']
  renews: [new_socket, new_process]
  metrics: {{speed: {{from: key_value, unit: 1/s, plausible: [0.001, 1000000]}}}}
knobs: {{sysctl: {{{FIN}: {{range: [10, 110]}}}}}}
baseline: {{{FIN}: 60}}
objectives: [{{metric: speed, direction: maximize}}]
search: {{trials: 6, stop_after: 6}}
"""
OPTIONS = RunOptions(overrides=Overrides(seed=3), search_only=True)


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    path = tmp_path / "nightly.yaml"
    path.write_text(PROFILE)
    return path


@pytest.fixture
def paths(tmp_path: Path) -> StatePaths:
    return StatePaths(tmp_path / "state", tmp_path / "run").ensure()


def closing_after(polls: int) -> Callable[[Safety], Callable[[], None]]:
    """Instead of the wall clock: the window closes at the so manieth look."""

    def until_closed(_: Safety) -> Callable[[], None]:
        left = polls

        def check() -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise ChangeWindowClosed("the change window has closed: the run ends here")

        return check

    return until_closed


def test_it_stops_interrupted_and_goes_on_with_resume(
    profile: Path, paths: StatePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Progress] = []
    monkeypatch.setattr(tuning, "until_closed", closing_after(8))
    with pytest.raises(ChangeWindowClosed) as caught:
        tune_profile(str(profile), OPTIONS, paths, told.append)
    assert caught.value.exit_code is ExitCode.REFUSED
    (study,) = list_studies(paths)
    assert study.status is StudyStatus.INTERRUPTED
    notes = [item.text for item in told if isinstance(item, Note)]
    assert any("every knob is restored" in text for text in notes)
    assert any(f"--resume {study.id}" in text for text in notes)
    before = len(study.windows().records)
    assert before

    monkeypatch.setattr(tuning, "until_closed", closing_after(10**9))
    result = resume_study(study.id, OPTIONS, paths, told.append)

    assert result.outcome == "unconfirmed"
    assert len(result.study.windows().records) > before


def test_outside_nothing_begins(profile: Path, paths: StatePaths) -> None:
    tomorrow = f"{datetime.now().astimezone() + timedelta(days=2):%a}"
    profile.write_text(PROFILE + f"safety: {{change_windows: ['{tomorrow} 02:00-03:00']}}\n")

    with pytest.raises(ChangeWindowClosed) as caught:
        tune_profile(str(profile), OPTIONS, paths, lambda _: None)

    assert f"the next one opens {tomorrow} " in caught.value.hint
    assert not list(list_studies(paths))

"""When the watch says that a boot stayed healthy."""

from __future__ import annotations

from pathlib import Path

import pytest

from ktune.kernel.namespaces import boot_id
from ktune.modes.events import WatchPhase
from ktune.modes.machine import Mode, State
from ktune.modes.watch.vouch import Vouch
from ktune.policy import persisted
from ktune.policy.persisted import BootRecord
from ktune.records.paths import StatePaths
from ktune.report.progress import Progress

OURS, OTHER = "sha256:" + "1" * 64, "sha256:" + "2" * 64
PROBATION = State(Mode.RECOMMENDATION, phase=WatchPhase.PROBATION)
STEADY = State(Mode.RECOMMENDATION, phase=WatchPhase.STEADY)


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def paths(tmp_path: Path) -> StatePaths:
    made = StatePaths(tmp_path / "state", tmp_path / "run")
    persisted.write_boot(made, BootRecord(boot_id(), "2026-11-21T10:00:00Z", (OURS,)))
    return made


def vouch(paths: StatePaths, clock: Clock, told: list[Progress], digest: str = OURS) -> Vouch:
    return Vouch(paths, digest, 900.0, told.append, clock_s=clock)


def healthy(paths: StatePaths) -> str:
    record = persisted.read_boot(paths)
    assert record is not None
    return record.why if record.healthy else ""


def test_after_the_probation_at_once(paths: StatePaths, clock: Clock) -> None:
    told: list[Progress] = []
    says = vouch(paths, clock, told)
    says(PROBATION)
    assert healthy(paths) == ""
    says(STEADY)
    assert healthy(paths) == "probation passed"
    says(STEADY)
    assert len(told) == 1


def test_after_a_while_without_an_emergency(paths: StatePaths, clock: Clock) -> None:
    says = vouch(paths, clock, [])
    clock.now_s += 899
    says(PROBATION)
    assert healthy(paths) == ""
    clock.now_s += 1
    says(State(Mode.RECOMMENDATION, phase=WatchPhase.PROBATION, paused=True))
    assert healthy(paths) == ""
    says(PROBATION)
    assert healthy(paths).startswith("watched for 15")


def test_a_policy_that_the_boot_was_not_begun_under_says_nothing_of_it(
    paths: StatePaths, clock: Clock
) -> None:
    vouch(paths, clock, [], OTHER)(STEADY)
    assert healthy(paths) == ""


def test_an_earlier_boot_stays_what_it_was(paths: StatePaths, clock: Clock) -> None:
    persisted.write_boot(paths, BootRecord("earlier", "2026-11-20T10:00:00Z", (OURS,)))
    vouch(paths, clock, [])(STEADY)
    assert healthy(paths) == ""


def test_a_record_that_cant_be_written_is_told_and_ends_nothing(
    paths: StatePaths, clock: Clock
) -> None:
    (paths.persisted / "boot.json").write_text("torn")
    told: list[Progress] = []
    vouch(paths, clock, told)(STEADY)
    assert "could not be recorded" in str(told)


def test_what_could_not_be_recorded_is_tried_again_and_said_once(
    paths: StatePaths, clock: Clock
) -> None:
    (paths.persisted / "boot.json").write_text("torn")
    told: list[Progress] = []
    says = vouch(paths, clock, told)
    says(STEADY)
    says(STEADY)
    assert len(told) == 1
    persisted.write_boot(paths, BootRecord(boot_id(), "2026-11-21T10:00:00Z", (OURS,)))
    says(STEADY)
    assert healthy(paths) == "probation passed"

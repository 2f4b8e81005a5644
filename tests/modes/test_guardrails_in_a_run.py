"""A real error of a file system ends the window of a candidate, restores, and the run goes on."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from ktune.errors import RefusedError
from ktune.evidence.pairs import Arm
from ktune.measure.window import Validity
from ktune.modes.prepare import prepare_plan
from ktune.modes.settings import guardrails_of
from ktune.modes.watch.run import watch_policy
from ktune.profile.load import parse_profile
from ktune.records.paths import StatePaths
from ktune.report.progress import Note, Progress
from tests.measure.guardrails.ext4 import ext4_on_loop
from tests.modes.rig import FIN, PROFILE, Simulated, Values, rig
from tests.modes.watching import QUICK, watching


def with_safety(safety: str) -> str:
    assert "safety: {max_trips: 3}" in PROFILE
    return PROFILE.replace("safety: {max_trips: 3}", f"safety: {safety}")


@pytest.mark.full
def test_a_real_error_of_a_file_system_ends_the_window(root: None, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    with ext4_on_loop(tmp_path / "disk") as name:
        trigger = Path(f"/sys/fs/ext4/{name}/trigger_fs_error")
        if not os.access(trigger, os.W_OK):
            pytest.skip("this kernel can't be asked for an error")
        text = with_safety(
            "{max_trips: 3, kernel_warnings: null, oom_kills: null, "
            f"device_errors: {{of: filesystem, devices: {name}}}}}"
        )
        errors = 0

        def error_of_the_fourth_candidate(values: Values, number: int) -> float:
            nonlocal errors
            if errors == 0 and number >= 4 and values[FIN] != 60:
                errors = 1
                trigger.write_text("a test of ktune")
            return 100.0

        with rig(tmp_path, text) as it, it.tuning(Simulated(error_of_the_fourth_candidate)) as run:
            run.run()
            windows = it.study.windows().records
    tripped = [item for item in windows if item.reason.startswith("guardrail: ")]
    assert [item.reason for item in tripped] == [f"guardrail: {name}: 1 new file system errors"]
    assert tripped[0].validity == Validity.CANDIDATE_FAILED.value
    assert any(item.seq > tripped[0].seq and item.arm is Arm.BASELINE for item in windows)


REFUSED = "{disk_health: {devices: no-such-disk}, max_trips: 3}"


def test_a_guardrail_that_can_not_be_watched_is_refused_before_anything_starts(
    tmp_path: Path,
) -> None:
    profile = parse_profile(with_safety(REFUSED).encode(), file="test.yaml")
    paths = StatePaths(tmp_path / "state", tmp_path / "run").ensure()
    with pytest.raises(RefusedError, match="can't be watched here: disk_health: ") as caught:
        prepare_plan(profile, paths, lambda told: None, coexist=True)
    assert caught.value.exit_code == 4
    assert "optional: true" in caught.value.hint


def test_an_optional_one_that_can_not_be_watched_is_said(tmp_path: Path) -> None:
    text = with_safety("{disk_health: {devices: no-such-disk, optional: true}, max_trips: 3}")
    profile = parse_profile(text.encode(), file="test.yaml")
    paths = StatePaths(tmp_path / "state", tmp_path / "run").ensure()
    told: list[Progress] = []
    prepare_plan(profile, paths, told.append, coexist=True)
    assert [
        item.text
        for item in told
        if isinstance(item, Note) and item.text.startswith("guardrail disk_health: can't be")
    ]


def test_what_nobody_declared_never_refuses() -> None:
    """OOM kills and kernel warnings are looked at by default, where that is possible."""
    profile = parse_profile(with_safety("{max_trips: 3}").encode(), file="test.yaml")
    found = guardrails_of(profile).survey()
    assert [(item.name, item.optional) for item in found] == [
        ("oom_kills", True),
        ("kernel_warnings log", True),
        ("kernel_warnings taint", True),
    ]


def test_watch_refuses_it_before_it_applies_the_policy(tmp_path: Path) -> None:
    other = tmp_path / "refused.yaml"
    other.write_text(with_safety(REFUSED))
    with watching(tmp_path) as world:
        before = world.live()
        options = replace(QUICK, netns=world.scope.ref.netns, profile=str(other))
        with pytest.raises(RefusedError, match="can't be watched here: disk_health: "):
            watch_policy(str(world.file), options, world.paths, world.told.append)
        assert world.live() == before
        assert not world.in_force

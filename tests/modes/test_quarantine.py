"""An emergency of a run lasts in its scope: real everything, but a guardrail that is crossed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ktune.errors import RefusedError
from ktune.measure.guardrails.watch import Guardrails, Wanted
from ktune.modes import calibrating, tuning
from ktune.modes.calibrating import calibrate_profile
from ktune.modes.modes import Emergency
from ktune.modes.run import RunOptions, tune_profile
from ktune.records import lockouts
from ktune.records.paths import StatePaths
from tests.proxy.conftest import net
from tests.proxy.rig import Net

from .rig import FIN, PROFILE
from .test_hooks import Crossed

__all__ = ["net"]

Run = Callable[[str, StatePaths], object]


def tune(profile: str, paths: StatePaths) -> object:
    return tune_profile(profile, RunOptions(coexist=True), paths, lambda _: None)


def calibrate(profile: str, paths: StatePaths) -> object:
    return calibrate_profile(profile, paths, lambda _: None, coexist=True)


@pytest.fixture
def paths(tmp_path: Path) -> StatePaths:
    return StatePaths(tmp_path / "state", tmp_path / "run").ensure()


@pytest.fixture
def crossed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for module in (tuning, calibrating):
        monkeypatch.setattr(module, "guardrails_of", lambda *_: Guardrails([Wanted(Crossed())]))
    yield


def profile_for(tmp_path: Path, scope: str) -> str:
    file = tmp_path / "crossed.yaml"
    text = PROFILE.replace("scope: ephemeral", f"scope: {scope}").replace("trips: 3", "trips: 1")
    text = "\n".join(line for line in text.splitlines() if not line.startswith("baseline")) + "\n"
    file.write_text(text.replace('["true"]', '["echo", "speed=1"]'))
    return str(file)


@pytest.mark.parametrize("run", [tune, calibrate])
def test_nothing_is_tuned_where_a_run_ended_in_an_emergency(
    run: Run, tmp_path: Path, net: Net, paths: StatePaths, crossed: None
) -> None:
    profile = profile_for(tmp_path, f"{{netns: {net.ref.netns}}}")
    before = net.read(FIN)
    with pytest.raises(Emergency, match="crossed on purpose") as raised:
        run(profile, paths)
    assert "recover --end-emergency" in raised.value.hint
    assert net.read(FIN) == before
    (left,) = lockouts.read_lockouts(paths)
    assert left.emergency and left.subject == f"{run.__name__} simulated"
    assert left.where == f"netns:{net.ref.netns}"
    assert not list((paths.runtime / "lockouts").iterdir())

    made = sorted(paths.state.rglob("*"))
    for again in (tune, calibrate):
        with pytest.raises(RefusedError, match="emergency in netns:"):
            again(profile, paths)
    assert sorted(paths.state.rglob("*")) == made, "refused before anything is made"

    assert lockouts.end_emergency(paths) == [left]
    with pytest.raises(Emergency):
        run(profile, paths)


def test_an_emergency_is_announced_before_the_restore(
    tmp_path: Path, net: Net, paths: StatePaths, crossed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who dies while it restores has announced it."""
    seen = []
    keep = lockouts.keep

    def kept(*words: object) -> None:
        seen.append(len(list((paths.runtime / "lockouts").iterdir())))
        keep(*words)  # type: ignore[arg-type]

    monkeypatch.setattr(lockouts, "keep", kept)
    with pytest.raises(Emergency):
        tune(profile_for(tmp_path, f"{{netns: {net.ref.netns}}}"), paths)
    assert seen == [1]


def test_a_namespace_of_the_runs_own_ends_with_its_emergency(
    tmp_path: Path, paths: StatePaths, crossed: None
) -> None:
    profile = profile_for(tmp_path, "ephemeral")
    with pytest.raises(Emergency) as raised:
        tune(profile, paths)
    assert "end-emergency" not in raised.value.hint
    assert not lockouts.read_lockouts(paths)


def test_the_quiet_time_is_the_profiles(
    tmp_path: Path, net: Net, paths: StatePaths, crossed: None
) -> None:
    profile = Path(profile_for(tmp_path, f"{{netns: {net.ref.netns}}}"))
    profile.write_text(profile.read_text() + "watch: {quiet: 0s}\n")
    with pytest.raises(Emergency):
        tune(str(profile), paths)
    assert not lockouts.read_lockouts(paths)
    left = lockouts.made(
        scope="host", boot_id="", digest="", subject="x", why="", for_s=0.0, place="host"
    )
    assert dataclasses.replace(left, place="").where == "host"

"""Tuning of a service that people use: levels watched within the window, short steps, a budget."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from ktune.catalog.catalog import load_catalog
from ktune.errors import ExitCode, RefusedError
from ktune.evidence.pairs import Arm
from ktune.measure.attach.source import AttachSource, Readings
from ktune.measure.guardrails.levels import LevelGuard, LevelLimit, with_levels
from ktune.measure.guardrails.watch import Guardrails
from ktune.measure.scope import EphemeralScope
from ktune.modes.bench import LEASE_S, LIVE_LEASE_S, Bench
from ktune.modes.opening import ChangeWindowClosed, refuse_outside, until_closed
from ktune.modes.settings import Overrides, guardrails_of, settings_of
from ktune.modes.source import window_source
from ktune.modes.stage import lease_tunable
from ktune.modes.tuning import Tuning
from ktune.profile.goals import Safety
from ktune.profile.host import host_facts
from ktune.profile.load import parse_profile
from ktune.profile.resolve import resolve
from ktune.proxy.client import LeaseLost, LeaseRequest, open_lease
from ktune.records.paths import StatePaths
from ktune.records.study import Study
from ktune.records.types import Phase, StudyManifest
from tests.modes.rig import FIN, PROBES, PROFILE, Rig, Simulated, rig
from tests.modes.test_tuning import in_scope

SERVICE = Path(__file__).parents[1] / "measure" / "attach" / "service.py"
BASELINE = {FIN: 60, PROBES: 9}


def live_profile(netns: str, pid: int, port: int, safety: str = "{}") -> str:
    page = f'url: "http://127.0.0.1:{port}/metrics"'
    return f"""
ktune: 1
kind: profile
name: live
scope: {{netns: {netns}}}
workload:
  attach: {{pid: {pid}}}
  measure: {{for: 60s, every: 200ms}}
  renews: [new_socket]
  metrics:
    work: {{from: prometheus, {page}, name: work_total, unit: 1/s, plausible: [1, 1000000]}}
    setting: {{from: prometheus, {page}, name: setting, plausible: [0, 1000]}}
knobs:
  sysctl:
    {FIN}: {{range: [10, 110]}}
    {PROBES}: {{range: [1, 20]}}
objectives: [{{metric: work, direction: maximize}}]
safety: {safety}
"""


@contextmanager
def live(tmp_path: Path, safety: str) -> Iterator[SimpleNamespace]:
    """A service in a namespace, a lease on two of its knobs, and a bench to measure it."""
    paths = StatePaths(tmp_path / "state", tmp_path / "run").ensure()
    with EphemeralScope() as scope:
        process = subprocess.Popen(
            ["nsenter", f"--net={scope.ref.netns}", sys.executable, str(SERVICE)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        try:
            port = int(process.stdout.readline())
            text = live_profile(scope.ref.netns, process.pid, port, safety)
            profile = parse_profile(text.encode(), file="live.yaml")
            plan = resolve(profile, load_catalog(), host_facts())
            study = Study.create(
                paths, StudyManifest(id="", profile_name="live", created_at="", seed=1)
            )
            with (
                open_lease(
                    [lease_tunable(knob) for knob in plan.knobs],
                    LeaseRequest(study.id, "test", "tester"),
                    paths=paths,
                    namespace=scope.ref,
                ) as lease,
                window_source(profile, scope.ref) as source,
            ):
                tuning = Tuning(
                    plan,
                    study,
                    settings_of(profile, Overrides(), drawn_seed=0),
                    lease=lease,
                    source=source,
                    observe=lambda _: None,
                )
                yield SimpleNamespace(
                    bench=tuning.bench, lease=lease, source=source, pid=process.pid, plan=plan
                )
        finally:
            process.kill()
            process.wait()


@pytest.mark.usefixtures("root")
def test_a_level_crossed_in_the_middle_of_a_window_restores_at_once(tmp_path: Path) -> None:
    with live(tmp_path, "{slo: [{metric: setting, at_most: 50, for: 300ms}]}") as stage:
        assert isinstance(stage.source, AttachSource)
        bench: Bench = stage.bench
        seen: list[object] = []
        check = bench.guardrails.crossed

        def crossed() -> str | None:
            if stage.source.latest.metrics and not seen:
                seen.append(stage.lease.read()[FIN])
                os.kill(stage.pid, signal.SIGUSR1)
            return check()

        bench.guardrails.crossed = crossed  # type: ignore[method-assign]
        measured = bench.measure({FIN: 30}, phase=Phase.LEARNING, arm=Arm.CANDIDATE, trial=1)

        assert seen == [30], "the candidate was in force when the level was crossed"
        assert measured.tripped
        assert "service level: setting = 99 is above 50" in measured.reason
        assert stage.lease.read()[FIN] == stage.plan.baseline[FIN]
        assert bench.study.windows().records[-1].duration_s < 30, "of a window of 60"


def test_a_level_must_be_broken_sample_after_sample_for_its_time() -> None:
    samples = [(0.0, 9.0), (1.0, 60.0), (2.0, 70.0), (3.0, 9.0), (4.0, 60.0), (6.0, 60.0)]
    latest = Readings()
    guard = LevelGuard([LevelLimit("p99", at_most=50, lasting_s=2.0)], lambda: latest)
    found = []
    for at_s, value in samples:
        latest = Readings(at_s, {"p99": value})
        found.append(guard.crossed(0.0))
        latest = Readings(at_s + 0.5, {})  # a sample without the metric crosses nothing
        assert guard.crossed(0.0) is None

    assert found[:4] == [None] * 4
    assert found[5] is None, "missing in between: it begins anew"


def test_the_same_sample_looked_at_again_does_not_count_twice() -> None:
    latest = Readings(5.0, {"rate": 3.0})
    guard = LevelGuard([LevelLimit("rate", at_least=10, lasting_s=1.0)], lambda: latest)

    assert [guard.crossed(0.0) for _ in range(5)] == [None] * 5
    latest = Readings(6.0, {"rate": 4.0})
    assert guard.crossed(0.0) == "service level: rate = 4 is below 10"


def test_a_candidate_of_a_live_service_is_in_force_during_its_window_only(tmp_path: Path) -> None:
    with rig(tmp_path) as here, here.tuning(Simulated(lambda values, n: 1.0)) as tuning:
        tuning.bench.live = True
        source = tuning.bench.source
        assert isinstance(source, Simulated) and source.lease is not None
        deadlines = []
        source.before = lambda _: deadlines.append(tuning.bench._deadline_s)

        tuning.bench.measure({FIN: 30}, phase=Phase.LEARNING, arm=Arm.CANDIDATE)

        assert source.seen[-1][FIN] == 30
        assert source.lease.read()[FIN] == 60
        tuning.bench.measure({}, phase=Phase.LEARNING, arm=Arm.BASELINE)
        assert deadlines == [LIVE_LEASE_S, LEASE_S]


@pytest.mark.full
def test_a_candidate_of_a_hung_tuner_is_gone_within_seconds(tmp_path: Path) -> None:
    seen = []
    with rig(tmp_path) as here, here.tuning(Simulated(lambda values, n: 1.0)) as tuning:
        tuning.bench.live = True
        source = tuning.bench.source
        assert isinstance(source, Simulated)

        def hang(_: int) -> None:
            seen.append(in_scope(here, FIN))
            time.sleep(LIVE_LEASE_S + 2)
            seen.append(in_scope(here, FIN))

        source.before = hang
        with pytest.raises(LeaseLost):
            tuning.bench.measure({FIN: 30}, phase=Phase.LEARNING, arm=Arm.CANDIDATE)

    assert seen == ["30", "60"]


def test_an_attached_service_is_tuned_in_small_steps_unless_told_otherwise() -> None:
    text = live_profile("/proc/self/ns/net", 1, 80)
    for more, share in (
        ("", 0.2),
        ("search: {trust_region: 5%}", 0.05),
        ("search: {trust_region: 'off'}", 1.0),
    ):
        profile = parse_profile((text + more).encode(), file="live.yaml")
        assert settings_of(profile, Overrides(), drawn_seed=0).trust_share == share
    command = parse_profile(PROFILE.encode(), file="simulated.yaml")
    assert settings_of(command, Overrides(), drawn_seed=0).trust_share == 1.0


def _costly(here: Rig) -> str:
    with here.tuning(Simulated(lambda values, n: 1.0 if values[FIN] == 60 else 0.2)) as tuning:
        return tuning.run().stopped_because


def test_a_search_that_costs_more_than_its_budget_ends_with_the_number(tmp_path: Path) -> None:
    text = PROFILE.replace("trials: 12, stop_after: 12", "trials: 500, stop_after: 500, time: 2s")
    with rig(tmp_path, text.replace("safety: {", "safety: {regret: 1%, ")) as here:
        why = _costly(here)

    assert "of the baseline's work over the search (regret budget 1.0%)" in why


NOW = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
NIGHT = Safety.model_validate({"change_windows": ["Sat 02:00-05:00"], "time_zone": "UTC"})


def test_outside_its_change_windows_a_run_is_refused_and_told_when() -> None:
    refuse_outside(NIGHT, NOW)
    refuse_outside(Safety(), NOW)

    with pytest.raises(ChangeWindowClosed) as caught:
        refuse_outside(NIGHT, NOW + timedelta(hours=2))

    assert caught.value.exit_code is ExitCode.REFUSED
    assert "the next one opens Sat 2026-11-28 02:00 UTC" in caught.value.hint


def test_a_run_ends_when_the_window_closes() -> None:
    at_s = NOW.timestamp()
    check = until_closed(NIGHT, lambda: at_s)
    check()
    at_s += 7199
    check()
    at_s += 1
    with pytest.raises(ChangeWindowClosed, match="has closed"):
        check()


@pytest.mark.usefixtures("root")
def test_a_watch_sees_levels_between_its_windows_too(tmp_path: Path) -> None:
    with live(tmp_path, "{slo: [{metric: setting, at_most: 50}]}") as stage:
        profile = stage.plan.profile
        guardrails = with_levels(guardrails_of(profile), profile, stage.source, always=True)
        guardrails.start_window()
        assert [_asked(guardrails) for _ in range(2)] == [None, None]

        os.kill(stage.pid, signal.SIGUSR1)

        assert any("setting = 99" in (_asked(guardrails) or "") for _ in range(3))


@pytest.mark.usefixtures("root")
def test_levels_that_nobody_could_see_are_refused(tmp_path: Path) -> None:
    """As beside an adaptive policy, whose source wraps those of its leaves."""
    with live(tmp_path, "{slo: [{metric: setting, at_most: 50}]}") as stage:
        profile = stage.plan.profile
        wrapped = SimpleNamespace(run=stage.source.run)
        with pytest.raises(RefusedError, match="can't be watched"):
            with_levels(guardrails_of(profile), profile, wrapped)


def _asked(guardrails: Guardrails) -> str | None:
    time.sleep(0.3)
    return guardrails.crossed()

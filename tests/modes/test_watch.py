"""Recommendation mode with the real guardian, stack and namespace; only windows are simulated."""

from __future__ import annotations

import dataclasses
import json
import threading
from datetime import datetime, tzinfo
from pathlib import Path

import pytest

from ktune.errors import KtuneError, RefusedError
from ktune.evidence.coin import Order, toss
from ktune.measure.guardrails.watch import Guardrails
from ktune.modes.events import WatchPhase
from ktune.modes.watch.diary import evidence_lines
from ktune.modes.watch.guarding import begun
from ktune.modes.watch.holdback import PHASE
from ktune.modes.watch.holder import LeasedHolder
from ktune.modes.watch.run import holding, watch_policy
from ktune.modes.watch.subject import planned_knobs, spec_of
from ktune.policy import stack
from ktune.policy.apply import apply, plan_apply
from ktune.policy.load import load_policy
from ktune.policy.rollback import roll_back
from ktune.proxy.locks import scope_lock
from ktune.records import lockouts
from ktune.records.watches import write_watch

from .rig import FIN, PROFILE
from .watching import BASELINE, POLICY, QUICK, Values, Watching, watching


def innocent(values: Values, number: int) -> float:
    return 100.0


def guilty(values: Values, number: int) -> float:
    return 90.0 if values[FIN] == POLICY[FIN] else 100.0


@pytest.fixture
def world(tmp_path: Path):
    with watching(tmp_path, "{probation_pairs: 8}") as made:
        yield made


def test_a_policy_that_does_harm_is_rolled_back_and_locked_out(world: Watching) -> None:
    world.watch(world.source(guilty, noise=0.02))
    assert world.code == 8
    assert world.live() == BASELINE
    assert not world.in_force
    assert world.record.mode == "idle"
    assert "worse than at the baseline" in world.record.reason
    plan = plan_apply(load_policy(str(world.file)), netns=world.scope.ref.netns)
    with pytest.raises(RefusedError, match="was rolled back"):
        apply(plan, paths=world.paths)
    apply(plan, paths=world.paths, despite_lock_out=True)
    assert world.live() == POLICY


def test_what_the_tests_say_counts_as_people_do(world: Watching) -> None:
    subject = world.subject(dataclasses.replace(QUICK, netns=world.scope.ref.netns))
    spec = spec_of(subject, planned_knobs(subject.plan), stays=True)
    fresh = begun(WatchPhase.PROBATION)

    def said(pairs: int, **more: int) -> str:
        return evidence_lines(dataclasses.replace(fresh, counted=pairs, **more), spec)[0]

    planned = spec.guard.probation_pairs
    assert said(3) == f"probation: 3 of {planned} pairs"
    beyond = said(planned + 12)
    assert beyond.startswith(f"probation: {planned + 12} pairs ({planned} planned)")


def test_what_can_t_be_watched_is_refused_before_it_is_applied(
    world: Watching, tmp_path: Path
) -> None:
    profile = tmp_path / "mute.yaml"
    profile.write_text(PROFILE.partition("objectives:")[0])
    options = dataclasses.replace(QUICK, profile=str(profile), netns=world.scope.ref.netns)
    with pytest.raises(RefusedError, match="measures nothing"):
        watch_policy(str(world.file), options, world.paths, world.told.append)
    assert not world.in_force
    assert world.live() == BASELINE


@pytest.mark.full
def test_who_takes_a_settled_policy_back_by_hand_ends_its_probation_with_it(
    world: Watching,
) -> None:
    settled = dataclasses.replace(QUICK, until_settled=True)
    world.watch(world.source(innocent), settled)
    assert world.record.settled
    roll_back(stack.readable(world.paths)[0], paths=world.paths, why="by hand")
    assert not world.record.settled
    assert (world.record.mode, world.record.reason) == ("idle", "by hand")
    world.watch(source := world.source(innocent), settled)
    assert source.windows == 2 * 8, "a whole probation again"


def test_an_innocent_policy_passes_its_probation_and_stays(world: Watching) -> None:
    world.watch(world.source(innocent, noise=0.02), dataclasses.replace(QUICK, until_settled=True))
    assert world.code == 0
    assert world.live() == POLICY
    assert world.in_force
    assert (world.record.mode, world.record.phase) == ("recommendation", "steady")
    assert world.record.pairs == 8


@pytest.mark.full
def test_a_load_that_hits_both_alike_is_not_the_policys_fault(world: Watching) -> None:
    """Half the speed from the tenth window on, for both arms."""
    world.watch(world.source(lambda values, n: 50.0 if n >= 10 else 100.0, noise=0.02, at_most=32))
    assert world.code is None
    assert world.live() == POLICY


def test_a_regression_of_the_steady_state_is_found_by_the_detector(tmp_path: Path) -> None:
    with watching(tmp_path, "{probation_pairs: 2, false_rollback_every_pairs: 20}") as world:
        world.watch(world.source(lambda v, n: innocent(v, n) if n < 8 else guilty(v, n)))
        assert world.code == 8
        assert "detector" in world.record.reason
        assert world.live() == BASELINE


def test_the_windows_run_in_the_order_of_the_coin(world: Watching) -> None:
    seen: list[object] = []
    source = world.source(innocent, before=lambda n: seen.append(world.live()[FIN]), at_most=16)
    watcher = world.watch(source)
    lines = (world.paths.watches / world.record.id / "pairs.jsonl").read_text().splitlines()
    for number, line in enumerate(lines):
        found = json.loads(line)
        assert found["order"] == toss(watcher.spec.seed, PHASE, found["draw"]).value
        first = BASELINE if found["order"] == Order.BASELINE_FIRST.value else POLICY
        second = POLICY if first is BASELINE else BASELINE
        assert seen[2 * number : 2 * number + 2] == [first[FIN], second[FIN]]
    assert len(lines) >= 7


@pytest.mark.full
def test_after_every_pair_the_policy_is_in_force_and_nobody_is_accused(world: Watching) -> None:
    world.watch(world.source(innocent, at_most=16))
    assert world.record.pairs >= 7
    assert world.record.alerts == ()
    assert world.live() == POLICY


def test_missing_data_alerts_and_never_rolls_back(world: Watching) -> None:
    world.watch(world.source(lambda values, n: 0.0, at_most=12))
    assert world.code is None
    assert world.live() == POLICY
    assert world.record.pairs == 0
    assert "no usable metrics" in world.record.alerts[0].text


@pytest.mark.full
def test_missing_data_rolls_back_when_that_is_asked_for(world: Watching) -> None:
    options = dataclasses.replace(QUICK, on_missing="rollback")
    world.watch(world.source(lambda values, n: 0.0, at_most=30), options)
    assert world.code == 8
    assert world.live() == BASELINE


@pytest.mark.full
def test_metrics_that_stand_still_are_missing_data(world: Watching) -> None:
    world.watch(world.source(innocent, noise=0.0, at_most=14))
    assert any("again and again" in item.text for item in world.record.alerts)
    assert world.live() == POLICY


def test_a_crossed_guardrail_is_an_emergency_at_once(world: Watching) -> None:
    class Crossed(Guardrails):
        looks = 0

        def crossed(self) -> str | None:
            self.looks += 1
            return "memory pressure" if self.looks > 4 else None

    world.guardrails = Crossed([])
    world.watch(world.source(innocent))
    assert world.code == 8
    assert world.live() == BASELINE
    assert world.record.mode == "emergency"
    plan = plan_apply(load_policy(str(world.file)), netns=world.scope.ref.netns)
    with pytest.raises(RefusedError, match="emergency"):
        apply(plan, paths=world.paths)
    assert lockouts.end_emergency(world.paths)
    with pytest.raises(RefusedError, match="was rolled back"):
        apply(plan, paths=world.paths)


def test_drift_is_put_back_and_told(world: Watching) -> None:
    def somebody(number: int) -> None:
        if number == 3:
            write(world, 77)

    world.watch(world.source(innocent, before=somebody, at_most=12))
    assert world.live() == POLICY
    assert any("changed by somebody else" in item.text for item in world.record.alerts)


@pytest.mark.full
def test_drift_is_kept_where_the_policy_says_so(tmp_path: Path) -> None:
    with watching(tmp_path, "{drift: keep, probation_pairs: 8}") as world:

        def somebody(number: int) -> None:
            if number == 3:
                write(world, 77)

        world.watch(world.source(innocent, before=somebody, at_most=16))
        assert world.live()[FIN] == 77


@pytest.mark.full
def test_another_command_gets_the_scope_and_the_watch_goes_on(world: Watching) -> None:
    cookie = world.scope.cookie
    seen: list[Values] = []

    def guest() -> None:
        with scope_lock(world.paths, netns_cookie=cookie, what="ktune tune guest"):
            seen.append(world.live())

    thread = threading.Thread(target=guest)

    def knock(number: int) -> None:
        if number == 4:
            thread.start()

    world.watch(world.source(innocent, before=knock, at_most=16))
    thread.join()
    assert seen == [POLICY]
    assert any("paused: ktune tune guest" in note for note in world.notes)
    assert any("goes on after" in note for note in world.notes)


def test_a_policy_rolled_back_by_hand_ends_the_watch(world: Watching) -> None:
    def undo() -> None:
        (entry,) = stack.readable(world.paths)
        roll_back(entry, paths=world.paths)

    thread = threading.Thread(target=undo)

    def knock(number: int) -> None:
        if number == 4:
            thread.start()

    world.watch(world.source(innocent, before=knock, at_most=30))
    thread.join()
    assert world.code == 0
    assert world.live() == BASELINE
    assert "rolled back" in world.record.reason


def test_a_watch_that_was_ended_goes_on_where_it_was(world: Watching) -> None:
    world.watch(world.source(innocent, noise=0.02, at_most=6))
    pairs = world.record.pairs
    assert pairs >= 2
    draws = world.record.guarding["draws"]
    again = world.watch(
        world.source(innocent, noise=0.02), dataclasses.replace(QUICK, until_settled=True)
    )
    assert world.record.pairs == 8
    assert again.driver.guarding.draws >= draws


@pytest.mark.full
@pytest.mark.parametrize("another", [{"kernel": "5.10.0-old"}, {"boot_id": "earlier"}])
def test_under_another_kernel_or_boot_the_probation_begins_again(
    world: Watching, another: dict[str, str]
) -> None:
    settled = dataclasses.replace(QUICK, until_settled=True)
    world.watch(world.source(innocent, noise=0.02), settled)
    write_watch(world.paths, dataclasses.replace(world.record, **another))
    watcher = world.watch(world.source(innocent, noise=0.02, at_most=4))
    assert world.record.phase == "probation"
    assert watcher.driver.guarding.counted == 2
    assert watcher.driver.guarding.draws > 8


@pytest.mark.full
def test_relearning_begins_when_the_scope_is_free(world: Watching) -> None:
    world.watch(world.source(guilty, noise=0.02), dataclasses.replace(QUICK, relearn=True))
    assert world.relearned == 1
    assert world.record.mode == "learning"
    with scope_lock(world.paths, netns_cookie=world.scope.cookie, what="tune"):
        pass


def test_a_policy_in_force_is_watched_beyond_its_date_and_no_other(
    world: Watching, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.apply()

    class Later(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime(2300, 1, 1, tzinfo=tz)

    monkeypatch.setattr("ktune.policy.apply.datetime", Later)
    options = dataclasses.replace(QUICK, netns=world.scope.ref.netns)
    assert world.subject(options).entry is not None
    (entry,) = stack.readable(world.paths)
    roll_back(entry, paths=world.paths)
    with pytest.raises(RefusedError, match="valid until"):
        world.subject(options)


def test_under_a_lease_the_baseline_returns_with_the_watch(world: Watching) -> None:
    options = dataclasses.replace(QUICK, baseline_on_death=True)
    seen: list[object] = []
    source = world.source(innocent, at_most=9, before=lambda n: seen.append(world.live()[FIN]))
    world.watch(source, options)
    assert set(seen) == {BASELINE[FIN], POLICY[FIN]}
    assert world.live() == BASELINE
    assert not world.in_force


def test_a_committed_policy_cant_be_leased(world: Watching) -> None:
    world.apply()
    with pytest.raises(KtuneError, match="committed"):
        world.watch(world.source(innocent), dataclasses.replace(QUICK, baseline_on_death=True))


def write(world: Watching, value: int) -> None:
    """Somebody else writes the knob in the namespace."""
    from ktune.policy.scope import run_inside

    def there() -> bool:
        Path("/proc/sys/net/ipv4/tcp_fin_timeout").write_text(str(value))
        return True

    assert run_inside(world.scope.ref, there, otherwise=False)


def test_the_load_of_a_pair_is_that_of_both_windows_alike(tmp_path: Path) -> None:
    with watching(tmp_path, "{load: {metric: speed, factor: 1.3}}") as world:
        watcher = world.watch(world.source(innocent, at_most=4))
        spec = watcher.spec
        assert spec.load({"speed": 40.0}, {"speed": 90.0}) == pytest.approx(60)
        assert spec.load({"speed": 90.0}, {"speed": 40.0}) == pytest.approx(60)
        assert spec.load({}, {"speed": 40.0}) is None
        assert spec.load({"speed": 0.0}, {"speed": 40.0}) is None


def test_under_a_lease_what_somebody_else_wrote_is_kept_and_told_once(world: Watching) -> None:
    """A lease overwrites nobody, so the knob leaves the policy, whatever `drift` says."""

    def somebody(number: int) -> None:
        if number == 3:
            write(world, 77)

    options = dataclasses.replace(QUICK, baseline_on_death=True)
    watcher = world.watch(world.source(innocent, before=somebody, at_most=12), options)
    told = [item.text for item in world.record.alerts if "changed by somebody else" in item.text]
    assert len(told) == 1
    assert FIN not in watcher.spec.policy
    assert not any("in force again" in note for note in world.notes)
    assert world.live()[FIN] == 77


def test_a_lease_that_nobody_could_restore_is_not_called_rolled_back(world: Watching) -> None:
    options = dataclasses.replace(QUICK, netns=world.scope.ref.netns, baseline_on_death=True)
    with holding(world.subject(options), options, world.paths) as (holder, _):
        assert isinstance(holder, LeasedHolder)
        holder.apply_policy("watch")
        lease = holder._lease
        Path(lease.journal).unlink()
        lease._process.kill()
        with pytest.raises(KtuneError):
            holder.renew()
        with pytest.raises(KtuneError, match="nothing says that the baseline is back"):
            holder.roll_back("the lease is lost")

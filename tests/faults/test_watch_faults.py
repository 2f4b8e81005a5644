"""A watch that is killed, starved and misled, through the command line, with the real guardian.

docs/watch.md has the table of what must be in force after each.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults import resources
from tests.faults.commands import FIN, RATE, Bench
from tests.faults.tracer import HeldAtFork, HeldAtRename, HeldAtWrite
from tests.faults.watched import (
    GUILTY,
    IDLE,
    IN_BASELINE,
    IN_POLICY,
    INNOCENT,
    POLICY,
    QUICK,
    Watched,
)
from tests.proxy.rig import Net, wait_until


@pytest.fixture
def watched(net_bench: Bench, net: Net) -> Watched:
    return Watched(net_bench, net)


LEASED = ("--on-death", "baseline", *QUICK)


# --- death ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param(IN_BASELINE, id="in-the-baseline-window"),
        pytest.param(IN_POLICY, id="in-the-policy-window", marks=pytest.mark.full),
        pytest.param("", id="idle", marks=pytest.mark.full),
    ],
)
def test_a_committed_policy_outlives_its_watcher(watched: Watched, moment: str) -> None:
    running = watched.until_held(moment) if moment else watched.until_idle()
    assert watched.live == (watched.baseline if moment == IN_BASELINE else POLICY)
    running.kill()
    wait_until(lambda: watched.live == POLICY)
    assert not watched.guarded
    assert "unguarded" in watched.bench.run("status").out
    assert watched.bench.run("verify").code == 0


@pytest.mark.full
def test_at_whatever_moment_the_watcher_is_killed_the_policy_is_in_force_soon(
    watched: Watched,
) -> None:
    """Also between the windows of a pair, while a lease opens, while one ends."""
    assert watched.bench.run("apply", str(watched.file), "--yes").code == 0
    moments = random.Random(7)
    for _ in range(12):
        running = watched.start(*QUICK)
        time.sleep(moments.uniform(0.5, 2.5))
        assert running.alive, running.end().err
        running.kill()
        wait_until(lambda: watched.live == POLICY and not active(watched))
    assert watched.bench.run("verify").code == 0


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param(IN_POLICY, id="in-the-policy-window"),
        pytest.param(IN_BASELINE, id="in-the-baseline-window", marks=pytest.mark.full),
    ],
)
def test_under_a_lease_of_the_watchers_own_the_baseline_returns(
    watched: Watched, moment: str
) -> None:
    running = watched.until_held(moment, *LEASED)
    running.kill()
    wait_until(lambda: watched.live == watched.baseline)
    assert watched.status["policies"] == []


@pytest.mark.full
@pytest.mark.parametrize("command", ["recover", "rollback", "watch"])
def test_both_killed_in_the_baseline_window_the_next_command_restores(
    watched: Watched, command: str
) -> None:
    running = watched.until_held(IN_BASELINE)
    running.kill_with_guardian()
    assert watched.live == watched.baseline
    assert [item["condition"] for item in watched.status["journals"]] == ["pending"]
    watched.bench.hook(INNOCENT)
    if command == "watch":
        again = watched.until_idle()
        again.signal(signal.SIGTERM)
        assert again.end().code == 143
        assert watched.live == POLICY
    else:
        assert watched.bench.run(command).code == 0
        assert watched.live == (POLICY if command == "recover" else watched.baseline)
    assert watched.status["journals"] == []


@pytest.mark.full
def test_a_guardian_killed_in_a_holdback_is_an_emergency(watched: Watched) -> None:
    running = watched.until_held(IN_BASELINE)
    os.kill(running.guardian, signal.SIGKILL)
    assert running.end().code == 8
    assert watched.live == watched.baseline
    assert watched.record["mode"] == "emergency"
    assert watched.run(*QUICK).code == 4


@pytest.mark.parametrize(
    ("name", "code"),
    [
        (signal.SIGTERM, 143),
        pytest.param(signal.SIGINT, 130, marks=pytest.mark.full),
        pytest.param(signal.SIGHUP, 129, marks=pytest.mark.full),
    ],
)
def test_a_signal_ends_the_watch_and_leaves_the_policy(
    watched: Watched, name: signal.Signals, code: int
) -> None:
    running = watched.until_held(IN_BASELINE)
    running.signal(name)
    assert running.end().code == code
    assert watched.live == POLICY
    assert watched.record["reason"].startswith("unguarded")
    assert not watched.guarded


@pytest.mark.parametrize(
    "name", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.full)]
)
def test_a_signal_in_the_middle_of_a_fork_ends_the_watch(
    watched: Watched, name: signal.Signals
) -> None:
    """Each look into a namespace forks. Python runs hooks right after a fork, and what a handler of
    signals raises in a hook is lost."""
    running = watched.until_idle()
    with HeldAtFork(running.pid) as held:
        held.wait()
        running.signal(name)
    ended = running.end()
    assert ended.code == 128 + name
    assert "Exception ignored" not in ended.err
    assert watched.live == POLICY


@pytest.mark.full
def test_whenever_a_watch_is_ended_what_it_found_in_force_stays(watched: Watched) -> None:
    """Also between its start and its first look."""
    assert watched.bench.run("apply", str(watched.file), "--yes").code == 0
    for tenths in range(2, 20, 2):
        running = watched.start(*IDLE)
        time.sleep(tenths / 10)
        running.signal(signal.SIGTERM)
        assert running.end().code in (143, -15)  # -15: before ktune listens
        assert watched.live == POLICY
        assert len(watched.status["policies"]) == 1


@pytest.mark.full
def test_a_signal_under_a_lease_brings_the_baseline_back(watched: Watched) -> None:
    running = watched.until_held(IN_POLICY, *LEASED)
    running.signal(signal.SIGTERM)
    assert running.end().code == 143
    assert watched.live == watched.baseline
    assert watched.record["mode"] == "idle"


@pytest.mark.full
def test_a_watch_killed_again_and_again_goes_on_with_its_evidence(watched: Watched) -> None:
    watched.write_policy(probation_pairs=6)
    pairs = 0
    for _ in range(3):
        running = watched.start(*QUICK)
        wait_until(lambda: watched.pairs > pairs or not running.alive, 60)  # noqa: B023
        running.kill()
        wait_until(lambda: watched.live == POLICY)
        assert watched.record["mode"] == "recommendation"
        pairs = watched.pairs
    done = watched.run(*QUICK, "--until-settled")
    assert done.code == 0, done.err
    assert watched.record["phase"] == "steady"
    draws = [line["draw"] for line in lines(watched)]
    assert draws == sorted(set(draws)), "a toss counts twice"


@pytest.mark.full
@pytest.mark.parametrize("die", [signal.SIGKILL, signal.SIGTERM])
def test_death_while_rolling_back_leaves_nothing_half_done(
    watched: Watched, die: signal.Signals
) -> None:
    """The regression is found; death comes somewhere between the decision and its end."""
    watched.bench.hook(GUILTY)
    for _ in range(3):
        running = watched.start(*QUICK, "--despite-lock-out")
        wait_until(lambda: "Regressed" in told(watched) or not running.alive, 60)  # noqa: B023
        if running.alive:
            running.signal(die)
        code = running.end().code
        # A signal after the last step of the rollback still ends the command as one.
        assert code in ((-9, 8) if die is signal.SIGKILL else (143, 8))
        if code != -9:
            assert watched.live == watched.baseline
            assert watched.status["lockouts"]
        watched.bench.run("rollback", "--all")
        assert watched.live == watched.baseline
        assert watched.status["journals"] == []
        shutil.rmtree(watched.folder())


@pytest.mark.full
def test_killed_between_the_restore_and_its_records_the_policy_is_refused(
    watched: Watched,
) -> None:
    """The knobs are first: what is refused was announced before, in memory."""
    watched.bench.hook(GUILTY)
    running = watched.until_told("WatchStarted")
    with HeldAtWrite(running.pid, "/modes.jsonl") as held:
        held.wait()
        running.kill()
    assert watched.live == watched.baseline
    assert "Regressed" not in told(watched)
    (lockout,) = watched.status["lockouts"]
    assert "worse than at the baseline" in lockout["why"]
    assert lockout["place"] == f"netns:{watched.net.ref.netns}"
    again = watched.run(*QUICK)
    assert again.code == 4 and "was rolled back" in again.err


def test_killed_between_the_verdict_and_the_restore_the_next_watch_restores(
    watched: Watched,
) -> None:
    watched.bench.hook(GUILTY)
    running = watched.until_told("WatchStarted")
    with HeldAtRename(running.pid, "/lockouts/") as held:
        held.wait()
        running.kill()
    wait_until(lambda: watched.live == POLICY)
    done = watched.run(*QUICK)
    assert done.code == 8, done.err
    assert "a watch decided so and died" in done.err
    assert watched.live == watched.baseline
    assert watched.status["policies"] == []
    assert watched.run(*QUICK).code == 4


@pytest.mark.full
def test_killed_between_commit_and_archive_no_journal_is_left_behind(watched: Watched) -> None:
    """Somebody writes a knob; the watch puts the policy in force again, by a lease that it
    commits."""
    running = watched.until_idle()
    with HeldAtRename(running.pid, "/journal/archive/", after=False) as held:
        watched.net.write(RATE, "1234")
        held.wait()
        running.kill()
    assert watched.live == POLICY
    journals = watched.bench.state / "journal"
    assert len(list(journals.glob("*.journal"))) == 2
    assert watched.bench.run("recover").code == 0
    assert len(list(journals.glob("*.journal"))) == 1
    assert watched.live == POLICY
    assert watched.bench.run("rollback").code == 0
    assert watched.live == watched.baseline


@pytest.mark.full
def test_an_error_after_the_commit_says_that_the_policy_is_in_force(watched: Watched) -> None:
    (watched.bench.state / "watches").write_text("no folder")
    done = watched.run(*QUICK)
    assert done.code == 1
    assert "is in force, and nothing watches it; undo: " in done.err
    assert "rollback" in done.err
    assert watched.live == POLICY


@pytest.mark.full
def test_a_policy_that_is_not_in_force_is_shown_and_asked_about(watched: Watched) -> None:
    words = [word for word in watched.words(*IDLE) if word != "--yes"]
    done = watched.bench.run(*words)
    assert done.code == 2
    assert "no terminal to ask on" in done.err
    assert FIN in done.out and "->" in done.out
    assert watched.live == watched.baseline
    assert watched.bench.run("apply", str(watched.file), "--yes").code == 0
    running = watched.bench.start(*words)
    wait_until(lambda: watched.pairs >= 1 or not running.alive, 60)
    running.signal(signal.SIGTERM)
    assert running.end().code == 143


# --- what measures is gone ------------------------------------------------------------------------


@pytest.mark.full
def test_a_workload_whose_program_is_gone_alerts_and_rolls_nothing_back(watched: Watched) -> None:
    running = watched.until_idle(*QUICK)
    (watched.bench.folder / "workload.sh").unlink()
    wait_until(lambda: bool(watched.record["alerts"]) or not running.alive, 60)
    assert "no usable metrics" in watched.record["alerts"][0]["text"]
    wait_until(lambda: watched.live == POLICY)
    before = watched.pairs
    assert watched.bench.profile  # the program is back
    wait_until(lambda: watched.pairs > before or not running.alive, 60)
    running.signal(signal.SIGTERM)
    assert running.end().code == 143
    assert watched.live == POLICY


@pytest.mark.full
def test_a_program_that_can_never_run_is_no_emergency(watched: Watched) -> None:
    """The runner refuses it for good, where a failing one would only void the window."""
    tool = watched.bench.folder / "tool"
    tool.write_text("#!/bin/sh\necho ops_per_s=$$\n")
    tool.chmod(0o755)
    text = watched.bench.profile.read_text()
    profile = watched.bench.folder / "tool.yaml"
    profile.write_text(text.replace("- sh\n", f"- {tool}\n", 1))
    words = ("watch", str(watched.file), "--yes", "--profile", str(profile), *QUICK)
    running = watched.bench.start(*words)
    wait_until(lambda: watched.pairs >= 1 or not running.alive, 60)
    tool.unlink()
    wait_until(lambda: bool((watched.record or {}).get("alerts")) or not running.alive, 60)
    running.signal(signal.SIGTERM)
    assert running.end().code == 143
    assert watched.live == POLICY
    assert watched.record["mode"] == "recommendation"


@pytest.mark.full
def test_numbers_that_stand_still_are_told(watched: Watched) -> None:
    watched.bench.hook("value=5")
    running = watched.start(*QUICK)
    wait_until(lambda: bool((watched.record or {}).get("alerts")) or not running.alive, 60)
    assert "again and again" in watched.record["alerts"][0]["text"]
    running.signal(signal.SIGTERM)
    running.end()
    assert watched.live == POLICY


@pytest.mark.full
def test_a_workload_that_crashes_now_and_then_costs_pairs_only(watched: Watched) -> None:
    watched.write_policy(probation_pairs=4)
    watched.bench.hook(f"[ $((window % 3)) != 0 ] || exit 7; {INNOCENT}")
    done = watched.run(*QUICK, "--until-settled")
    assert done.code == 0, done.err
    assert any(line["void"] for line in lines(watched))
    assert watched.live == POLICY


SERVICE = "ktune-served"
ATTACHED = f"""
ktune: 1
kind: profile
name: attached
scope: SCOPE
workload:
  attach: {{process: {SERVICE}}}
  measure: {{for: 400ms, every: 100ms}}
  renews: [new_socket]
  metrics: {{written: {{from: proc, file: io, field: wchar, unit: B/s, plausible: [1, 1e9]}}}}
knobs: {{sysctl: {{{FIN}: {{range: [10, 200]}}, {RATE}: {{range: [1001, 1999]}}}}}}
objectives: [{{metric: written, direction: maximize}}]
"""


@contextmanager
def service(folder: Path, net: Net) -> Iterator[None]:
    """A process of that name in the namespace that writes a little, all the time."""
    program = folder / SERVICE
    if not program.exists():
        shutil.copy("/bin/sh", program)
    loop = "while :; do printf xxxxxxxx > /dev/null; sleep 0.01; done"
    entering = ("nsenter", f"--net={net.ref.netns}")
    process = subprocess.Popen([*entering, str(program), "-c", loop], start_new_session=True)
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.full
def test_a_service_that_restarts_costs_pairs_and_the_watch_finds_it_again(
    watched: Watched, tmp_path: Path
) -> None:
    profile = tmp_path / "attached.yaml"
    profile.write_text(ATTACHED.replace("SCOPE", f"{{netns: {watched.net.ref.netns}}}"))
    words = ("watch", str(watched.file), "--yes", "--profile", str(profile), *QUICK)
    with service(tmp_path, watched.net):
        running = watched.bench.start(*words)
        wait_until(lambda: watched.pairs >= 1 or not running.alive, 60)
        assert running.alive, running.end().err
    wait_until(lambda: bool(watched.record["alerts"]) or not running.alive, 60)
    assert running.alive, running.end().err
    assert watched.record["mode"] == "recommendation"
    with service(tmp_path, watched.net):
        before = watched.pairs
        wait_until(lambda: watched.pairs > before or not running.alive, 60)
        running.signal(signal.SIGTERM)
        assert running.end().code == 143
    assert watched.live == POLICY


# --- disk, namespace, others ----------------------------------------------------------------------


@pytest.mark.full
def test_a_full_state_directory_stops_the_pairs_and_not_the_watch(
    watched: Watched, tmp_path: Path
) -> None:
    with resources.tmpfs(tmp_path, "2m") as disk:
        watched.bench.state = disk / "state"
        watched.write_policy()
        running = watched.start(*QUICK)
        wait_until(lambda: watched.pairs >= 2 or not running.alive, 60)
        resources.fill(disk)
        before = watched.bench.folder / "windows"
        wait_until(lambda: stands_still(before) or not running.alive, 60)
        assert running.alive, running.end().err
        wait_until(lambda: watched.live == POLICY)
        (disk / "ballast").unlink()
        pairs = watched.pairs
        wait_until(lambda: watched.pairs > pairs or not running.alive, 60)
        running.signal(signal.SIGTERM)
        ended = running.end()
        assert ended.code == 143, ended.err
        assert "can't be written" in ended.err
        assert watched.live == POLICY
        assert watched.status["journals"] == []


@pytest.mark.full
def test_a_regression_is_rolled_back_although_the_disk_is_full(
    watched: Watched, tmp_path: Path
) -> None:
    """Found with the last pair that found room."""
    with resources.tmpfs(tmp_path, "2m") as disk:
        watched.bench.state = disk / "state"
        watched.write_policy()
        ballast = f"cat /dev/zero > {disk}/ballast 2>/dev/null"
        watched.bench.hook(f'{GUILTY}; [ "$window" -lt 8 ] || {ballast}')
        ended = watched.run("--on-missing", "rollback", *QUICK)
        assert ended.code == 8, ended.err
        assert "can't be written" in ended.err or "could not be recorded" in ended.err
        assert watched.live == watched.baseline
        (disk / "ballast").unlink()
        watched.bench.run("rollback", "--all")
        assert watched.live == watched.baseline
        assert watched.status["policies"] == []


@pytest.mark.full
def test_without_a_free_process_the_watch_waits_for_better_times(watched: Watched) -> None:
    with resources.v1_cgroup("pids") as cgroup:
        if cgroup is None:
            pytest.skip("no cgroup v1 pids controller")
        running = watched.bench.start(*watched.words(*QUICK), joins=[cgroup])
        wait_until(lambda: watched.pairs >= 1 or not running.alive, 60)
        resources.limit(cgroup, "pids.max", 1)
        wait_until(lambda: bool(watched.record["alerts"]) or not running.alive, 60)
        assert running.alive, running.end().err
        assert watched.record["mode"] == "recommendation"
        resources.limit(cgroup, "pids.max", "max")
        pairs = watched.pairs
        wait_until(lambda: watched.pairs > pairs or not running.alive, 60)
        running.signal(signal.SIGTERM)
        assert running.end().code == 143
        assert watched.live == POLICY


def test_a_namespace_that_ends_ends_the_watch(watched: Watched, net: Net) -> None:
    running = watched.until_idle()
    net.close()
    ended = running.end()
    assert ended.code == 0, ended.err
    assert watched.record["mode"] == "idle"
    assert "its scope has ended" in watched.record["reason"]
    assert watched.status["lockouts"] == []


@pytest.mark.full
def test_a_namespace_that_ends_in_a_pair_is_no_emergency(watched: Watched, net: Net) -> None:
    running = watched.until_idle(*QUICK)
    net.close()
    ended = running.end()
    assert ended.code == 0, ended.err
    assert watched.record["mode"] == "idle"
    assert watched.status["lockouts"] == []


@pytest.mark.full
def test_a_second_watch_is_refused_before_it_applies_anything(watched: Watched) -> None:
    running = watched.until_idle()
    assert watched.run(*IDLE).code == 6
    watched.write_policy(probation_pairs=7)  # another policy by its digest
    done = watched.run(*IDLE)
    assert done.code == 6, done.err
    assert len(watched.status["policies"]) == 1
    assert running.alive


@pytest.mark.full
def test_tune_gets_the_scope_and_the_watch_goes_on(watched: Watched) -> None:
    running = watched.until_idle(*QUICK)
    watched.bench.hook("")
    tuned = watched.bench.tune("--search-only")
    assert tuned.code in (0, 3), tuned.err
    assert {"PauseAsked", "PauseEnded"} <= set(told(watched))
    watched.bench.hook(INNOCENT)
    before = watched.pairs
    wait_until(lambda: watched.pairs > before or not running.alive, 60)
    running.signal(signal.SIGTERM)
    assert running.end().code == 143
    assert watched.live == POLICY


def test_a_tune_in_the_middle_of_a_baseline_window_plans_with_the_policy(watched: Watched) -> None:
    """What a pair has in force for a moment is not what is found at the start."""
    running = watched.until_held(IN_BASELINE)
    watched.bench.hook("")
    tuned = watched.bench.tune("--search-only")
    assert tuned.code in (0, 3), tuned.err
    wait_until(lambda: watched.live == POLICY)  # the watch may be in its next pair already
    assert not [item for item in watched.record["alerts"] if "somebody else" in str(item)]
    running.signal(signal.SIGTERM)
    assert running.end().code == 143


@pytest.mark.full
def test_a_policy_under_the_watchers_lease_is_not_left_alone_with_tune(watched: Watched) -> None:
    running = watched.until_held(IN_POLICY, *LEASED)
    done = watched.bench.run("apply", str(watched.file), "--yes")
    assert done.code == 6
    assert "lease of its own" in done.err
    running.kill()
    wait_until(lambda: watched.live == watched.baseline)


@pytest.mark.full
def test_pairs_leave_no_journals_behind(watched: Watched) -> None:
    running = watched.start(*QUICK)
    wait_until(lambda: watched.pairs >= 5 or not running.alive, 60)
    running.signal(signal.SIGTERM)
    running.end()
    journals = list((watched.bench.state / "journal").glob("*.journal"))
    assert len(journals) == 1, "only the policy's own"


@pytest.mark.full
def test_a_watcher_that_is_stopped_and_wakes_up_has_lost_a_pair_and_nothing_else(
    watched: Watched,
) -> None:
    """As after a suspend: the lease's deadline passed, its guardian put the policy back."""
    running = watched.until_held(IN_BASELINE)
    running.signal(signal.SIGSTOP)
    try:
        wait_until(lambda: watched.live == POLICY, 40)
    finally:
        watched.bench.hook(INNOCENT)
        running.signal(signal.SIGCONT)
    before = watched.pairs
    wait_until(lambda: watched.pairs > before or not running.alive, 60)
    assert "TimeJumped" in told(watched)
    running.signal(signal.SIGTERM)
    assert running.end().code == 143
    assert watched.live == POLICY
    assert watched.record["mode"] == "recommendation"


def lines(watched: Watched) -> list[dict]:
    return [json.loads(line) for line in (watched.folder() / "pairs.jsonl").open()]


def told(watched: Watched) -> list[str]:
    return watched.events_so_far()


def active(watched: Watched) -> bool:
    """Does a guardian still hold a journal, or has one been left behind?"""
    return bool(watched.status["journals"])


def stands_still(file: Path) -> bool:
    size = file.stat().st_size
    time.sleep(1.5)
    return file.stat().st_size == size

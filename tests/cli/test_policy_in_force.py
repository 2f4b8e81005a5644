"""A policy through the command line on the real kernel: freeze, apply, verify, roll back."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from ktune.policy import stack
from ktune.proxy.client import LeaseRequest, open_lease
from ktune.proxy.model import LeaseTunable
from tests.policy import support

from .support import HOME, Cli, Namespace

KEYS = tuple(support.NET_ASSIGNMENT)
AFTER = {
    key: " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    for key, value in support.NET_ASSIGNMENT.items()
}


@pytest.fixture
def policy(cli, paths, tmp_path):
    """A policy of this host for a namespace, frozen by the command."""
    study = support.study(paths)
    file = tmp_path / "policy.yaml"
    done = cli("freeze", study.id, "-o", file, "--valid-days", 36500)
    assert done.code == 0, done.err
    return file


def live(netns):
    return {key: netns.read(key) for key in KEYS}


def test_apply_verify_and_rollback_leave_everything_as_before(cli, netns, policy):
    before = live(netns)
    done = cli("apply", policy, "--netns", netns.path, "--yes")
    assert done.code == 0, done.err
    assert live(netns) == AFTER
    assert "undo:   ktune --state-dir=" in done.out
    assert cli("verify").code == 0
    status = cli("status").out
    assert "in force: quickstart@" in status
    assert "unguarded" in status
    done = cli("rollback")
    assert done.code == 0, done.err
    assert live(netns) == before
    assert "nothing in force" in cli("status").out
    assert cli("rollback").out == "no policy is in force\n"


@pytest.mark.full
def test_a_pair_under_way_is_no_drift(cli, netns, policy, paths):
    key, other = "net.ipv4.tcp_slow_start_after_idle", "net.ipv4.tcp_notsent_lowat"
    cli("apply", policy, "--netns", netns.path, "--yes")
    (entry,) = stack.readable(paths)
    knob = next(knob for knob in entry.knobs if knob.key == key)
    request = LeaseRequest(run_id="a-pair", why="a pair", who="test")
    tunables, namespace = [LeaseTunable(knob.tunable)], entry.scope.ref
    with open_lease(tunables, request, paths=paths, namespace=namespace) as lease:
        assert lease.apply({key: 1}, deadline_s=60, why="baseline").ok
        done = cli("verify")
        assert (done.code, "by a lease at work" in done.out) == (6, True), done.out
        netns.write(other, "4096")
        assert cli("verify").code == 5
        netns.write(other, AFTER[other])
    assert cli("verify").code == 0


def test_the_host_keeps_its_own_values(cli, netns, policy):
    files = {key: "/proc/sys/" + key.replace(".", "/") for key in KEYS}
    host = {key: Path(path).read_text() for key, path in files.items()}
    cli("apply", policy, "--netns", netns.path, "--yes")
    assert {key: Path(path).read_text() for key, path in files.items()} == host


def test_a_dry_run_shows_the_difference_and_changes_nothing(cli, netns, policy):
    before = live(netns)
    done = cli("apply", policy, "--netns", netns.path, "--dry-run")
    assert done.code == 0
    assert "4096 131072 33554432" in done.out
    assert "dry run: nothing was changed" in done.out
    assert live(netns) == before
    assert cli("status", "--json").json["policies"] == []


def test_json_of_a_dry_run_carries_before_and_after(cli, netns, policy):
    found = cli("apply", policy, "--netns", netns.path, "--dry-run", "--json").json
    knob = next(item for item in found["knobs"] if item["key"] == "net.ipv4.tcp_rmem")
    assert knob["after"] == [4096, 131072, 33554432]
    assert knob["before"][0] == 4096


def test_without_a_terminal_an_answer_is_never_assumed(cli, netns, policy):
    before = live(netns)
    done = cli("apply", policy, "--netns", netns.path)
    assert done.code == 2
    assert "--yes" in done.err
    assert live(netns) == before


def test_an_ephemeral_policy_is_refused_without_a_namespace(cli, policy):
    done = cli("apply", policy, "--yes")
    assert done.code == 4
    assert "--netns" in done.err


def test_persist_is_refused_until_it_exists(cli, policy):
    assert cli("apply", policy, "--persist").code == 4


def test_our_own_namespace_is_no_scope_of_its_own(cli, policy):
    assert cli("apply", policy, "--netns", "/proc/self/ns/net", "--yes").code == 4


def test_a_path_that_is_no_namespace_is_refused(cli, policy):
    assert cli("apply", policy, "--netns", "/etc/passwd", "--yes").code == 4


def test_a_tampered_policy_is_not_trusted(cli, netns, policy):
    before = live(netns)
    policy.write_text(policy.read_text().replace("33554432", "67108864"))
    done = cli("apply", policy, "--netns", netns.path, "--yes")
    assert done.code == 7
    assert live(netns) == before


def test_a_host_knob_is_refused_in_a_namespace(cli, netns, policy):
    knobs = {"vm.swappiness": 10}
    policy.write_text(support.edited(policy.read_text(), assignment=knobs, baseline=knobs))
    done = cli("apply", policy, "--netns", netns.path, "--yes")
    assert done.code == 4
    assert "belongs to the whole host" in done.err


def test_a_knob_that_the_kernel_refuses_puts_everything_back(cli, netns, policy):
    """The kernel knows no congestion control of that name; the catalog's list does."""
    before = live(netns)
    knobs = dict(AFTER) | {"net.ipv4.tcp_congestion_control": "vegas"}
    policy.write_text(support.edited(policy.read_text(), assignment=knobs))
    done = cli("apply", policy, "--netns", netns.path, "--yes")
    assert done.code in (1, 4), done.err
    assert live(netns) == before
    assert cli("status", "--json").json["policies"] == []


@pytest.mark.full
def test_the_same_policy_twice_is_refused(cli, netns, policy):
    cli("apply", policy, "--netns", netns.path, "--yes")
    done = cli("apply", policy, "--netns", netns.path, "--yes")
    assert done.code == 4
    assert "in force there already" in done.err


def test_drift_is_found_and_a_foreign_value_is_kept(cli, netns, policy):
    before = live(netns)
    cli("apply", policy, "--netns", netns.path, "--yes")
    netns.write("net.ipv4.tcp_notsent_lowat", "65536")
    done = cli("verify")
    assert done.code == 5
    assert "net.ipv4.tcp_notsent_lowat" in done.out
    assert "now 65536" in done.out
    done = cli("rollback")
    assert done.code == 5
    assert "kept  65536" in done.out
    assert live(netns) == before | {"net.ipv4.tcp_notsent_lowat": "65536"}
    assert cli("status", "--json").json["policies"] == []


def test_policies_stack_and_come_off_in_order(cli, netns, policy, tmp_path):
    before = live(netns)
    second = tmp_path / "second.yaml"
    knobs = {"net.ipv4.tcp_notsent_lowat": 16384}
    second.write_text(
        support.edited(policy.read_text(), name="second", assignment=knobs, baseline=knobs)
    )
    cli("apply", policy, "--netns", netns.path, "--yes")
    assert cli("apply", second, "--netns", netns.path, "--yes").code == 0
    assert netns.read("net.ipv4.tcp_notsent_lowat") == "16384"
    assert cli("verify").code == 0, "what the second decides is no drift of the first"
    assert cli("rollback").code == 0
    assert live(netns) == AFTER
    cli("apply", second, "--netns", netns.path, "--yes")
    done = cli("rollback", "--all", "--dry-run")
    assert "second serial" in done.out
    assert netns.read("net.ipv4.tcp_notsent_lowat") == "16384"
    assert cli("rollback", "--all").code == 0
    assert live(netns) == before


def test_a_policy_ends_with_its_namespace(cli, policy):
    netns = Namespace.make()
    cli("apply", policy, "--netns", netns.path, "--yes")
    netns.end()
    done = cli("verify")
    assert done.code == 5
    assert "its namespace has ended" in done.out
    done = cli("rollback")
    assert done.code == 0, done.err
    assert "nothing was written" in done.out


def test_the_history_says_who_what_why_and_how_to_undo(cli, netns, policy):
    cli("apply", policy, "--netns", netns.path, "--yes", "--why", "ticket \x1b[31m7")
    cli("rollback")
    applied, undone = cli("history", "--json").json
    assert (applied["what"], undone["what"]) == ("apply", "rollback")
    assert applied["undo"] == f"ktune --state-dir={cli.state} rollback"
    again = f"ktune --state-dir={cli.state} apply {policy} --netns {netns.path}"
    assert undone["undo"] == again
    change = next(item for item in applied["changes"] if item["key"] == "net.ipv4.tcp_rmem")
    assert change["after"] == [4096, 131072, 33554432]
    assert "ticket \\x1b[31m7" in cli("history").out


def test_an_unprivileged_user_applies_in_a_namespace_of_their_own(root, cli, policy, tmp_path):
    """`--netns` enters the user namespace beside it. Unprivileged here: uid 1000 of a user
    namespace, no capability anywhere (the interpreter may be readable for real root only)."""
    with user_namespace() as inside:
        holder = subprocess.Popen([*inside, "unshare", "-Urn", "sleep", "60"])
        try:
            netns = Namespace(holder)
            env = {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path / "run")}
            ktune = functools.partial(Cli(tmp_path / "state", prefix=inside), env=env)
            before = live(netns)
            done = ktune("apply", policy, "--netns", netns.path, "--yes")
            assert done.code == 0, done.err
            assert live(netns) == AFTER
            done = ktune("verify")
            assert done.code == 0, done.out
            done = ktune("rollback")
            assert done.code == 0, done.err
            assert live(netns) == before
        finally:
            holder.kill()
            holder.wait()


@contextlib.contextmanager
def user_namespace():
    """The command prefix that makes a program uid 1000 without any capability."""
    argv = ["unshare", "-U", "--map-user=1000", "--map-group=1000", "sleep", "60"]
    with subprocess.Popen(argv) as process:
        try:
            path = f"/proc/{process.pid}/ns/user"
            while os.readlink(path) == os.readlink("/proc/self/ns/user"):
                time.sleep(0.01)
            time.sleep(0.05)  # the maps are written right after
            yield ("nsenter", f"--user={path}", "--preserve-credentials")
        finally:
            process.kill()


DELAYS = pytest.mark.parametrize(
    "delays_s",
    [
        (0.2, 0.3),
        pytest.param((0.05, 0.1, 0.15, 0.25, 0.35, 0.4, 0.5), marks=pytest.mark.full),
    ],
    ids=["few", "many"],
)


@DELAYS
def test_a_kill_during_apply_leaves_the_kernel_as_before_or_a_policy_to_undo(
    cli, netns, policy, delays_s
):
    before = live(netns)
    for delay_s in delays_s:
        kill_after(delay_s, cli, "apply", policy, "--netns", netns.path, "--yes")
        recovered = cli("recover")
        assert recovered.code == 0, recovered.out + recovered.err
        policies = cli("status", "--json").json["policies"]
        if policies:
            assert [item["standing"] for item in policies] == ["in force"]
            assert live(netns) == AFTER
            assert cli("rollback").code == 0
        assert live(netns) == before


@DELAYS
def test_a_kill_during_rollback_is_finished_by_the_next(cli, netns, policy, delays_s):
    before = live(netns)
    for delay_s in delays_s:
        cli("apply", policy, "--netns", netns.path, "--yes")
        kill_after(delay_s, cli, "rollback")
        done = cli("rollback")
        while done.code == 6:  # the killed command's helper is still restoring
            time.sleep(0.1)
            done = cli("rollback")
        assert done.code == 0, done.out + done.err
        assert live(netns) == before
        assert cli("status", "--json").json["policies"] == []


def kill_after(delay_s, cli, *words):
    """Start a command and kill it with SIGKILL."""
    process = subprocess.Popen(
        cli.argv(*words),
        env=cli.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=HOME,
    )
    time.sleep(delay_s)
    process.send_signal(signal.SIGKILL)
    process.wait()


MEASURES = """
ktune: 1
kind: profile
name: measures
summary: How a policy is watched
scope: ephemeral
workload:
  command: [/bin/true]
  renews: [new_process, new_socket]
  metrics: {seconds: {from: duration, unit: s, plausible: [0.000001, 60]}}
knobs: {sysctl: {net.ipv4.tcp_notsent_lowat: {range: [16K, 16M], log: true}}}
objectives: [{metric: seconds, direction: minimize}]
"""


@pytest.mark.full
def test_a_dry_run_of_a_watch_names_what_a_policy_in_force_goes_back_to(
    cli, netns, policy, tmp_path
):
    profile = tmp_path / "profile.yaml"
    profile.write_text(MEASURES)
    key = "net.ipv4.tcp_notsent_lowat"
    before = netns.read(key)
    assert cli("apply", policy, "--netns", netns.path, "--yes").code == 0
    done = cli("watch", "--dry-run", "--profile", profile)
    cli("rollback")
    assert done.code == 0, done.err
    (line,) = [item for item in done.out.splitlines() if item.split()[0] == key]
    assert line.split() == [key, "131072", "back", "to", before]

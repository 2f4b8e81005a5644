"""One run per scope; what dead runs left behind; records that are damaged."""

from __future__ import annotations

import os
import signal

import pytest

from ktune.kernel.namespaces import NamespaceRef
from ktune.policy.scope import cookie_of
from ktune.proxy.locks import scope_lock
from ktune.records.lockouts import keep, made
from tests.policy import support


@pytest.fixture
def policy(paths, tmp_path):
    file = tmp_path / "policy.yaml"
    file.write_text(support.policy_text(paths))
    return file


def test_apply_and_rollback_wait_for_nobody_who_holds_the_namespace(cli, paths, netns, policy):
    cli("apply", policy, "--netns", netns.path, "--yes")
    cookie = cookie_of(NamespaceRef(netns.path))
    with scope_lock(paths, netns_cookie=cookie, what="tune of a test"):
        done = cli("rollback")
        assert done.code == 6
        assert "tune of a test" in done.err
    assert cli("rollback").code == 0


def test_an_apply_is_busy_while_a_run_holds_the_namespace(cli, paths, netns, policy):
    before = netns.read("net.ipv4.tcp_rmem")
    with scope_lock(paths, netns_cookie=cookie_of(NamespaceRef(netns.path)), what="tune"):
        assert cli("apply", policy, "--netns", netns.path, "--yes").code == 6
    assert netns.read("net.ipv4.tcp_rmem") == before


def test_nothing_to_recover(cli):
    done = cli("recover")
    assert (done.code, done.out) == (0, "nothing is pending\n")
    assert cli("recover", "--json").json == []


def test_a_lost_journal_names_the_values_to_write_by_hand(cli, netns, policy):
    cli("apply", policy, "--netns", netns.path, "--yes")
    entry = cli("status", "--json").json["policies"][0]
    os.unlink(entry["journal"])
    done = cli("rollback")
    assert done.code == 1
    assert "/proc/sys/net/ipv4/tcp_rmem <- " in done.err
    assert len(cli("status", "--json").json["policies"]) == 1


def test_a_damaged_entry_is_shown_and_stops_the_rollback(cli, netns, policy):
    cli("apply", policy, "--netns", netns.path, "--yes")
    file = next((cli.state / "policies").glob("*.json"))
    whole = file.read_text()
    file.write_text("{")
    assert "UNREADABLE" in cli("status").out
    assert cli("verify").code == 1
    assert cli("rollback").code == 1
    file.write_text(whole)
    assert cli("rollback").code == 0


def test_status_shows_the_rest_where_lock_outs_cant_be_read(cli, paths):
    paths.ensure()
    (paths.state / "lockouts.json").write_text("torn")
    done = cli("status")
    assert done.code == 0
    assert "UNREADABLE" in done.out and "lockouts.json" in done.out


def test_a_dead_lease_is_pending_in_status_and_restored_by_recover(cli, paths, netns):
    """Tuner and guardian die at once; the next `recover` puts the knob back."""
    from ktune.catalog.catalog import load_catalog
    from ktune.proxy.client import LeaseRequest, open_lease
    from ktune.proxy.model import LeaseTunable

    key = "net.ipv4.tcp_notsent_lowat"
    before = netns.read(key)
    pid = os.fork()
    if pid == 0:
        try:
            match = load_catalog().find(key)
            lease = open_lease(
                [LeaseTunable(match.to_tunable())],
                LeaseRequest("dying", "test", "test"),
                paths=paths.ensure(),
                namespace=NamespaceRef(netns.path),
            )
            lease.apply({key: 4096}, deadline_s=60)
            os.kill(lease.guardian_pid, signal.SIGKILL)
        finally:
            os._exit(0)  # never a second pytest
    os.waitpid(pid, 0)
    assert netns.read(key) == "4096"
    assert "PENDING" in cli("status").out
    assert ": pending: run dying" in cli("recover", "--dry-run").out
    assert netns.read(key) == "4096"
    done = cli("recover")
    assert done.code == 0, done.out
    assert netns.read(key) == before
    assert "PENDING" not in cli("status").out
    assert [entry["what"] for entry in cli("history", "--json").json] == ["recover"]


def test_a_dry_run_names_the_emergency_that_would_be_ended(cli, paths):
    paths.state.mkdir(mode=0o700, exist_ok=True)
    keep(
        paths,
        made(scope="host", boot_id="", digest="", subject="fast", why="it went slow", for_s=60),
    )
    done = cli("recover", "--end-emergency", "--dry-run")
    assert done.code == 0
    assert "emergency in host" in done.out and "would be ended: it went slow" in done.out
    status = cli("status").out
    assert "EMERGENCY: fast" in status and status.endswith("nothing in force\n")
    assert "ended: it went slow" in cli("recover", "--end-emergency").out
    assert "EMERGENCY" not in cli("status").out

"""The ephemeral scope: it ends with its run, or with its time when it was kept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from ktune.errors import ExitCode, KtuneError
from ktune.kernel.namespaces import NamespaceRef
from ktune.measure.scope import EphemeralScope, end_kept
from tests.measure.helpers import ROOT, all_gone, netns_of, running


def test_a_scope_is_a_network_namespace_of_its_own() -> None:
    with EphemeralScope() as scope:
        assert os.readlink(scope.ref.netns) != netns_of(os.getpid())
        assert scope.cookie > 0
        assert scope.alive()
        pid = scope.pid
    assert not running(pid)
    assert not scope.alive()


def test_two_scopes_differ_by_cookie() -> None:
    with EphemeralScope() as one, EphemeralScope() as other:
        assert one.cookie != other.cookie


def test_a_scope_with_a_user_namespace_names_it() -> None:
    with EphemeralScope(with_user_namespace=True) as scope:
        assert scope.ref.userns == f"/proc/{scope.pid}/ns/user"
        assert os.readlink(scope.ref.userns) != os.readlink("/proc/self/ns/user")


TUNER = """
import sys; sys.path.insert(0, sys.argv[1])
from ktune.measure.scope import EphemeralScope
with EphemeralScope() as scope:
    if sys.argv[2] == "keep":
        scope.keep(float(sys.argv[3]))
    print(scope.pid, scope.cookie, flush=True)
    sys.stdin.read()
"""


def tuner(*arguments: str) -> tuple[subprocess.Popen[bytes], int, int]:
    process = subprocess.Popen(
        [sys.executable, "-c", TUNER, str(ROOT), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    pid, cookie = process.stdout.readline().split()
    return process, int(pid), int(cookie)


def kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate()


def test_the_scope_ends_when_its_tuner_is_killed() -> None:
    process, pid, _ = tuner("plain")
    assert running(pid)
    kill(process)
    assert all_gone([pid])


def test_a_kept_scope_survives_its_tuner_until_it_is_told_to_end() -> None:
    process, pid, cookie = tuner("keep", "60")
    kill(process)
    time.sleep(0.3)
    assert running(pid)
    assert end_kept(pid, cookie)
    assert all_gone([pid])
    assert not end_kept(pid, cookie)


def test_a_kept_scope_ends_by_itself_when_its_time_is_up() -> None:
    process, pid, _ = tuner("keep", "0.5")
    kill(process)
    assert all_gone([pid])


def test_a_kept_scope_with_a_user_namespace_is_found_by_its_cookie() -> None:
    with EphemeralScope(with_user_namespace=True) as scope:
        kept = scope.keep(60)
    assert kept.ref == NamespaceRef(f"/proc/{kept.pid}/ns/net", f"/proc/{kept.pid}/ns/user")
    assert end_kept(kept.pid, kept.cookie)


def test_only_the_holder_of_that_very_scope_is_ended() -> None:
    with EphemeralScope() as scope:
        kept = scope.keep(60)
    assert not end_kept(kept.pid, kept.cookie + 1)
    assert running(kept.pid)
    assert not end_kept(os.getpid(), kept.cookie)
    assert end_kept(kept.pid, kept.cookie)


def test_interrupting_the_terminal_does_not_end_the_holder() -> None:
    with EphemeralScope() as scope:
        assert os.getsid(scope.pid) == scope.pid
        os.kill(scope.pid, signal.SIGHUP)
        time.sleep(0.1)
        assert scope.alive()


RESTRICTED = """
import sys; sys.path.insert(0, sys.argv[1])
open("/proc/sys/user/max_user_namespaces", "w").write("0")
from ktune.errors import RefusedError
from ktune.measure.scope import EphemeralScope
try:
    EphemeralScope(with_user_namespace=True).__enter__()
except RefusedError as error:
    print(int(error.exit_code), error)
"""


def test_restricted_user_namespaces_are_refused_with_the_remedy() -> None:
    # The limit is set inside a user namespace of the test's own, and counts only below it.
    done = subprocess.run(
        ["unshare", "-Ur", sys.executable, "-c", RESTRICTED, str(ROOT)],
        capture_output=True,
        text=True,
    )
    if "max_user_namespaces" in done.stderr:
        pytest.skip("user.max_user_namespaces can't be set in a user namespace here")
    assert done.stdout.startswith(str(int(ExitCode.REFUSED))), done.stderr
    assert "user.max_user_namespaces = 0" in done.stdout
    assert "sudo make tune" in done.stdout


def test_a_scope_that_is_not_open_says_so() -> None:
    with pytest.raises(KtuneError, match="not open"):
        _ = EphemeralScope().ref

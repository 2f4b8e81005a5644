"""Each kind of server for real: started, filled, reached, restarted, gone."""

from __future__ import annotations

import contextlib
import os
import pwd
import subprocess
from pathlib import Path

import pytest

from ktune.measure.cgroup import PREFIX, own_cgroup
from ktune.measure.scope import EphemeralScope
from ktune.measure.window import Validity
from ktune.profile.placement import online_cpus
from tests.measure.helpers import all_gone, netns_of, nothing
from tests.measure.services.conftest import PROGRAMS, Bed, need, servers

SETTINGS = {
    "postgresql": "kind: postgresql, scale: 1, cpus: [0]",
    "redis": "kind: redis, keys: 500, cpus: [0]",
    "nginx": "kind: nginx, files: 2, size: 1K, cpus: [0]",
    "memcached": "kind: memcached, keys: 500, cpus: [0]",
}
ASKED = {
    "postgresql": 'psql -XAt -c "select 1*count(*) from pgbench_accounts" | sed s/^/x=/',
    "redis": 'redis-cli -s "${services.srv.socket}" dbsize | sed "s/[^0-9]*//;s/^/x=/"',
    "nginx": 'curl -s --unix-socket "${services.srv.socket}" http://x/1.bin | wc -c | sed s/^/x=/',
    "memcached": 'python3 -c "import socket; s = socket.socket(socket.AF_UNIX); '
    's.connect(\\"${services.srv.socket}\\"); s.send(b\\"stats\\\\r\\\\n\\"); '
    't = s.recv(9999).decode(); print(\\"x=\\" + t.split(\\"curr_items \\")[1].split()[0])"',
}
HELD = {"postgresql": 100_000, "redis": 500, "nginx": 1024, "memcached": 500}


@pytest.mark.parametrize("kind", PROGRAMS)
def test_it_serves_what_it_was_filled_with_as_nobody_in_particular_and_is_gone_afterwards(
    kind: str, bed: Bed
) -> None:
    need(kind)
    profile = bed.profile(SETTINGS[kind], ASKED[kind])
    with bed.source(profile) as source:
        result = source.run(nothing)
        assert (result.validity, result.reason) == (Validity.VALID, "")
        assert result.metrics["x"] == HELD[kind]
        pids = servers(source)
        assert pids
        for pid in pids:
            with contextlib.suppress(ProcessLookupError, FileNotFoundError):  # a session's, done
                assert os.sched_getaffinity(pid) == {0}
                status = Path(f"/proc/{pid}/status").read_text()
                assert os.stat(f"/proc/{pid}").st_uid != 0
                assert "NoNewPrivs:\t1" in status
                assert "CapEff:\t0000000000000000" in status
        group = source.group()
    assert all_gone(pids)
    assert not list((bed.state / "services" / "run").glob("srv-????????"))
    assert bed.log() or kind in ("nginx", "memcached")
    assert group is None or not os.path.exists(group)
    assert not _groups_left()


def test_the_template_is_made_once_and_again_for_other_data(bed: Bed) -> None:
    need("redis")
    made = []
    for keys in (300, 300, 301):
        with bed.source(bed.profile(f"kind: redis, keys: {keys}", ASKED["redis"])) as source:
            assert source.run(nothing).metrics["x"] == keys
        found = (bed.state / "services" / "templates").glob("redis-*/template.json")
        made.append({path: path.stat().st_mtime_ns for path in found})
    assert made[0] == made[1]
    assert len(made[2]) == len(made[0]) + 1


@pytest.mark.parametrize("kind", [pytest.param("postgresql", marks=pytest.mark.full), "redis"])
def test_restart_keeps_the_data_and_restore_brings_the_template_back(kind: str, bed: Bed) -> None:
    need(kind)
    change = {
        "postgresql": 'psql -XAtq -c "delete from pgbench_accounts where aid <= 10"',
        "redis": "true",  # it keeps nothing: both begin from the template
    }[kind]
    left = {"postgresql": 99_990, "redis": 500}[kind]
    once = f'[ -e "{bed.state}/changed" ] || {change}; {ASKED[kind]}'
    for reset, second in (("restart", left), ("restore", HELD[kind])):
        profile = bed.profile(SETTINGS[kind], once, more=f"reset: [{{{reset}: srv}}]")
        with bed.source(profile) as source:
            first = source.run(nothing)
            before = servers(source)
            (bed.state / "changed").touch()
            again = source.run(nothing)
            after = servers(source)
        (bed.state / "changed").unlink()
        assert (first.reason, again.reason) == ("", "")
        assert (first.metrics["x"], again.metrics["x"]) == (left, second)
        assert not set(before) & set(after)


@pytest.mark.parametrize("when", ["everysec", pytest.param("always", marks=pytest.mark.full)])
def test_a_redis_with_an_append_only_file_keeps_what_it_was_told(when: str, bed: Bed) -> None:
    need("redis")
    tell = 'redis-cli -s "${services.srv.socket}"'
    policy = f"{tell} config get appendfsync | grep -q {when}"
    once = f"{policy} && {tell} set told it >/dev/null && {ASKED['redis']}"
    service = f"kind: redis, keys: 400, append_only: {when}"
    for reset, counted in (("restart", 401), ("restore", 401)):
        ask = once if reset == "restore" else f"{ASKED['redis']}; {tell} set told it >/dev/null"
        profile = bed.profile(service, ask, more=f"reset: [{{{reset}: srv}}]")
        with bed.source(profile) as source:
            first, again = source.run(nothing), source.run(nothing)
        assert (first.reason, again.reason) == ("", "")
        assert again.metrics["x"] == counted
        assert first.metrics["x"] == (400 if reset == "restart" else counted)


def test_an_nginx_in_front_of_another_serves_its_files(bed: Bed) -> None:
    need("nginx")
    files = "kind: nginx, files: 2, size: 1K, port: 18093}, {name: front, kind: nginx"
    front = f"{files}, upstream: srv, port: 18094"
    ask = "curl -sf ${services.front.url}/1.bin | wc -c | sed s/^/x=/"
    down = "curl -s -o /dev/null -w x=%{http_code} ${services.front.url}/9.bin"
    for command, said in ((ask, 1024), (down, 404)):
        with EphemeralScope() as scope, bed.source(bed.profile(front, command), scope.ref) as one:
            result = one.run(nothing)
            assert (result.reason, result.metrics.get("x")) == ("", said)
            assert len(servers(one)) == 4  # a master and a worker each


def test_the_data_belong_to_the_servers_user_and_nobody_may_look_into_the_state_folder(
    bed: Bed, root: None
) -> None:
    need("postgresql")
    with bed.source(bed.profile(SETTINGS["postgresql"])) as source:
        source.begin()
        nobody = pwd.getpwnam("nobody").pw_uid
        assert bed.folder("data").stat().st_uid == nobody
        assert bed.folder("data", "base").stat().st_uid == nobody
        assert bed.folder().stat().st_uid == 0
        assert bed.folder().stat().st_mode & 0o777 == 0o711
        assert (bed.state / "services").stat().st_mode & 0o777 == 0o711
        assert (bed.state / "services" / "templates").stat().st_mode & 0o777 == 0o700


def test_a_window_in_which_a_checkpoint_begins_is_void(bed: Bed) -> None:
    need("postgresql")
    once = f"[ -e {bed.state}/quiet ] || psql -X -q -U ktune -d postgres -c CHECKPOINT; echo x=1"
    more = "reset: [{checkpoint: srv}]"
    with bed.source(bed.profile(SETTINGS["postgresql"], once, more=more)) as source:
        result = source.run(nothing)
        assert result.validity is Validity.VOID
        assert result.reason.startswith("srv: a checkpoint began within the window")
        (bed.state / "quiet").touch()  # that of the reset is none of the window's
        assert [source.run(nothing).reason for _ in range(3)] == [""] * 3
    (bed.state / "quiet").unlink()


@pytest.mark.full
def test_checkpoints_anywhere_are_nobodys_fault(bed: Bed) -> None:
    need("postgresql")
    service = SETTINGS["postgresql"] + ", checkpoints: anywhere"
    disturb = "psql -X -q -U ktune -d postgres -c CHECKPOINT && echo x=1"
    with bed.source(bed.profile(service, disturb)) as source:
        assert source.run(nothing).reason == ""


def test_a_server_in_a_namespace_listens_there_and_nowhere_else(bed: Bed) -> None:
    need("redis")
    ask = 'redis-cli -p "${services.srv.port}" dbsize | sed "s/[^0-9]*//;s/^/x=/"'
    with EphemeralScope() as scope:
        profile = bed.profile("kind: redis, keys: 5, port: 16380", ask)
        with bed.source(profile, scope.ref) as source:
            result = source.run(nothing)
            assert (result.reason, result.metrics.get("x")) == ("", 5)
            (pid,) = servers(source)
            assert netns_of(pid) == os.readlink(scope.ref.netns)
            outside = subprocess.run(["redis-cli", "-p", "16380", "ping"], capture_output=True)
            assert outside.returncode != 0


def test_the_workload_runs_on_the_cpus_that_the_services_leave(bed: Bed) -> None:
    need("memcached")
    if len(online_cpus()) < 2:
        pytest.skip("this machine has one CPU")
    others = sorted(set(online_cpus()) - {0})
    told = "grep Cpus_allowed_list /proc/self/status | tr -d [:blank:] | sed s/-.*//"
    profile = bed.profile(
        SETTINGS["memcached"], told, more="cpus: others", metrics="Cpus_allowed_list: {}"
    )
    with bed.source(profile) as source:
        assert source.run(nothing).metrics["Cpus_allowed_list"] == others[0]


def _groups_left() -> list[str]:
    group = own_cgroup()
    if group is None:
        return []
    return [name for name in os.listdir(group) if name.startswith(f"{PREFIX}{os.getpid()}-")]

"""What goes wrong with a server, for real: killed, port taken, disk full, wrong program."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ktune.errors import BusyError, RefusedError
from ktune.measure.runner import CommandSource
from ktune.measure.scope import EphemeralScope
from ktune.measure.services.folder import check_socket
from ktune.measure.services.from_profile import services_of, survey
from ktune.measure.services.log import ServerLog
from ktune.measure.services.programs import NoPrograms, find_programs
from ktune.measure.services.service import ServiceError
from ktune.measure.window import Validity
from ktune.profile.services.places import place_of
from tests.measure.helpers import ROOT, all_gone, nothing
from tests.measure.services.conftest import Bed, need, servers
from tests.proxy.rig import wait_until

REDIS = "kind: redis"


def test_a_server_that_dies_fails_its_window_and_is_there_for_the_next(bed: Bed) -> None:
    need("redis")
    reached = bed.state / "open" / "reached"
    reached.parent.mkdir()
    reached.parent.chmod(0o777)
    waited = reached.with_name("waited")
    hang = (
        f'[ -e "{bed.state}/calm" ] || {{ : > "{reached}"; sleep 20; : > "{waited}"; }}; echo x=1'
    )
    with bed.source(bed.profile(REDIS, hang)) as source:
        source.begin()
        (pid,) = servers(source)

        def crash_within_the_window() -> None:
            if reached.exists():
                reached.unlink()
                os.kill(pid, signal.SIGSEGV)

        result = source.run(crash_within_the_window)
        assert result.validity is Validity.CANDIDATE_FAILED
        assert "srv (redis) was killed by SIGSEGV" in result.reason
        assert "its last words" in result.reason
        assert not waited.exists()  # the command was ended, not waited for
        (bed.state / "calm").touch()
        result = source.run(nothing)
        assert (result.validity, result.metrics) == (Validity.VALID, {"x": 1})
        assert servers(source) != [pid]
    (bed.state / "calm").unlink()


def test_a_killed_keeper_takes_its_server_along_and_both_come_back(bed: Bed) -> None:
    need("nginx")  # its workers outlive a master that is killed, unless somebody sees to it
    with bed.source(bed.profile("kind: nginx, files: 1, workers: 2", "echo x=1")) as source:
        source.begin()
        wait_until(lambda: len(servers(source)) == 3)
        before = servers(source)
        os.kill(_parent(before[0]), signal.SIGKILL)
        assert all_gone(before)
        # What the keeper looks at, the namespace's first process, ends a moment after the server.
        wait_until(lambda: source.run(nothing).valid and len(servers(source)) == 3)


def test_the_third_window_in_a_row_that_a_service_spoils_ends_the_run(bed: Bed) -> None:
    need("redis")
    die = 'redis-cli -s "${services.srv.socket}" shutdown nosave; sleep 20'
    with bed.source(bed.profile(REDIS, die)) as source:
        for _ in range(2):
            assert source.run(nothing).validity is Validity.CANDIDATE_FAILED
        with pytest.raises(ServiceError, match=r"3 windows in a row were spoilt by a service.*srv"):
            source.run(nothing)
        pids = servers(source)
    assert all_gone(pids)


@pytest.mark.parametrize(
    "kind",
    [
        "redis",
        pytest.param("postgresql", marks=pytest.mark.full),
        pytest.param("nginx", marks=pytest.mark.full),
        pytest.param("memcached", marks=pytest.mark.full),
    ],
)
def test_a_port_that_is_taken_is_named(kind: str, bed: Bed) -> None:
    need(kind)
    extra = {"postgresql": ", scale: 1", "nginx": ", files: 1"}.get(kind, "")
    with socket.socket() as taken, EphemeralScope() as elsewhere:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        profile = bed.profile(f"kind: {kind}, port: {port}{extra}", "echo x=1")
        with bed.source(profile) as source:
            with pytest.raises(ServiceError, match=f"port {port} of 127.0.0.1 is taken"):
                source.begin()
            assert servers(source) == []
        with bed.source(profile, elsewhere.ref) as source:  # there it is free
            assert source.run(nothing).reason == ""


def test_two_runs_of_a_profile_do_not_meet_in_its_folder(bed: Bed) -> None:
    need("redis")
    with bed.source(bed.profile(REDIS, "echo x=1")) as first:
        first.begin()
        with (
            bed.source(bed.profile(REDIS, "echo x=1")) as second,
            pytest.raises(BusyError, match=f"pid {os.getpid()}"),
        ):
            second.begin()
        assert first.run(nothing).reason == ""


@pytest.fixture
def small(root: None) -> Iterator[Bed]:
    """A state folder on a file system of 60 MB."""
    folder = Path(tempfile.mkdtemp(prefix="kt-"))
    mount = ["mount", "-t", "tmpfs", "-o", "size=60m,mode=711", "ktune-test", str(folder)]
    subprocess.run(mount, check=True)
    yield Bed(folder)
    subprocess.run(["umount", str(folder)], check=True)
    folder.rmdir()


def test_a_disk_too_small_for_the_data_is_named(small: Bed) -> None:
    need("postgresql")
    with bed_source(small, "kind: postgresql, scale: 5") as source:
        with pytest.raises(ServiceError, match="no space is left in"):
            source.begin()
        assert servers(source) == []
    assert not list((small.state / "services" / "run").glob("srv-????????"))


def test_a_disk_that_fills_up_within_a_window_ends_the_run(small: Bed) -> None:
    need("redis")
    fill = (
        f'head -c 100M /dev/zero > "{small.state}/junk/all" 2>/dev/null; '
        'redis-cli -s "${services.srv.socket}" save | grep -q OK && echo x=1'
    )
    (small.state / "junk").mkdir()
    (small.state / "junk").chmod(0o777)
    with bed_source(small, "kind: redis, keys: 100", fill) as source:
        source.begin()
        with pytest.raises(ServiceError, match="no space is left for the data of service srv"):
            source.run(nothing)
        pids = servers(source)
    assert all_gone(pids)


def bed_source(bed: Bed, service: str, command: str = "echo x=1") -> CommandSource:
    return bed.source(bed.profile(service, command))


def test_another_version_than_the_profiles_is_refused_with_what_is_here(bed: Bed) -> None:
    need("redis")
    profile = bed.profile('kind: redis, version: ">= 99"')
    with pytest.raises(RefusedError, match=r"srv: redis >= 99 is wanted, here is [0-9.]+ \(/"):
        services_of(profile, None)
    (found,) = survey(profile)
    assert not found.works
    assert "redis >= 99" in found.reason


@pytest.mark.parametrize(
    ("kind", "package"),
    [("redis", "redis-server"), ("nginx", "nginx-light"), ("memcached", "memcached")],
)
def test_a_missing_program_is_named_with_its_package(
    kind: str, package: str, tmp_path: Path
) -> None:
    with pytest.raises(NoPrograms, match=f"not found: apt install {package}"):
        find_programs(kind, folders=[str(tmp_path)])


def test_a_program_that_is_not_what_its_name_says_is_told(tmp_path: Path) -> None:
    fake = tmp_path / "redis-server"
    fake.write_text("#!/bin/sh\necho I am another one\n")
    fake.chmod(0o755)
    with pytest.raises(NoPrograms, match="tells no version: I am another one"):
        find_programs("redis", folders=[str(tmp_path)])


def test_a_server_never_runs_as_root(bed: Bed, root: None) -> None:
    need("redis")
    with pytest.raises(RefusedError, match="srv: a server never runs as root"):
        services_of(bed.profile("kind: redis, user: root"), None)


def test_a_state_folder_that_the_server_can_not_reach_is_named(bed: Bed, root: None) -> None:
    need("redis")
    closed = bed.state / "closed"
    closed.mkdir(mode=0o700)
    with (
        bed_source(Bed(closed / "state"), REDIS) as source,
        pytest.raises(RefusedError, match=r"user nobody.* can't get past /"),
    ):
        source.begin()


def test_a_path_too_long_for_a_socket_is_refused() -> None:
    with pytest.raises(RefusedError, match="too long for a Unix socket"):
        check_socket(place_of("/" + "x" * 90, "p", "srv"), "redis", None)


def test_a_log_stays_within_its_bounds_and_survives_a_full_disk(tmp_path: Path) -> None:
    path = tmp_path / "srv.log"
    log = ServerLog(str(path), most_bytes=1000)
    for number in range(100):
        log.write(b"%060d\n" % number)
    log.close()
    assert path.stat().st_size < 1200
    assert path.with_name("srv.log.1").stat().st_size < 1200
    assert log.tail.endswith(f"{99:060d}\n")
    full = ServerLog("/dev/full")
    full.write(b"still here")
    assert full.tail == "still here"


SESSION = """
import sys, time; sys.path.insert(0, sys.argv[1])
from pathlib import Path
from tests.measure.services.conftest import Bed
bed = Bed(Path(sys.argv[2]))
source = bed.source(bed.profile(sys.argv[3]))
source.begin()
print(source.group(), flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize(
    ("service", "also_the_keeper"),
    [
        pytest.param("kind: postgresql, scale: 1", False, marks=pytest.mark.full),
        ("kind: nginx, files: 1", True),
        pytest.param("kind: postgresql, scale: 1", True, marks=pytest.mark.full),
        pytest.param("kind: nginx, files: 1", False, marks=pytest.mark.full),
    ],
)
def test_a_tuner_that_is_killed_takes_its_servers_along(
    service: str, also_the_keeper: bool, bed: Bed
) -> None:
    need(service.split()[1].rstrip(","))
    words = [sys.executable, "-c", SESSION, str(ROOT), str(bed.state), service]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as tuner:
        assert tuner.stdout is not None
        group = tuner.stdout.readline().strip()
        pids = [
            int(line)
            for procs in Path(group).glob("service-*/**/cgroup.procs")
            for line in procs.read_text().split()
        ]
        assert len(pids) >= 3
        if also_the_keeper:
            os.kill(_keeper_of(pids, tuner.pid), signal.SIGKILL)
        tuner.kill()
    assert all_gone(pids)
    with bed.source(bed.profile(service, "echo x=1")) as source:  # what it left is no obstacle
        assert source.run(nothing).reason == ""


def _keeper_of(pids: list[int], tuner: int) -> int:
    (keeper,) = (pid for pid in pids if _parent(pid) == tuner)
    return keeper


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])

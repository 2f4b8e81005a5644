"""`ktune profile recommend` beside real servers; and what it opens while it looks."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.measure import servers

from .support import Cli

_OPENED = re.compile(r'(?:open|openat|openat2|creat)\((?:AT_FDCWD, |\d+, )?"([^"]*)", (.*)')


@contextmanager
def postgres() -> Iterator[Path]:
    """Debian's PostgreSQL with a data folder of its own."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not folders:
        pytest.skip("no postgres: apt-get install postgresql")
    with servers.folder() as home:
        data, user = home / "data", servers.unprivileged()
        subprocess.run(
            [folders[-1] / "initdb", "-D", data, "-A", "trust", "--no-sync"],
            check=True,
            capture_output=True,
            cwd="/",
            **user,
        )
        argv = [str(folders[-1] / "postgres"), "-D", str(data), "-k", str(home), "-h", ""]
        sock = home / ".s.PGSQL.5432"
        with servers.running(argv, sock, user):
            yield sock


def names(cli: Cli, *words: object) -> dict[str, dict]:
    done = cli("profile", "recommend", "--for", "100ms", "--json", *words)
    assert done.code == 0, done.err
    return {item["name"]: item for item in done.json["profiles"]}


def test_a_redis_on_a_port_is_found_and_named_for_people(cli: Cli) -> None:
    port = servers.free_port()
    with servers.redis(port):
        found = cli("profile", "recommend", "--for", "100ms", "--json").json
        shown = cli("profile", "recommend", "--for", "100ms").out
    assert port in found["seen"]["ports"]
    assert any(path.endswith("/redis.sock") for path in found["seen"]["sockets"])
    profiles = {item["name"]: item for item in found["profiles"]}
    scores = [item["score"] for item in found["profiles"]]
    assert scores == sorted(scores, reverse=True)
    reasons = profiles["redis-latency"]["reasons"]
    assert any(reason.startswith("redis-server runs (") for reason in reasons)
    assert "redis-latency: fits a Redis whose clients wait for each answer" in shown
    assert "  because redis-server runs" in shown
    assert shown.endswith("Nothing was changed.\n")


@pytest.mark.full
@pytest.mark.parametrize(
    ("server", "profile"),
    [
        (servers.nginx, "nginx-static"),
        (servers.memcached, "memcached-latency"),
        (postgres, "postgresql-read"),
    ],
)
def test_a_server_is_found(cli: Cli, server, profile: str) -> None:
    with server() as sock:
        found = names(cli)
        assert found[profile]["reasons"]
        if server is postgres:
            assert f"somebody listens on {sock}" in found[profile]["reasons"] or any(
                "PGSQL" in reason for reason in found[profile]["reasons"]
            )


@pytest.mark.full
def test_a_profile_of_ones_own_is_asked_too(cli: Cli, tmp_path: Path) -> None:
    """Nothing of it is in code: whatever declares that it fits is judged."""
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "sleepers.yaml").write_text(
        "ktune: 1\nkind: profile\nname: sleepers\nsummary: Sound sleep\n"
        "fits: {to: those who sleep, programs: [sound-sleeper]}\n"
    )
    (folder / "broken.yaml").write_text("ktune: 1\nkind: profile\nname: broken\nfits: 7\n")
    sleeper = shutil.copy("/bin/sleep", tmp_path / "sound-sleeper")
    assert "sleepers" not in names(cli, "--in", folder)
    with subprocess.Popen([sleeper, "60"]) as process:
        try:
            item = names(cli, "--in", folder)["sleepers"]
            done = cli("profile", "recommend", "--for", "100ms", "--in", folder)
        finally:
            process.kill()
    assert item["reasons"] == ["sound-sleeper runs (1 process)"]
    assert item["missing"] == ["a workload: it is for others to extend"]
    assert "broken can't be loaded" in done.err and "broken.yaml:4:" in done.err


def test_where_nothing_fits_the_base_profiles_are_named(cli: Cli, tmp_path: Path) -> None:
    """By the printing alone: on a machine where others test, something always runs."""
    from ktune.cli.recommend import _lines
    from ktune.measure.recommend.recommend import Recommended
    from ktune.measure.recommend.seen import Seen

    bases = cli("profile", "recommend", "--for", "100ms", "--json").json["bases"]
    assert {"server-base", "latency-base", "virtual-guest"} <= set(bases)
    text = "\n".join(_lines(Recommended(Seen(), (), bases, {})))
    assert text.startswith("No profile fits what runs here.")
    assert "server-base" in text and "ktune profile init" in text


def test_bad_words_are_usage_errors(cli: Cli, tmp_path: Path) -> None:
    for words in (["--for", "0s"], ["--for", "soon"], ["--in", tmp_path / "none"]):
        assert cli("profile", "recommend", *words).code == 2


def test_nothing_of_the_kernel_is_opened_for_writing(cli: Cli, tmp_path: Path) -> None:
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("no strace: apt-get install strace")
    log = tmp_path / "trace"
    traced = Cli(cli.state, prefix=(strace, "-f", "-qq", "-o", str(log), "-e", "trace=%file"))
    done = traced("profile", "recommend", "--for", "100ms", timeout_s=120)
    assert done.code == 0, done.err
    opened = [
        match.groups() for match in map(_OPENED.search, log.read_text().splitlines()) if match
    ]
    kernel = [(path, how) for path, how in opened if path.startswith(("/proc", "/sys"))]
    assert any(path.endswith("/net/tcp") for path, _ in kernel)
    assert not [item for item in kernel if re.search("O_WRONLY|O_RDWR|O_CREAT|O_TRUNC", item[1])]
    assert not (cli.state / "studies").exists()

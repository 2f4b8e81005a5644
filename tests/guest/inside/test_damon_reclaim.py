"""The shipped profile damon-reclaim on a kernel that has DAMON_RECLAIM."""

from __future__ import annotations

import subprocess
import sysconfig
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from ktune.records.paths import StatePaths
from ktune.records.study import Study, list_studies
from ktune.records.types import Phase
from tests.cli.support import HOME, Cli

KNOBS = Path("/sys/module/damon_reclaim/parameters")
pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(not KNOBS.exists(), reason="this kernel has no DAMON_RECLAIM"),
]
LIMIT_S = 600.0
PROFILE = """
ktune: 1
kind: profile
name: small-damon
extends: [damon-reclaim]
workload:
  command: [ktune-cold-memory, --file, "%s", --cold, "%d", --hot, 2M, --rounds, "%d"]
fairness: {others: off, memory: off, steal: off}
search: {sampler: random}
"""


def readings() -> Mapping[str, str]:
    """What ktune may have written: not what the kernel counts, nor the region that it fills in for
    itself when it is switched on without one."""
    return {
        path.name: path.read_text()
        for path in KNOBS.iterdir()
        if not path.name.startswith(("nr_", "bytes_", "monitor_region_"))
    }


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    """The cold file is one of the machine's own, whose cache (unlike a tmpfs) can be dropped."""
    library = Path(sysconfig.get_path("stdlib"))
    file = max((path for path in library.rglob("*.so")), key=lambda path: path.stat().st_size)
    path = tmp_path / "small.yaml"
    path.write_text(PROFILE % (file, file.stat().st_size, 100))
    return path


def start(cli: Cli, profile: Path) -> subprocess.Popen[str]:
    words = cli.argv("tune", str(profile), "--search-only", "--trials", "2", "--seed", "1")
    return subprocess.Popen(
        words,
        cwd=HOME,
        env=cli.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_it_is_switched_on_under_its_parameters_and_everything_is_undone(
    tmp_path: Path, profile: Path
) -> None:
    before = readings()
    cli = Cli(tmp_path / "state")
    running = start(cli, profile)
    pids = set()
    while running.poll() is None:
        pids.add((KNOBS / "kdamond_pid").read_text().strip())
        time.sleep(0.1)
    said = running.communicate()[0]
    assert running.returncode == 0, said
    assert any(int(pid) > 0 for pid in pids), "no candidate has switched it on"
    (study,) = list_studies(StatePaths(cli.state, cli.state))
    assert isinstance(study, Study)
    tried = [w for w in study.windows().records if w.phase is Phase.LEARNING]
    assert {w.assignment[str(KNOBS / "enabled")] for w in tried} >= {"N", "Y"}
    assert all(w.metrics["cold_mib"] > 0 for w in tried)
    assert readings() == before


def test_a_killed_run_leaves_it_off(tmp_path: Path, profile: Path) -> None:
    before = readings()
    running = start(Cli(tmp_path / "state"), profile)
    until_s = time.monotonic() + LIMIT_S
    while (KNOBS / "enabled").read_text() != "Y\n":
        assert running.poll() is None and time.monotonic() < until_s
        time.sleep(0.05)
    running.kill()
    running.communicate()
    while readings() != before:
        assert time.monotonic() < until_s, readings()
        time.sleep(0.1)

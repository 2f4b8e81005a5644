"""The shipped profile f2fs-gc on a real f2fs, which is gone again whatever ends the run."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ktune.measure.f2fs import loop
from ktune.measure.f2fs.needs import missing
from ktune.records.paths import StatePaths
from ktune.records.study import Study, list_studies
from ktune.records.types import Phase
from tests.cli.support import HOME, Cli

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(bool(missing()), reason=missing() or "all is there"),
]
KNOBS = Path("/sys/fs/f2fs/loop71")
DEVICE = Path("/sys/block/loop71/loop")
"""There while the device shows a file."""
EXPERT_MS = "500"
LIMIT_S = 600.0
PROFILE = """
ktune: 1
kind: profile
name: small-f2fs
extends: [f2fs-gc]
services: [{kind: f2fs, size: 128M, mode: lfs}]
workload:
  command: [ktune-overwrite, --folder, "${services.f2fs.data}", --fill, "0.2", --writes, "%d"]
fairness: {others: off, memory: off, steal: off}
search: {sampler: random}
"""


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path / "state")


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(PROFILE % 200)
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


def until(what: str, condition: Callable[[], bool], running: subprocess.Popen[str] | None) -> None:
    """Looked for seldom: the guest's processor is emulated, and the run needs it."""
    until_s = time.monotonic() + LIMIT_S
    while not condition():
        if (running and running.poll() is not None) or time.monotonic() > until_s:
            said = running.communicate()[0] if running and running.poll() is not None else ""
            raise AssertionError(f"{what}: {said}")
        time.sleep(0.1)


def gone() -> bool:
    return not KNOBS.exists() and not DEVICE.exists()


def candidate_in_force() -> bool:
    try:
        return (KNOBS / "gc_min_sleep_time").read_text().strip() == EXPERT_MS
    except OSError:
        return False


def keeper() -> int:
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
        except OSError:
            continue
        if b"ktune.measure.f2fs.keeper" in words:
            return int(entry.name)
    raise AssertionError("no keeper runs")


def test_a_search_on_an_f2fs_of_its_own_leaves_nothing(cli: Cli, profile: Path) -> None:
    planned = cli("plan", "f2fs-gc", timeout_s=LIMIT_S).out
    assert "f2fs: 256 MiB (mode=lfs) on /dev/loop71" in planned
    assert "refuses" not in planned
    running = start(cli, profile)
    said = running.communicate(timeout=LIMIT_S)[0]
    assert running.returncode == 0, said
    (study,) = list_studies(StatePaths(cli.state, cli.state))
    assert isinstance(study, Study)
    tried = [w for w in study.windows().records if w.phase is Phase.LEARNING]
    assert any(str(KNOBS / "gc_min_sleep_time") in w.assignment for w in tried)
    assert all(w.metrics["writes_per_s"] > 0 for w in tried)
    assert gone()
    assert not list((cli.state / "services" / "run").glob("f2fs-????????"))


@pytest.mark.parametrize("also_the_keeper", [False, True], ids=["tuner", "tuner and keeper"])
def test_a_killed_run_leaves_no_mount_no_device_and_nothing_to_recover(
    cli: Cli, profile: Path, also_the_keeper: bool
) -> None:
    running = start(cli, profile)
    until("a candidate is in force", candidate_in_force, running)
    if also_the_keeper:
        pid = keeper()
        os.kill(pid, signal.SIGSTOP)
        running.kill()
        os.kill(pid, signal.SIGKILL)
    else:
        running.kill()
    running.communicate()
    until("mount and device are gone", gone, None)
    assert "loop71" not in Path("/proc/mounts").read_text()
    recovered = cli("recover", timeout_s=LIMIT_S)
    assert recovered.code == 0, recovered.out + recovered.err
    again = start(cli, profile)
    said = again.communicate(timeout=LIMIT_S)[0]
    assert again.returncode == 0, said
    assert gone()


def test_a_device_that_is_taken_is_somebody_elses(cli: Cli, profile: Path, tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(bytes(1 << 20))
    with open(image, "rb+") as file:
        device = loop.attach(71, file.fileno())
    try:
        running = start(cli, profile)
        said = running.communicate(timeout=LIMIT_S)[0]
        assert running.returncode == 6, said
        assert "/dev/loop71 is in use" in said
        assert DEVICE.exists()
    finally:
        os.close(device)

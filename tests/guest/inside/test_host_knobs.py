"""Knobs that no test may touch on the machine that tests run on: here the whole kernel is ours."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.knobs import read_knob, write_knob
from tests.proxy.rig import Paths, lease

QUEUE = "/sys/block/nullb0/queue"


@pytest.fixture
def disk() -> Iterator[str]:
    """A block device whose driver is a module, with every scheduler of a stock kernel."""
    subprocess.run(["modprobe", "null_blk", "nr_devices=1"], check=True)
    subprocess.run(["modprobe", "-a", "bfq", "kyber-iosched"], check=True)
    yield QUEUE
    subprocess.run(["modprobe", "-r", "null_blk"], check=True)


def test_the_guest_is_what_its_runner_promised() -> None:
    words = Path("/proc/cmdline").read_text().split()
    assert "slub_debug=FZPU" in words
    assert os.uname().release == os.environ["KTUNE_GUEST"]
    ours = Path(os.environ["KTUNE_GUEST_MODULES"], "order").read_text().split()
    loaded = {line.split()[0] for line in Path("/proc/modules").read_text().splitlines()}
    assert set(ours) <= loaded


def test_a_scheduler_and_what_it_resets_come_back(disk: str, paths: Paths) -> None:
    write_knob(f"{disk}/scheduler", "mq-deadline")
    write_knob(f"{disk}/iosched/fifo_batch", "7")
    write_knob(f"{disk}/nr_requests", "33")
    with lease(paths, f"{disk}/scheduler", f"{disk}/read_ahead_kb") as held:
        wanted = {f"{disk}/scheduler": "bfq", f"{disk}/read_ahead_kb": 64}
        assert held.apply(wanted, deadline_s=60).ok
        assert read_knob(f"{disk}/scheduler") == "bfq"
    assert read_knob(f"{disk}/scheduler") == "mq-deadline"
    assert read_knob(f"{disk}/iosched/fifo_batch") == "7"
    assert read_knob(f"{disk}/nr_requests") == "33"

"""smartctl's answers, and programs in its place that hang or lie."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktune.measure.guardrails.health import DiskHealth, disks, health_of
from ktune.measure.guardrails.source import Unwatchable

NVME = json.dumps(
    {"device": {"type": "nvme"}, "smart_status": {"passed": True, "nvme": {"value": 0}}}
)
FAILED = json.dumps({"smart_status": {"passed": False}})
VIRTIO = json.dumps(  # smartctl 7.3 on a virtio disk
    {
        "smartctl": {
            "messages": [{"string": "/dev/vda: Unable to detect device type", "severity": "error"}],
            "exit_status": 1,
        }
    }
)
ASLEEP = json.dumps({"smartctl": {"messages": [{"string": "Device is in STANDBY mode, exit(2)"}]}})


def test_answers_are_read() -> None:
    assert health_of(NVME, 0).passed is True
    assert health_of(FAILED, 8).passed is False
    assert health_of(VIRTIO, 1).passed is None
    assert health_of(VIRTIO, 1).why == "/dev/vda: Unable to detect device type"
    assert health_of(ASLEEP, 2).asleep
    assert not health_of(VIRTIO, 1).asleep


@given(
    st.text(max_size=200)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=9),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["smart_status", "passed", "smartctl", "messages", "string"]),
                inner,
                max_size=3,
            )
        ),
        max_leaves=12,
    ).map(json.dumps)
)
def test_any_answer_is_an_answer(text: str) -> None:
    assert health_of(text, 0).passed in (True, False, None)


def test_deep_answers_are_no_answers() -> None:
    assert health_of("[" * 200_000, 0).passed is None


class Disk:
    """A machine with one disk, and a program in place of smartctl that prints a file."""

    def __init__(self, folder: Path, answer: str) -> None:
        (folder / "sys/block/sda/device").mkdir(parents=True)
        (folder / "sys/block/loop0").mkdir()
        self.answer = folder / "answer.json"
        self.answer.write_text(answer)
        self.program = folder / "smartctl"
        self.runs = folder / "runs"
        self.behave(f'echo "$@" >> {self.runs}; cat {self.answer}')
        self.guard = DiskHealth(
            60.0, program=str(self.program), sys=str(folder / "sys"), timeout_s=5.0
        )

    def behave(self, script: str) -> None:
        self.program.write_text(f"#!/bin/sh\n{script}\n")
        self.program.chmod(0o755)

    def ask(self, now_s: float) -> str | None:
        """Look until the answer is in; `now_s` does not pass meanwhile."""
        for _ in range(500):
            said = self.guard.crossed(now_s)
            if said or self.guard.idle:
                return said
            time.sleep(0.02)
        raise AssertionError("no answer")


def test_only_disks_with_hardware_are_asked(tmp_path: Path) -> None:
    Disk(tmp_path, NVME)
    assert disks(sys=str(tmp_path / "sys")) == ["sda"]
    assert disks(["nvme*"], sys=str(tmp_path / "sys")) == []


def test_a_disk_that_fails_later_crosses_once_and_only_after_the_interval(tmp_path: Path) -> None:
    disk = Disk(tmp_path, NVME)
    assert disk.guard.open() == ""
    assert disk.guard.crossed(100.0) is None
    disk.answer.write_text(FAILED)
    assert disk.guard.crossed(159.0) is None
    assert len(disk.runs.read_text().splitlines()) == 1  # the one of open()
    assert disk.ask(160.0) == "sda: health check failed"
    assert disk.ask(220.0) is None
    assert disk.runs.read_text().splitlines()[-1] == "--json=c -n standby -H /dev/sda"
    disk.guard.close()


def test_a_disk_that_fails_already_is_named_and_does_not_cross(tmp_path: Path) -> None:
    disk = Disk(tmp_path, FAILED)
    assert disk.guard.open() == "failing already: sda"
    assert disk.guard.crossed(0.0) is None
    assert disk.ask(60.0) is None
    disk.guard.close()


def test_a_disk_asleep_is_watched_and_left_asleep(tmp_path: Path) -> None:
    disk = Disk(tmp_path, ASLEEP)
    disk.guard.open()
    disk.guard.crossed(0.0)
    assert disk.ask(60.0) is None
    disk.guard.close()


def test_no_disk_that_answers_is_said(tmp_path: Path) -> None:
    disk = Disk(tmp_path, VIRTIO)
    with pytest.raises(Unwatchable, match="sda: /dev/vda: Unable to detect device type"):
        disk.guard.open()


def test_no_program_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ktune.measure.guardrails.health._WHERE", str(tmp_path))
    with pytest.raises(Unwatchable, match="smartctl is not installed"):
        DiskHealth(60.0).open()


def test_a_program_that_hangs_is_ended_and_nobody_waits_for_it(tmp_path: Path) -> None:
    disk = Disk(tmp_path, NVME)
    disk.guard.open()
    disk.guard.crossed(0.0)
    disk.behave("exec sleep 1000")
    assert disk.guard.crossed(60.0) is None  # starts it
    pid = disk.guard.running
    assert pid is not None
    assert disk.guard.crossed(64.9) is None
    assert disk.guard.running == pid
    assert disk.guard.crossed(65.0) is None
    assert disk.guard.running is None
    assert not Path(f"/proc/{pid}").exists()
    disk.guard.close()


def test_closing_ends_the_program(tmp_path: Path) -> None:
    disk = Disk(tmp_path, NVME)
    disk.guard.open()
    disk.guard.crossed(0.0)
    disk.behave("exec sleep 1000")
    disk.guard.crossed(60.0)
    pid = disk.guard.running
    disk.guard.close()
    assert pid is not None and not Path(f"/proc/{pid}").exists()

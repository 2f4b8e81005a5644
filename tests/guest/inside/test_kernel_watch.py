"""A real `ktune watch --proxy module` on a policy whose tree the kernel follows."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ktune.kernel.values import Value
from ktune.proxy.module import device as wire
from ktune.proxy.module import modes
from ktune.proxy.recover import pending
from ktune.records.paths import StatePaths
from tests.knobs import read_knob, write_knob
from tests.modes.contexts.world import frozen_in
from tests.proxy.rig import alive, wait_until

KNOB = "vm.swappiness"
FILE = "/proc/sys/vm/swappiness"
BASELINE, BUSY, IDLE = "60", "11", "22"
WINDOW = (
    f"before=$(<{FILE}); sleep 1; after=$(<{FILE}); "
    "echo speed=$((1000 + RANDOM % 9)); echo before=$before; echo after=$after"
)
PROFILE = f"""
ktune: 1
kind: profile
name: by-the-kernel
scope: host
workload:
  command: [bash, -c, '{WINDOW}']
  phases: {{busy: {{env: {{MODE: busy}}}}, idle: {{env: {{MODE: idle}}}}}}
  metrics:
    speed: {{from: key_value, unit: 1/s, plausible: [1, 1000000]}}
    before: {{from: key_value, unit: "1", plausible: [0, 1000]}}
    after: {{from: key_value, unit: "1", plausible: [0, 1000]}}
knobs: {{sysctl: {{{KNOB}: {{range: [1, 90]}}}}}}
objectives: [{{metric: speed, direction: maximize}}]
promotion: {{pairs: {{min: 5, max: 30, after: 10}}}}
"""
SWITCHING = "sample: 300ms, dwell: 600ms, looks: 2, hysteresis: 10%"
SLOW = ("--interval", "300ms", "--probation-every", "1h", "--holdback-every", "1h")
PAIRS = ("--interval", "300ms", "--probation-every", "0s", "--holdback-every", "0s")
ALONE_S = 40

pytestmark = pytest.mark.skipif(
    not os.path.exists(wire.DEVICE), reason="needs the ktune module (/dev/ktune)"
)


@dataclass
class World:
    """A policy file, and the commands about it."""

    paths: StatePaths

    def policy(self, *, alone_s: float = 0, feature: str = "packets") -> Path:
        contexts = f"contexts: {{{SWITCHING}, alone_for: {alone_s:g}s}}\n"
        values: dict[str, dict[str, Value]] = {
            name: {KNOB: int(text)}
            for name, text in (("baseline", BASELINE), ("busy", BUSY), ("idle", IDLE))
        }
        made = frozen_in(
            self.paths,
            text=PROFILE + contexts,
            scope="host",
            tree={"when": f"{feature} >= 200", "then": "busy", "else": "idle"},
            **values,
        )
        file = self.paths.state / "policy.yaml"
        file.write_text(made.text)
        return file

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "ktune", f"--state-dir={self.paths.state}", *words]

    def ktune(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(*words), capture_output=True, text=True, timeout=600)

    @contextmanager
    def watch(self, file: Path, *more: str) -> Iterator[subprocess.Popen[str]]:
        """Until the kernel has chosen `idle` by itself."""
        words = self.command("watch", str(file), "--yes", "--quiet", "--proxy", "module", *more)
        log = self.paths.state / "watch.log"
        with log.open("w") as out, subprocess.Popen(words, stdout=out, stderr=out) as process:
            try:
                wait_until(lambda: knob() == IDLE or process.poll() is not None, 120)
                assert process.poll() is None, log.read_text()
                yield process  # type: ignore[misc]
            finally:
                process.kill()

    @property
    def said(self) -> str:
        return (self.paths.state / "watch.log").read_text()

    @property
    def record(self) -> Any:
        (file,) = self.paths.watches.glob("*/watch.json")
        return json.loads(file.read_text())

    def pairs(self) -> list[Any]:
        lines = [
            line
            for file in self.paths.watches.glob("*/pairs.jsonl")
            for line in file.read_text().splitlines()
        ]
        return [json.loads(line) for line in lines]

    def guardian(self) -> int:
        """The process that holds the journal."""
        (name,) = (path.name for path in self.paths.journal.glob("*.journal"))
        return int(name.removesuffix(".journal").rpartition("-")[2])


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    write_knob(FILE, BASELINE)
    made = World(StatePaths.resolve(tmp_path / "state").ensure())
    yield made
    if modes.shown("mode") != "idle":
        write_knob(str(modes.SYSFS / "mode"), "idle")
    wait_until(lambda: modes.shown("sessions") == "0")
    write_knob(FILE, BASELINE)


def knob() -> str:
    return read_knob(FILE)


@contextmanager
def load(on_s: float = 3600.0, off_s: float = 0.0) -> Iterator[None]:
    """Packets on the loopback of the host's namespace, now and then."""
    over = threading.Event()

    def send() -> None:
        with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as out:
            while not over.is_set():
                until_s = time.monotonic() + on_s
                while time.monotonic() < until_s and not over.is_set():
                    for _ in range(40):
                        out.sendto(b"x", ("127.0.0.1", 9))
                    over.wait(0.02)
                over.wait(off_s)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def adapts_alone() -> None:
    """The kernel follows the load, and nobody else."""
    with load():
        wait_until(lambda: knob() == BUSY)
    wait_until(lambda: knob() == IDLE)


def over_and_back() -> None:
    wait_until(lambda: knob() == BASELINE)
    wait_until(lambda: modes.shown("sessions") == "0")


def test_the_kernel_decides_and_the_watch_says_so(world: World) -> None:
    with world.watch(world.policy(), *SLOW) as process:
        with load():
            wait_until(lambda: knob() == BUSY)
            wait_until(lambda: world.record["leaf"] == "busy")
            status = world.ktune("status").stdout
            assert "adapts: busy since" in status
            assert "decided by: kernel (now: busy)" in status
        wait_until(lambda: world.record["leaf"] == "idle")
        assert world.record["switches"] >= 2
        assert (modes.shown("mode"), modes.shown("tree/keeps")) == ("recommendation", "0")
        write_knob(FILE, "33")  # somebody else's stays, and no knob is left
        process.wait(120)
    assert knob() == "33"
    assert process.returncode == 0, world.said
    assert any("changed by somebody else" in item["text"] for item in world.record["alerts"])
    assert "decided by: kernel" in world.said
    wait_until(lambda: modes.shown("mode") == "idle")


def test_the_tree_rests_in_pairs_and_goes_on_after_them(world: World) -> None:
    with world.watch(world.policy(), *PAIRS) as process, load(2.5, 2.5):
        wait_until(lambda: sum(pair["void"] is None for pair in world.pairs()) >= 2, 240)
        assert world.record["switches"] > 0, "it goes on between them"
        process.send_signal(signal.SIGINT)
        process.wait(120)
    assert process.returncode == 130
    windows = [
        (arm, values) for pair in world.pairs() for arm, values in pair["metrics"].items() if values
    ]
    assert len(windows) >= 4
    for arm, values in windows:
        assert values["before"] == values["after"], "the kernel switched within a window"
        wanted = {int(BASELINE)} if arm == "baseline" else {int(BUSY), int(IDLE)}
        assert values["before"] in wanted
    over_and_back()
    assert modes.shown("mode") == "idle"


@pytest.mark.full
def test_killed_it_falls_back_to_the_baseline(world: World) -> None:
    with world.watch(world.policy(), *SLOW) as process:
        process.kill()
        process.wait()
        over_and_back()
        assert modes.shown("mode") == "idle"


@pytest.mark.full
def test_killed_it_goes_on_alone_if_that_was_asked_for_and_recover_ends_it(world: World) -> None:
    with world.watch(world.policy(alone_s=600), *SLOW) as process:
        process.kill()
        process.wait()
        adapts_alone()
        assert (modes.shown("mode"), modes.shown("unguarded")) == ("recommendation", "1")
        (journal,) = pending(world.paths)
        assert "the kernel goes on adapting" in journal.reason
        done = world.ktune("recover")
        assert done.returncode == 0, done.stdout + done.stderr
        assert knob() == BASELINE
        assert not pending(world.paths)
    over_and_back()


def test_killed_with_its_guardian_it_goes_on_alone_until_the_baseline_returns_by_itself(
    world: World,
) -> None:
    with world.watch(world.policy(alone_s=ALONE_S), *SLOW) as process:
        process.send_signal(signal.SIGSTOP)
        os.kill(world.guardian(), signal.SIGKILL)
        process.kill()
        process.wait()
        adapts_alone()
        wait_until(lambda: knob() == BASELINE, 2 * ALONE_S)
        wait_until(lambda: modes.shown("mode") == "idle")
    over_and_back()
    assert world.ktune("recover").returncode == 0


@pytest.mark.full
def test_a_watch_that_loses_its_guardian_ends_the_tree_in_an_emergency(world: World) -> None:
    with world.watch(world.policy(alone_s=600), *SLOW) as process:
        os.kill(world.guardian(), signal.SIGKILL)
        process.wait(120)
    assert process.returncode == 8, world.said
    over_and_back()
    world.ktune("recover", "--end-emergency")


@pytest.mark.full
def test_a_watch_that_hangs_leaves_the_tree_to_the_kernel_and_ends_it_when_it_wakes(
    world: World,
) -> None:
    with world.watch(world.policy(alone_s=600), *SLOW) as process:
        guardian = world.guardian()
        process.send_signal(signal.SIGSTOP)
        wait_until(lambda: not alive(guardian), 60)  # its deadline of 15 s has passed
        adapts_alone()
        process.send_signal(signal.SIGCONT)
        process.wait(120)
    assert process.returncode == 8, world.said
    over_and_back()
    world.ktune("recover", "--end-emergency")


@pytest.mark.full
def test_an_emergency_of_the_kernels_ends_the_watch_and_says_why(world: World) -> None:
    with world.watch(world.policy(), *SLOW) as process:
        write_knob(str(modes.SYSFS / "mode"), "emergency")
        process.wait(120)
    assert process.returncode == 8, world.said
    # of its tree, or of the module by its guardrail: whichever it looks at first
    assert "emergency: asked for in sysfs" in world.said
    over_and_back()
    assert modes.shown("mode") == "emergency"
    done = world.ktune("recover", "--end-emergency")
    assert "the kernel module's emergency ended" in done.stdout
    assert modes.shown("mode") == "idle"


@pytest.mark.full
def test_what_the_kernel_can_not_count_is_named_beforehand(world: World) -> None:
    shown = world.ktune("watch", str(world.policy(feature="cpu_pressure")), "--dry-run")
    assert "decided by: ktune watch (the kernel module can't count cpu_pressure)" in shown.stdout
    shown = world.ktune("watch", str(world.policy(alone_s=600)), "--dry-run")
    assert "decided by: kernel" in shown.stdout
    assert "goes on adapting for 10m" in shown.stdout

"""An adaptive policy under watch, with the real guardian in a namespace; the workload's looks and
windows are simulated."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ktune.catalog.catalog import load_catalog
from ktune.measure.scope import EphemeralScope
from ktune.measure.window import Poll, Validity, WindowResult
from ktune.modes.watch.adaptive import Adaptive, InContext, begun
from ktune.modes.watch.holder import LeasedHolder
from ktune.modes.watch.kernel_holder import KernelSays
from ktune.modes.watch.spec import WatchedKnob
from ktune.modes.watch.subject import Subject, spec_of
from ktune.policy.tree import Chosen, Question, Switching
from ktune.proxy.client import LeaseRequest, open_lease
from ktune.proxy.model import LeaseTunable
from tests.modes.contexts.world import BASELINE, BUSY, IDLE, frozen
from tests.modes.rig import FIN
from tests.modes.watching import QUICK, Values, Watching


@dataclass
class Workload:
    """`busy` or idle as `script` says, look by look; the last word stays."""

    script: str
    looks: int = 0
    at_most: int = 400
    seen: list[str] = field(default_factory=list)

    def look(self) -> dict[str, int]:
        if self.looks >= self.at_most:
            raise KeyboardInterrupt("enough looks")
        word = self.script[min(self.looks, len(self.script) - 1)]
        self.looks += 1
        self.seen.append(word)
        return {"packets": {"b": 5000, "i": 0, "~": 1050}[word]}

    def adapt(self, subject: Subject) -> Adaptive:
        made = begun(subject.plan.checked, self.look)
        return dataclasses.replace(made, sample_s=0.0, switching=Switching(0.0, 2, 0.1))


def world_of(tmp_path: Path, scope: EphemeralScope, *, idle_is_baseline: bool) -> Watching:
    made = frozen(tmp_path, idle_is_baseline=idle_is_baseline)
    file = tmp_path / "policy.yaml"
    file.write_text(made.text)
    return Watching(made.paths, scope, file)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Watching]:
    with EphemeralScope() as scope:
        yield world_of(tmp_path, scope, idle_is_baseline=False)


@pytest.fixture
def half_baseline(tmp_path: Path) -> Iterator[Watching]:
    with EphemeralScope() as scope:
        yield world_of(tmp_path, scope, idle_is_baseline=True)


def even(values: Values, number: int) -> float:
    return 100.0


def watched(world: Watching, script: str, **kinds: object) -> tuple[list[object], Workload]:
    """What was in force in the windows."""
    workload = Workload(script)
    world.adapt = workload.adapt
    seen: list[object] = []
    source = world.source(even, before=lambda n: seen.append(world.live()[FIN]), **kinds)
    world.watch(source)
    return seen, workload


def test_the_leaf_follows_the_workload_and_the_pairs_compare_it_with_the_baseline(
    world: Watching,
) -> None:
    seen, _ = watched(world, "bbbbbb" + "i" * 40, at_most=24)
    base = BASELINE[FIN]
    leaves = [value for value in seen if value != base]
    assert leaves[0] == BUSY[FIN]
    assert leaves[-1] == IDLE[FIN]
    assert set(leaves) == {BUSY[FIN], IDLE[FIN]}
    pairs = [set(seen[at : at + 2]) for at in range(0, len(seen) - 1, 2)]
    assert all(base in pair and len(pair) == 2 for pair in pairs), "a leaf and the baseline"
    assert any("switched to idle" in note for note in world.notes)
    assert (world.record.leaf, world.record.switches) == ("idle", 1)
    assert world.live() == BASELINE, "nothing is committed: it ends with the watch"


def test_one_look_is_not_enough_and_near_the_threshold_nothing_happens(world: Watching) -> None:
    _, workload = watched(world, "b" + "ib~" * 12, at_most=20)
    assert workload.looks > 12
    assert world.record.switches == 0
    assert world.record.leaf == "busy"


def test_no_pair_is_measured_while_the_leaf_is_the_baseline(half_baseline: Watching) -> None:
    workload = Workload("i" * 6 + "b" * 30)
    half_baseline.adapt = workload.adapt
    seen: list[object] = []
    source = half_baseline.source(
        even,
        at_most=10,
        before=lambda n: seen.append(half_baseline.live()[FIN]),
    )
    half_baseline.watch(source)
    assert half_baseline.record.switches == 2
    pairs = [set(seen[at : at + 2]) for at in range(0, len(seen) - 1, 2)]
    assert all(pair == {BASELINE[FIN], BUSY[FIN]} for pair in pairs)


def test_a_window_out_of_context_voids_its_pair() -> None:
    workload = Workload("bi")

    class Two:
        def run(self, poll: Poll) -> WindowResult:
            return WindowResult({"speed": 1.0}, 0.1, Validity.VALID)

        def close(self) -> None:
            """Nothing is kept."""

    adaptive = Adaptive(
        tree=Question("packets", 1000, "busy", "idle"),
        switching=Switching(),
        leaves={"busy": BUSY, "idle": IDLE},
        sample_s=1.0,
        look=workload.look,
        chosen=Chosen("busy", 0.0),
    )
    source = InContext(adaptive, {"busy": Two(), "idle": Two()}, workload.look)
    result = source.run(lambda: None)
    assert result.validity is Validity.VOID
    assert "left the context of busy" in result.reason


def test_the_kernels_choice_is_taken_as_it_is_and_pairs_wait_for_its_look() -> None:
    """No fingerprint is asked about while the kernel decides."""
    said = [KernelSays("idle", 1, looked=False), KernelSays("idle", 0, looked=True)]
    workload = Workload("b", at_most=0)
    adaptive = Adaptive(
        tree=Question("packets", 1000, "busy", "idle"),
        switching=Switching(),
        leaves={"busy": BUSY, "idle": IDLE},
        sample_s=2.0,
        look=workload.look,
        chosen=Chosen("busy", 0.0),
        kernel=lambda: said.pop(0) if said else None,
        clock_s=lambda: 100.0,
    )
    first = adaptive.followed()
    assert first is not None and first.changes == 1
    assert adaptive.chosen == Chosen("idle", 100.0)
    assert (adaptive.fresh, adaptive.due_s) == (False, 102.0), "it has not looked since the pair"
    adaptive.followed()
    assert (adaptive.fresh, adaptive.due_s) == (True, math.inf)
    assert adaptive.followed() is None, "nobody follows the tree: the watch does"


def test_a_watch_that_switches_itself_says_why(world: Watching) -> None:
    watched(world, "b" * 20, at_most=4)
    assert "ktune watch (no kernel module" in world.record.decided_by
    assert world.record.leaves == ("busy", "idle")
    assert any(note.startswith("decided by: ktune watch") for note in world.notes)


def test_what_the_kernel_rounds_is_no_drift(world: Watching) -> None:
    """The kernel keeps this time in ticks: what is read back is another number."""
    match = load_catalog().find("net.ipv6.route.gc_min_interval_ms")
    assert match is not None and match.entry.kernel_rounds
    tunable = match.to_tunable()
    subject = world.subject(dataclasses.replace(QUICK, netns=world.scope.ref.netns))
    request = LeaseRequest("rounds", "test", "tester")
    with open_lease(
        [LeaseTunable(tunable)], request, paths=world.paths, namespace=world.scope.ref
    ) as lease:
        knob = WatchedKnob(tunable, baseline=500, policy=503)
        holder = LeasedHolder(lease, spec_of(subject, (knob,), stays=False), deadline_s=15.0)
        holder.apply_policy("test")
        live = lease.read()[tunable.key]
        assert live != 503
        assert holder.spec.policy == {tunable.key: live}
        assert holder.drift() == {}


def test_somebody_elses_write_on_a_leaf_is_kept_and_the_rest_still_switches(
    world: Watching,
) -> None:
    """A lease never overwrites what it did not write."""
    workload = Workload("i" * 8 + "b" * 80, at_most=60)
    world.adapt = workload.adapt
    seen: list[object] = []

    def before(number: int) -> None:
        seen.append(world.live()[FIN])
        if number == 5:
            write(world.scope, 77)

    world.watch(world.source(even, before=before))
    assert any("changed by somebody else" in item.text for item in world.record.alerts)
    assert set(seen[:5]) == {BASELINE[FIN], BUSY[FIN], IDLE[FIN]}
    assert set(seen[6:]) <= {77}
    assert world.record.leaf == "busy"
    assert world.live() == {**BASELINE, FIN: 77}


def test_killed_while_a_leaf_is_in_force_the_guardian_restores_the_baseline(
    tmp_path: Path,
) -> None:
    """The real command; the tree says `idle` in a namespace without packets."""
    with EphemeralScope() as scope:
        world = world_of(tmp_path, scope, idle_is_baseline=False)
        world.paths.ensure()
        command = [sys.executable, "-m", "ktune", f"--state-dir={world.paths.state}", "watch"]
        more = [str(world.file), "--netns", scope.ref.netns, "--quiet", "--probation-every", "1h"]
        more.append("--yes")
        process = subprocess.Popen(
            [*command, *more], env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path / "run")}
        )
        try:
            wait_for(lambda: world.live()[FIN] == IDLE[FIN])
            wait_for(lambda: "adapts: idle since" in status(world))
            record = json.loads(next(world.paths.watches.glob("*/watch.json")).read_text())
            process.send_signal(signal.SIGKILL)
            process.wait()
            wait_for(lambda: world.live() == BASELINE)
        finally:
            process.kill()
            process.wait()
        assert record["on_death"] == "baseline"
        assert record["leaf"] == "idle"


def status(world: Watching) -> str:
    command = [sys.executable, "-m", "ktune", f"--state-dir={world.paths.state}", "status"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def wait_for(true: object, within_s: float = 30.0) -> None:
    until_s = time.monotonic() + within_s
    while not true():  # type: ignore[operator]
        assert time.monotonic() < until_s
        time.sleep(0.05)


def write(scope: EphemeralScope, value: int) -> None:
    """Somebody else writes the knob in the namespace."""
    from ktune.policy.scope import run_inside

    def there() -> bool:
        Path("/proc/sys/net/ipv4/tcp_fin_timeout").write_text(str(value))
        return True

    assert run_inside(scope.ref, there, otherwise=False)

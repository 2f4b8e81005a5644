"""Recorded surfaces: where they are measured, what is kept, and what a simulator makes of them."""

from __future__ import annotations

import itertools
import json
import math
import os
import random
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.evidence.world import World
from benchmarks.surfaces.definitions import DEFINITIONS
from benchmarks.surfaces.model import Surface
from benchmarks.surfaces.points import sobol_points, values_of
from benchmarks.surfaces.record import order_of
from benchmarks.surfaces.simulate import (
    Budget,
    BudgetSpent,
    SimulatedSource,
    StandIns,
    windows,
)
from benchmarks.surfaces.store import REFERENCE, Head, Recording, Window, Writer, axis_record, read
from ktune.catalog.catalog import load_catalog
from ktune.modes.settings import Overrides
from ktune.profile.host import host_facts
from ktune.profile.resolve import resolve
from ktune.profile.space import Dimension, DimensionKind
from ktune.search.space import Space

ROOT = Path(__file__).resolve().parents[2]
SD = 0.04


def space() -> Space:
    """Two numbers that must be right together, and a word without an effect."""
    return Space(
        [
            Dimension("net.a", DimensionKind.INT, low=1, high=1 << 16, log=True),
            Dimension("net.b", DimensionKind.INT, low=0, high=100, special=(1000,)),
            Dimension("net.c", DimensionKind.CHOICE, choices=("one", "two")),
        ],
        (),
        {"net.a": 16, "net.b": 10, "net.c": "one"},
    )


def truth(setting: tuple[object, ...]) -> float:
    """Both knobs high: up to 50 % better."""
    a, b, _ = setting
    assert isinstance(a, int) and isinstance(b, int)
    high = (math.log(a) / math.log(1 << 16), 0.0 if b == 1000 else b / 100)
    return math.log(100) + 0.4 * min(high)


def head(points: int = 60, repeats: int = 3) -> Head:
    made = space()
    return Head(
        surface="made-up",
        metric="speed",
        unit="1/s",
        direction="maximize",
        amount=1,
        window_s=0.1,
        repeats=repeats,
        reference_every=5,
        seed=1,
        axes=tuple(axis_record(axis) for axis in made.axes),
        relations=(),
        reference=(16, 10, "one"),
        points=tuple(tuple(values_of(made, p)) for p in sobol_points(made, points, 1)),
        probes=0,
        kernel="6.1",
        ktune="0",
    )


def recording(points: int = 60, repeats: int = 3, sd: float = SD) -> Recording:
    made, rng = head(points, repeats), random.Random(1)
    settings = {REFERENCE: made.reference, **dict(enumerate(made.points))}
    found = [
        Window(point, repeat, at, math.exp(truth(settings[point]) + rng.gauss(0, sd)))
        for at, (point, repeat) in enumerate(order_of(made))
    ]
    return Recording(made, ("today",), tuple(found))


@pytest.mark.full
def test_every_surface_has_as_many_points_as_it_says_and_a_reference_in_its_space() -> None:
    for item in DEFINITIONS:
        plan = resolve(item.profile(item.amount, "/var/tmp/x"), load_catalog(), host_facts())
        made = Space(plan.dimensions, plan.relations, plan.baseline)
        points = sobol_points(made, 20, 3)
        assert len(points) == 20
        assert points == sobol_points(made, 20, 3)
        assert all(made.why_not(point) is None for point in points)


def test_every_window_comes_once_and_the_reference_before_each_fifth() -> None:
    order = order_of(head(points=7))
    own = [slot for slot in order if slot[0] != REFERENCE]
    assert sorted(own) == sorted(itertools.product(range(7), range(3)))
    assert own != sorted(own)
    assert [order.index((REFERENCE, n)) for n in range(5)] == [0, 6, 12, 18, 24]
    assert order[-1][0] == REFERENCE


def test_a_recording_cut_in_the_middle_of_a_line_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "made-up.jsonl"
    writer = Writer(path, head(), "today")
    writer.add(Window(4, 1, 2.5, 1234.5678))
    writer.add(Window(5, 0, 3.5, None, "it crashed"))
    writer.close()
    with path.open("a") as file:
        file.write("[7,0,")
    assert len(read(path).windows) == 2
    Writer(path, head(), "tomorrow").close()
    found = read(path)
    assert found.head == head()
    assert found.sittings == ("today", "tomorrow")
    assert found.windows == (Window(4, 1, 2.5, 1234.6), Window(5, 0, 3.5, None, "it crashed"))


def test_a_file_of_something_else_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps({"format": 99}) + "\n")
    with pytest.raises(SystemExit, match=r"x\.jsonl is no recorded surface"):
        read(path)


def test_the_surface_is_told_where_it_was_not_measured() -> None:
    surface = Surface(recording(points=120))
    errors = surface.errors()
    assert errors.shepard < 0.6 * errors.mean
    assert errors.shepard < errors.nearest
    both, one = surface.gain((1 << 16, 100, "two")), surface.gain((1 << 16, 10, "two"))
    assert both == pytest.approx(0.36, abs=0.1)
    assert one < both / 2
    assert surface.gain((16, 10, "one")) == pytest.approx(0.0, abs=1e-9)


def test_noise_is_what_was_recorded() -> None:
    surface = Surface(recording())
    assert surface.noise().sd == pytest.approx(SD, rel=0.25)
    stream = surface.stream(seed=5)
    drawn = [next(stream) for _ in range(5000)]
    assert statistics.fmean(drawn) == pytest.approx(0.0, abs=0.25)
    assert statistics.pstdev(drawn) == pytest.approx(1.0, abs=0.15)
    again = surface.stream(seed=5)
    assert [next(again) for _ in range(20)] == drawn[:20]


def test_what_failed_for_real_fails_in_the_replay() -> None:
    whole = recording()
    bad = whole.head.points[3]
    spoilt = [
        Window(w.point, w.repeat, w.at_s, None, "exit code 1") if w.point == 3 else w
        for w in whole.windows
    ]
    surface = Surface(Recording(whole.head, (), tuple(spoilt)))
    assert surface.fails(bad) == "exit code 1"
    assert surface.fails(whole.head.reference) == ""
    replay = windows(surface, 1)
    next(replay)
    assert replay.send(bad) == "exit code 1"


def test_too_little_is_refused() -> None:
    whole = recording()
    with pytest.raises(SystemExit, match="too few windows"):
        Surface(Recording(whole.head, (), whole.windows[:4]))


def test_stand_ins_hold_every_value() -> None:
    stand_ins = StandIns(Surface(recording()))
    for setting in [(1, 1000, "two"), (1 << 16, 0, "one")]:
        assert stand_ins.setting(stand_ins.values(setting)) == list(setting)


@pytest.mark.full
def test_a_real_run_finds_what_the_surface_holds_and_keeps_to_its_windows(
    root: None, tmp_path: Path
) -> None:
    surface = Surface(recording(points=120))
    stand_ins = StandIns(surface)
    budget = Budget(trials=20, stop_after=20, baseline_every=6, max_pairs=10)
    with World(tmp_path, stand_ins.profile(budget)) as world:
        lease = world.lease(batch=1)
        source = SimulatedSource(lease, stand_ins, seed=2, budget=90)
        tuning, _, _ = world.tuning(Overrides(seed=2), lease, source)
        proof = tuning.run().proof
        assert proof is not None
        assert proof.outcome.value == "improved"
        assert surface.gain(stand_ins.setting(proof.assignment)) > 0.1
        assert source.measured <= 90
        assert lease.release().verified
        lease = world.lease(batch=1)
        source = SimulatedSource(lease, stand_ins, seed=2, budget=9)
        tuning, _, _ = world.tuning(Overrides(seed=2), lease, source)
        with pytest.raises(BudgetSpent):
            tuning.run()


@pytest.mark.full
def test_a_tiny_recording_is_made_and_gone_on_with(root: None, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.surfaces.record", "long-link", "--points", "2"]
    command += ["--repeats", "1", "--window-s", "0.2", "--output", str(tmp_path)]
    command += ["--scratch", "/tmp", "--any-load"]
    for _ in range(2):
        done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    found = read(tmp_path / "long-link.jsonl")
    assert found.complete
    assert len(found.sittings) == 1
    assert "/tmp" not in (tmp_path / "long-link.jsonl").read_text()

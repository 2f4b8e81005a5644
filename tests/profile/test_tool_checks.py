"""What a plan and a report say of load generators."""

from __future__ import annotations

import dataclasses

import pytest

from ktune.adapters.model import Loop
from ktune.evidence.pairs import Direction
from ktune.measure.from_profile import workload_spec
from ktune.measure.specs import MetricSource
from ktune.profile.host import HostFacts
from ktune.profile.load import load_profile, parse_profile
from ktune.profile.locate import shipped_dir
from ktune.profile.model import Profile
from ktune.profile.tool_checks import metric_loops, tool_notes
from ktune.records.summary import latency_loops
from ktune.records.types import StudyManifest
from tests.profile.examples import HEAD


@pytest.fixture
def make(facts: HostFacts):  # type: ignore[no-untyped-def]
    def made(command: str, metrics: str) -> Profile:
        text = f"{HEAD}workload: {{command: {command}, metrics: {{{metrics}}}}}"
        return parse_profile(text.encode(), file="test", search_path=(), facts=facts)

    return made


PGBENCH = (
    "tps: {from: pgbench, plausible: [1, 9]}, "
    "p9: {from: pgbench, field: latency_mean, plausible: [1, 9]}"
)


def test_only_latencies_have_a_loop(make) -> None:  # type: ignore[no-untyped-def]
    workload = make("[pgbench, -R, '2000']", PGBENCH).workload
    loops = metric_loops(workload)

    assert {name: loop.text for name, loop in loops.items()} == {"p9": "open loop, rate 2000/s"}
    assert list(tool_notes(workload)) == ["p9: open loop, rate 2000/s"]


def test_a_closed_loop_and_a_window_that_ends_by_time_are_told(make) -> None:  # type: ignore[no-untyped-def]
    notes = list(tool_notes(make("[taskset, -c, '1', pgbench, -T, '5']", PGBENCH).workload))

    assert notes[0] == "p9: closed loop: understates waiting"
    assert "pgbench ends by time" in notes[1]


def test_a_script_is_not_looked_into(make) -> None:  # type: ignore[no-untyped-def]
    notes = list(tool_notes(make("[./my-script]", PGBENCH).workload))

    assert "pgbench is not seen in the command './my-script'" in notes[1]


def test_the_tool_says_which_way_is_better_and_the_unit_where_none_is_given(make) -> None:  # type: ignore[no-untyped-def]
    profile = make("[pgbench]", PGBENCH)
    spec = workload_spec(profile.workload)

    assert profile.better("tps") is Direction.MAXIMIZE
    assert profile.better("p9") is Direction.MINIMIZE
    assert [metric.unit for metric in spec.metrics] == ["1/s", "ms"]
    assert {metric.source for metric in spec.metrics} == {MetricSource.TOOL}
    assert spec.output_limit == 4 << 20


def test_shipped_profiles_of_latency_use_an_open_loop(facts: HostFacts) -> None:
    for name in ("redis-latency", "memcached-latency", "nginx-static"):
        workload = load_profile(shipped_dir("profiles") / f"{name}.yaml", facts=facts).workload
        loops = metric_loops(workload)
        assert {"p50", "p99"} == loops.keys(), name
        assert all(loop.loop is Loop.OPEN and loop.rate for loop in loops.values()), name


def test_a_report_says_the_loop_of_its_studys_plan(make) -> None:  # type: ignore[no-untyped-def]
    loops = metric_loops(make("[pgbench]", PGBENCH).workload)
    plan = {"loops": {name: dataclasses.asdict(loop) for name, loop in loops.items()}}

    manifest = StudyManifest("x", "test", "now", plan=plan)

    assert latency_loops(manifest) == {"closed loop: understates waiting": ["p9"]}
    assert latency_loops(StudyManifest("x", "test", "now")) == {}

"""Each adapter on the real tool, run as a window runs it: briefly, and against servers of the
test's own on the loopback or a Unix socket."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest
from _pytest.mark import ParameterSet

from ktune.adapters.registry import ToolName, adapter
from ktune.measure.runner import CommandSource
from ktune.measure.specs import MetricSource, MetricSpec, WorkloadSpec
from ktune.measure.window import Validity, WindowResult
from tests.measure.adapters.runs import FAILURES, RUNS, Run
from tests.measure.helpers import nothing

_ORDERED = (
    "latency_min",
    "latency_p50",
    "latency_p90",
    "latency_p95",
    "latency_p99",
    "latency_max",
)


_SLOW = frozenset({"pgbench-rate", "pgbench-aborted"})
"""Another run of the tool, on a server as slow to make, is among the quick ones."""


def cases(runs: Sequence[Run]) -> list[ParameterSet]:
    """Each by its name."""
    return [
        pytest.param(run, id=run.name, marks=pytest.mark.full if run.name in _SLOW else ())
        for run in runs
    ]


def workload(run: Run, argv: tuple[str, ...]) -> WorkloadSpec:
    """The run as a profile would have it."""
    if run.root and os.geteuid() != 0:
        pytest.skip("needs root")
    metrics = []
    for name in sorted(run.wanted):
        spec = adapter(run.tool).spec(name)
        assert spec is not None
        metrics.append(MetricSpec(name, MetricSource.TOOL, name, spec.unit, tool=run.tool))
    return WorkloadSpec(
        argv[1:] if run.bundled else argv,
        tuple(metrics),
        bundled=run.bundled or None,
        realtime=run.root,
        timeout_s=30.0,
        output_limit=4 << 20,
        warm_up=run.warm_up,
    )


def window(run: Run) -> WindowResult:
    with run.server() as words, CommandSource(workload(run, run.argv(words))) as source:
        return source.run(nothing)


@pytest.mark.parametrize("run", cases(RUNS))
def test_a_window_of_the_real_tool_has_its_numbers(run: Run) -> None:
    result = window(run)

    assert (result.validity, result.reason) == (Validity.VALID, "")
    assert result.metrics.keys() == run.wanted
    assert all(value >= 0 for value in result.metrics.values())
    known = [result.metrics[name] for name in _ORDERED if name in result.metrics]
    assert known == sorted(known)
    rates = [name for name in run.wanted if name.endswith(("tps", "rps", "iops", "per_s"))]
    assert all(result.metrics[name] > 0 for name in rates)


@pytest.mark.parametrize("run", cases(FAILURES))
def test_a_tool_that_reports_an_error_fails_its_window_with_it(run: Run) -> None:
    result = window(run)

    assert (result.validity, result.metrics) == (Validity.CANDIDATE_FAILED, {})
    assert run.fails in result.reason


def test_each_tool_is_recorded_and_run() -> None:
    assert {run.tool for run in RUNS} == set(ToolName)

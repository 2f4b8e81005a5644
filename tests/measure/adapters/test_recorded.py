"""Adapters on outputs recorded from the real tools (`record.py` makes them anew)."""

from __future__ import annotations

import dataclasses
import math
import re
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktune.adapters.model import AdapterError, ToolOutput
from ktune.adapters.registry import ToolName, adapter
from tests.measure.adapters.recordings import RECORDED, about, output_of
from tests.measure.adapters.runs import FAILURES, RUNS, Run

BY_NAME = {run.name: run for run in (*RUNS, *FAILURES)}

SAID: dict[str, dict[str, float]] = {
    "fio-read": {"iops": 13298.701299, "latency_p99": 123392, "latency_p99.9": 3653632}
    | {"latency_mean": 73897.015625, "latency_max": 4069123, "bytes": 4194304, "runtime": 76}
    | {"bandwidth": 54471480, "read.iops": 13298.701299, "ios": 1024},
    "fio-mixed-sync": {"read.iops": 13452.054795, "write.iops": 14602.739726}
    | {"iops": 13452.054795 + 14602.739726, "write.clat_p99": 55552},
    "fio-data-sync": {"sync.ios": 63, "sync.latency_p99": 6193152, "write.iops": 524.590164},
    "pgbench": {"tps": 3040.271435, "transactions": 1000, "latency_mean": 1.316, "failed": 0}
    | {"connection_time": 8.949},
    "pgbench-rate": {"transactions": 500, "lag_mean": 0.154, "skipped": 0},
    "sysbench-cpu": {"events": 400, "time": 0.0961, "latency_mean": 0.24, "latency_p99": 0.47}
    | {"latency_min": 0.22, "latency_max": 0.83, "events_per_s": 400 / 0.0961},
    "sysbench-memory": {"bandwidth": 7576.17, "events": 204800, "time": 0.0258},
    "redis-benchmark": {"set.rps": 62500, "get.rps": 70175.44, "get.latency_mean": 0.072}
    | {"get.latency_p50": 0.055, "get.latency_p99": 0.199, "get.latency_max": 2.911},
    "wrk": {"rps": 27718.78, "requests": 27761, "bandwidth": 9.44 * 1024**2}
    | {"latency_mean": 484.49, "latency_stddev": 950, "latency_max": 8120}
    | {"latency_p50": 101, "latency_p90": 1660, "latency_p99": 4500},
    "iperf3-tcp": {"sent": 14952122542.193504, "received": 13144952187.628582}
    | {"bytes": 59899904, "retransmits": 0, "rtt_mean": 115.5},
    "iperf3-udp": {"lost": 0, "jitter": 0.042982440218486725, "sent": 50667778.03951413},
    "stress-ng": {"switch.bogo_ops": 5000, "switch.bogo_ops_per_s": 192793.70}
    | {"pipe.real_time": 0.01, "pipe.bogo_ops_per_cpu_s": 431034.48},
    "hackbench": {"time": 0.185},
}
"""What one reads in the recordings by eye."""


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_a_recorded_output_has_every_field_in_its_unit(run: Run) -> None:
    output, tool = output_of(run), adapter(run.tool)

    numbers = tool.read(output)

    assert tool.complaint(output) == ""
    assert numbers.keys() >= run.wanted
    for name in run.wanted:
        spec = tool.spec(name)
        assert spec is not None and spec.unit == numbers[name].unit, name
        assert math.isfinite(numbers[name].value) and numbers[name].value >= 0


@pytest.mark.parametrize("name", SAID)
def test_the_numbers_are_those_of_the_output(name: str) -> None:
    numbers = adapter(BY_NAME[name].tool).read(output_of(BY_NAME[name]))

    assert {key: numbers[key].value for key in SAID[name]} == pytest.approx(SAID[name])


def rows(name: str) -> list[tuple[int, int]]:
    """(end, time) in us of pgbench's log, in the order of the ends."""
    lines = [
        line.split()
        for file in (RECORDED / name).glob("pgbench_log*")
        for line in file.read_text().splitlines()
    ]
    return sorted((int(row[4]) * 10**6 + int(row[5]), int(row[2])) for row in lines)


def test_percentiles_of_pgbench_come_from_all_threads_logs() -> None:
    numbers = adapter("pgbench").read(output_of(BY_NAME["pgbench"]))
    times = sorted(time for _, time in rows("pgbench"))

    assert len(times) == 1000
    assert numbers["latency_p50"].value == times[499] / 1000
    assert numbers["latency_p99"].value == times[989] / 1000
    assert numbers["latency_stddev"].value == pytest.approx(statistics.pstdev(times) / 1000)


def test_a_warm_up_of_pgbench_is_cut_in_the_order_of_the_ends() -> None:
    numbers = adapter("pgbench").read(output_of(BY_NAME["pgbench-rate"]))
    log = rows("pgbench-rate")
    rest = [time for _, time in log[100:]]

    assert numbers["tps"].value == pytest.approx(500 / ((log[-1][0] - log[99][0]) / 1e6))
    assert numbers["latency_mean"].value == pytest.approx(statistics.fmean(rest) / 1000)
    assert numbers["latency_p95"].value == sorted(rest)[474] / 1000


def test_more_warm_up_than_transactions_leaves_nothing() -> None:
    output = dataclasses.replace(output_of(BY_NAME["pgbench-rate"]), warm_up=600)

    with pytest.raises(AdapterError, match="600 transactions leave nothing after a warm-up of 600"):
        adapter("pgbench").read(output)


def test_a_log_that_is_not_whole_is_no_log() -> None:
    output = output_of(BY_NAME["pgbench"])
    more = output.stdout.replace("processed: 1000/1000", "processed: 1001/1001")

    with pytest.raises(AdapterError, match="it is not whole"):
        adapter("pgbench").read(dataclasses.replace(output, stdout=more))


def test_the_histogram_of_cyclictest_agrees_with_its_summary() -> None:
    output = output_of(BY_NAME["cyclictest-histogram"])
    wanted = output.wanted | {"latency_p99"}
    numbers = adapter("cyclictest").read(dataclasses.replace(output, wanted=wanted))
    values = [
        int(us)
        for us, one, two in re.findall(r"^(\d{6}) (\d{6})\t(\d{6})$", output.stdout, re.M)
        for _ in range(int(one) + int(two))
    ]

    assert numbers["cycles"].value == len(values) == 800
    assert numbers["latency_p50"].value == sorted(values)[399]
    assert numbers["latency_p99"].value == sorted(values)[791]
    assert numbers["latency_mean"].value == pytest.approx(statistics.fmean(values), abs=1)


def test_a_percentile_beyond_the_histogram_is_none() -> None:
    output = output_of(BY_NAME["cyclictest-histogram"])
    text = output.stdout.replace("# Histogram Overflows: 00000 00000", "# Histogram Overflows: 9 9")
    assert text != output.stdout
    wanted = frozenset({"latency_p99"})

    with pytest.raises(AdapterError, match="lies beyond the histogram's end: 18 of 818"):
        adapter("cyclictest").read(dataclasses.replace(output, stdout=text, wanted=wanted))


def test_both_forms_of_stress_ngs_metrics_have_the_same_fields() -> None:
    yaml = output_of(BY_NAME["stress-ng-yaml"])
    printed = dataclasses.replace(yaml, argv=("stress-ng", "--metrics"))
    tool = adapter("stress-ng")

    for name, number in tool.read(yaml).items():
        assert tool.read(printed)[name].value == pytest.approx(number.value, rel=0.5, abs=0.01)


@pytest.mark.parametrize("run", FAILURES, ids=lambda run: run.name)
def test_an_error_that_a_tool_reports_is_its_complaint(run: Run) -> None:
    assert run.fails in adapter(run.tool).complaint(output_of(run))


def test_some_tools_fail_with_exit_code_0() -> None:
    assert {run.tool for run in FAILURES if about(run)["exit"] == "0"} == {"wrk", "iperf3"}


@pytest.mark.parametrize(
    ("tool", "stdout", "words"),
    [
        ("fio", "fio-2.16\nStarting 1 process\n", "add --output-format=json"),
        (
            "fio",
            '{"fio version": "fio-2.16", "jobs": [{"read": {"total_ios": 1, "clat": {}}}]}',
            "fio 3 or newer reports; this is fio-2.16",
        ),
        (
            "pgbench",
            "number of transactions actually processed: 10/10\n"
            "tps = 85.184871 (including connections establishing)\n",
            "older than PostgreSQL 14",
        ),
        ("sysbench", "sysbench 0.4.12:  multi-threaded system evaluation benchmark\n", "1.0"),
        (
            "redis-benchmark",
            "====== GET ======\n  100000 requests completed in 1.00 seconds\n",
            "add --csv",
        ),
        ("iperf3", "Connecting to host 127.0.0.1, port 5201\n", "add --json"),
        ("wrk", "Usage: wrk <options> <url>\n", "no report"),
        ("stress-ng", "stress-ng: info:  [1] successful run completed in 1.00s\n", "add --metrics"),
        ("hackbench", "Usage: hackbench [-pipe] <num groups>\n", "no time"),
        ("cyclictest", "cyclictest V 0.15\n", "no cycles"),
        ("ktune-load", "hello\n", "printed no rate_per_s"),
    ],
)
def test_an_old_version_or_a_missing_option_is_told(tool: str, stdout: str, words: str) -> None:
    field = {"fio": "latency_mean", "cyclictest": "latency_max"}
    first = next(iter(adapter(tool).fields))
    wanted = frozenset({field.get(tool, first)})

    with pytest.raises(AdapterError, match=words):
        adapter(tool).read(ToolOutput((tool,), stdout, wanted=wanted))


@given(st.sampled_from(RUNS), st.integers(0, 4000), st.text(max_size=20))
def test_a_damaged_output_gives_finite_numbers_or_a_reason(run: Run, at: int, text: str) -> None:
    output, tool = output_of(run), adapter(run.tool)
    damaged = dataclasses.replace(
        output, stdout=output.stdout[:at] + text + output.stdout[at + 9 :]
    )

    tool.complaint(damaged)
    try:
        numbers = tool.read(damaged)
    except AdapterError as error:
        assert str(error)
    else:
        assert all(math.isfinite(number.value) for number in numbers.values())


@given(st.sampled_from(tuple(ToolName)), st.text(), st.data())
def test_any_output_of_a_tool_gives_numbers_or_a_reason(
    name: str, stdout: str, data: st.DataObject
) -> None:
    tool = adapter(name)
    wanted = data.draw(st.frozensets(st.sampled_from(tool.known()), min_size=1))

    try:
        tool.complaint(ToolOutput((name,), stdout, stdout, wanted=wanted))
        tool.read(ToolOutput((name,), stdout, stdout, wanted=wanted))
    except AdapterError as error:
        assert str(error)

"""Sensors over windows: what a window's numbers are, and what is estimated from part of it."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktune.errors import RefusedError
from ktune.kernel.bpf.histogram import SLOTS, Histogram, Tally, bucket_of, empty
from ktune.kernel.bpf.library import BpfError
from ktune.kernel.bpf.sensors import KINDS, Reading, SensorName, open_sensor
from ktune.measure import sensing
from ktune.measure.attach.specs import TargetKind, TargetSpec
from ktune.measure.link.link import LongLink
from ktune.measure.runner import CommandSource
from ktune.measure.scope import EphemeralScope
from ktune.measure.sensing import (
    BUDGET,
    NothingSensed,
    SensorNumber,
    SensorSpec,
    Watched,
    number_of,
    share_of_time,
)
from ktune.measure.specs import LinkSpec, MetricSource, MetricSpec, WorkloadSpec
from ktune.measure.window import Validity, WindowResult
from ktune.profile.sensor_metric import SensorStatistic
from tests.kernel.sensing import group
from tests.kernel.test_sensors import TOUCH
from tests.measure.attach.watching import metric, watch
from tests.measure.helpers import TRANSFER, nothing, transfer, window

EVENT_S = 1e-7
MS = 1e6
SLICE_S = sensing.SLICE_S + 0.001


def number(
    name: SensorName, how: SensorStatistic, *, of_workload: bool = True, unit_ns: float = 1.0
) -> SensorNumber:
    return SensorNumber(SensorSpec(name, of_workload), how, unit_ns)


def sensed(name: str, number: SensorNumber) -> MetricSpec:
    return MetricSpec(name, MetricSource.SENSOR, sensor=number)


@pytest.fixture
def sensors(root: None) -> None:
    """The test attaches BPF programs."""
    for name in SensorName:
        try:
            open_sensor(name).close()
        except BpfError as error:
            pytest.skip(f"{name}: {error.why}")


# --- numbers of a window --------------------------------------------------------------------------


def test_each_statistic_is_what_its_name_says() -> None:
    slots = [0.0] * SLOTS
    slots[bucket_of(1000)] = 99
    slots[bucket_of(1_000_000)] = 1
    seen = Tally(100, Histogram(tuple(slots), 99 * 1000 + 1_000_000))

    def found(how: str, unit_ns: float = 1.0) -> float:
        asked = number(SensorName.TCP_RTT, SensorStatistic(how), unit_ns=unit_ns)
        return number_of(asked, seen, 2.0)

    assert found("count") == 100
    assert found("rate") == 50
    assert found("total") == 1_099_000
    assert found("mean", 1e3) == pytest.approx(10.99)
    assert found("p50") == pytest.approx(1000, rel=0.125)
    assert found("p90") == pytest.approx(1000, rel=0.125)
    assert found("p99") == pytest.approx(1000, rel=0.125)
    assert found("p999", 1e3) == pytest.approx(1000, rel=0.125)


def test_nothing_has_a_total_and_no_percentile() -> None:
    nothing_seen = empty(timed=True)
    total = number(SensorName.TCP_RTT, SensorStatistic.TOTAL)
    assert number_of(total, nothing_seen, 1.0) == 0
    with pytest.raises(NothingSensed, match="no event of tcp_rtt"):
        number_of(number(SensorName.TCP_RTT, SensorStatistic.P99), nothing_seen, 1.0)


# --- part of the time -----------------------------------------------------------------------------


class Played:
    """A sensor whose events happen as a test says: `rate` a second on one CPU, while attached."""

    kind = KINDS[SensorName.RUNQUEUE_LATENCY]

    def __init__(self) -> None:
        self.attached = False
        self.events = 0.0

    def choose(self, **filters: int) -> None:
        assert set(filters) == {"cgroup", "device"}

    def attach(self) -> None:
        self.attached = True

    def detach(self) -> None:
        self.attached = False

    def pass_time(self, events: float) -> None:
        self.events += events if self.attached else 0

    def read(self) -> Reading:
        slots = (self.events,) + (0.0,) * (SLOTS - 1)
        return Reading(Tally(self.events, Histogram(slots, 0.0)), self.events)


class Clock:
    """Stands for the module `time`."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s


def played(rates: list[float], seed: int) -> tuple[float, float]:
    """Estimated events, and how many a sensor was really called for, in slices of these rates."""
    clock, sensor = Clock(), Played()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sensing, "time", clock)
        watched = Watched(sensor, random.Random(seed).random)  # type: ignore[arg-type]
        watched.begin(0, 0)
        for rate in rates:
            sensor.pass_time(rate * SLICE_S)
            clock.now_s += SLICE_S
            watched.tick()
        watched.end()
        return watched.seen().events, sensor.events


@given(st.floats(0, 1e9), st.floats(1e-3, 1e6))
def test_the_share_keeps_within_the_budget(busiest: float, elapsed_s: float) -> None:
    share = share_of_time(busiest, elapsed_s, EVENT_S)
    assert 0 < share <= 1
    assert share == 1 or share * busiest * EVENT_S <= BUDGET * elapsed_s * (1 + 1e-6)


@given(st.lists(st.floats(0, 25_000), min_size=1, max_size=100), st.integers(0, 100))
def test_few_events_are_all_counted(rates: list[float], seed: int) -> None:
    estimated, called = played(rates, seed)
    assert estimated == pytest.approx(called)
    assert called == pytest.approx(sum(rates) * SLICE_S)


def test_many_events_are_estimated_without_bias_and_cost_the_budget() -> None:
    # a load that comes and goes with the slices, so that what was seen says little of what comes
    rates = [400_000.0, 100_000.0, 100_000.0] * 100
    true = sum(rates) * SLICE_S
    runs = [played(rates, seed) for seed in range(200)]
    estimates, calls = zip(*runs, strict=True)
    assert sum(estimates) / len(runs) == pytest.approx(true, rel=0.02)
    event_s = Played.kind.event_s
    assert event_s is not None
    first_s = rates[0] * SLICE_S * event_s  # always watched
    spent_s = sum(calls) / len(runs) * event_s
    assert spent_s <= first_s + 1.25 * BUDGET * len(rates) * SLICE_S
    assert max(calls) < 0.6 * true


def test_looking_often_does_not_keep_a_sensor_attached(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, sensor = Clock(), Played()
    monkeypatch.setattr(sensing, "time", clock)
    watched = Watched(sensor, random.Random(1).random)  # type: ignore[arg-type]
    watched.begin(0, 0)
    for _ in range(1000):
        sensor.pass_time(400_000 * 0.01)
        clock.now_s += 0.01
        watched.tick()
        watched.seen()
    assert sensor.events < 0.3 * 400_000 * 10


# --- windows on the real kernel -------------------------------------------------------------------


def test_a_command_s_own_page_faults_are_counted(sensors: None) -> None:
    metrics = (
        MetricSpec("counted", field="counted"),
        sensed("faults", number(SensorName.PAGE_FAULTS, SensorStatistic.COUNT)),
    )
    script = TOUCH.replace("print(", "print('counted=', sep='', end='');print(")
    work = WorkloadSpec((sys.executable, "-c", script), metrics, user="root")
    with CommandSource(work) as command:
        results = [command.run(nothing) for _ in range(3)]
    for result in results:
        assert result.validity is Validity.VALID, result.reason
        assert 5000 <= result.metrics["counted"] <= result.metrics["faults"]
        assert result.metrics["faults"] <= result.metrics["counted"] + 3000


def test_a_closed_source_senses_again(sensors: None) -> None:
    metrics = (sensed("faults", number(SensorName.PAGE_FAULTS, SensorStatistic.COUNT)),)
    source = CommandSource(WorkloadSpec(("true",), metrics))
    assert source.run(nothing).valid
    source.close()
    assert source.run(nothing).valid
    source.close()


def test_nothing_stays_attached_between_windows(sensors: None) -> None:
    faults = number(SensorName.PAGE_FAULTS, SensorStatistic.COUNT)
    with CommandSource(WorkloadSpec(("true",), (sensed("faults", faults),))) as source:
        source.run(nothing)
        assert not source._sensing._watched[faults.spec].sensor.attached

        def interrupted() -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            source.run(interrupted)
        assert not source._sensing._watched[faults.spec].sensor.attached


def test_a_window_without_an_event_is_void_where_a_percentile_was_asked(sensors: None) -> None:
    metrics = (
        MetricSpec("x"),
        sensed("p99", number(SensorName.DIRECT_RECLAIM_LATENCY, SensorStatistic.P99)),
    )
    result = window(WorkloadSpec(("echo", "x=1"), metrics))
    assert result.validity is Validity.VOID
    assert "no event of direct_reclaim_latency" in result.reason


def test_round_trip_times_are_those_of_the_link(sensors: None, tun: None) -> None:
    rtt = number(SensorName.TCP_RTT, SensorStatistic.P50, unit_ns=MS)
    with EphemeralScope() as scope, LongLink(LinkSpec(rtt_s=0.02), scope.ref):
        workload = transfer("4M", "4M")
        workload = WorkloadSpec(
            workload.argv, (*workload.metrics, sensed("rtt", rtt)), bundled=TRANSFER, timeout_s=20.0
        )
        result = window(workload, scope=scope.ref)
    assert result.validity is Validity.VALID, result.reason
    # never less than the link's but for the width of a bucket (12.5 %); more where the host is busy
    assert 20 * 0.875 <= result.metrics["rtt"] < 60


def test_retransmits_are_those_of_the_namespace(sensors: None, tun: None) -> None:
    again = number(SensorName.TCP_RETRANSMITS, SensorStatistic.COUNT)
    with (
        EphemeralScope() as scope,
        LongLink(LinkSpec(rtt_s=0.01, rate_bit_s=50e6, queue_bytes=32 << 10), scope.ref) as link,
    ):
        workload = WorkloadSpec(
            ("--up", "6M"), (sensed("again", again),), bundled=TRANSFER, timeout_s=30.0
        )
        before = _retransmitted(scope)
        result = window(workload, scope=scope.ref, health=(link.health,))
        counted = _retransmitted(scope) - before
    assert result.validity is Validity.VALID, result.reason
    assert counted > 0
    # the last may be sent again after the command has ended
    assert 0.9 * counted <= result.metrics["again"] <= counted


def _retransmitted(scope: EphemeralScope) -> int:
    """RetransSegs of the scope (proc_net_snmp, RFC 4022)."""
    done = subprocess.run(
        ["nsenter", f"--net={scope.ref.netns}", "cat", "/proc/net/snmp"],
        capture_output=True,
        text=True,
        check=True,
    )
    names, values = (line.split() for line in done.stdout.splitlines() if line.startswith("Tcp:"))
    return int(values[names.index("RetransSegs")])


@pytest.fixture
def toucher(sensors: None) -> Iterator[tuple[int, Path]]:
    """A service in a cgroup of its own that touches new pages all the time."""
    script = "\n".join(
        (
            "import mmap, time",
            "input()",
            "while True:",
            "    memory = mmap.mmap(-1, 100 * mmap.PAGESIZE)",
            "    memory.madvise(mmap.MADV_NOHUGEPAGE)",
            "    for page in range(100): memory[page * mmap.PAGESIZE] = 1",
            "    memory.close()",
            "    time.sleep(0.01)",
        )
    )
    with group() as folder:
        process = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, text=True)
        assert process.stdin is not None
        (folder / "cgroup.procs").write_text(str(process.pid))
        process.stdin.write("\n")
        process.stdin.flush()
        yield process.pid, folder
        process.kill()
        process.communicate()


def _over(folder: Path, *numbers: tuple[str, SensorNumber]) -> WindowResult:
    target = TargetSpec(TargetKind.CGROUP, str(folder))
    found = [metric(name, asked, None) for name, asked in numbers]
    return watch(target, *found, for_s=1.0, every_s=0.25)


def test_a_service_s_faults_are_told_by_its_cgroup(toucher: tuple[int, Path]) -> None:
    pid, folder = toucher
    before = _faults(pid)
    result = _over(
        folder,
        ("own", number(SensorName.PAGE_FAULTS, SensorStatistic.COUNT)),
        ("all", number(SensorName.PAGE_FAULTS, SensorStatistic.COUNT, of_workload=False)),
    )
    counted = _faults(pid) - before
    assert result.validity is Validity.VALID, result.reason
    assert 0 < result.metrics["own"] <= counted
    assert result.metrics["own"] >= 0.4 * counted  # what `before` and the window's start miss
    assert result.metrics["all"] >= result.metrics["own"]


def test_nothing_sensed_of_a_service_voids_its_window(toucher: tuple[int, Path]) -> None:
    asked = number(SensorName.DIRECT_RECLAIM_LATENCY, SensorStatistic.MEAN)
    result = _over(toucher[1], ("mean", asked))
    assert result.validity is Validity.VOID
    assert "no event of direct_reclaim_latency" in result.reason


def test_a_disk_that_is_not_there_is_refused(sensors: None) -> None:
    spec = SensorSpec(SensorName.BLOCK_LATENCY, device="nodisk")
    asked = SensorNumber(spec, SensorStatistic.P99)
    with pytest.raises(RefusedError, match="there is no disk nodisk"):
        CommandSource(WorkloadSpec(("true",), (sensed("disk", asked),)))


def _faults(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[7])

"""Work per joule: of a command and of an attached service, over a recorded counter."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ktune.catalog.catalog import load_catalog
from ktune.kernel import energy
from ktune.measure import runner
from ktune.measure.attach import source
from ktune.measure.attach.source import AttachSource
from ktune.measure.attach.specs import (
    Energy,
    LiveMetric,
    PrintedNumber,
    Ratio,
    Reduction,
    TargetKind,
    TargetSpec,
)
from ktune.measure.runner import CommandSource
from ktune.measure.specs import MetricSource, MetricSpec, WorkloadSpec
from ktune.measure.window import Validity
from ktune.profile.errors import PlanRefusedError
from ktune.profile.host import host_facts
from ktune.profile.load import load_profile
from ktune.profile.resolve import resolve
from tests.kernel.test_energy import zone
from tests.measure.attach.watching import spec
from tests.measure.helpers import ROOT, nothing

PROFILE = ROOT / "tests" / "profile" / "good" / "work-per-joule.yaml"


@pytest.fixture
def counter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The energy_uj of the only package of a recorded sysfs, which anybody may write."""
    tmp_path.chmod(0o755)
    file = zone(tmp_path, "intel-rapl:0", "package-0", 5_000_000)
    file.chmod(0o666)

    def recorded(name: str = "") -> tuple[energy.EnergyCounter, ...]:
        return energy.counters(name, sysfs=tmp_path)

    monkeypatch.setattr(runner, "counters", recorded)
    monkeypatch.setattr(source, "counters", recorded)
    yield file


def test_work_per_joule_of_a_command(counter: Path) -> None:
    script = f"echo 9000000 > {counter}; echo requests=100"
    metrics = (
        MetricSpec("per_joule", MetricSource.RATIO, "requests/joules"),
        MetricSpec("requests", field="requests"),
        MetricSpec("joules", MetricSource.ENERGY, ""),
        MetricSpec("watts", MetricSource.POWER, "package-0"),
    )
    with CommandSource(WorkloadSpec(("sh", "-c", script), metrics, user="root")) as command:
        result = command.run(nothing)

    assert result.validity is Validity.VALID, result.reason
    assert (result.metrics["joules"], result.metrics["per_joule"]) == (4.0, 25.0)
    assert result.metrics["watts"] == pytest.approx(4.0 / result.duration_s, rel=0.01)


def test_a_command_that_took_no_energy_at_all_has_no_ratio(counter: Path) -> None:
    metrics = (
        MetricSpec("requests", field="requests"),
        MetricSpec("joules", MetricSource.ENERGY, ""),
        MetricSpec("per_joule", MetricSource.RATIO, "requests/joules"),
    )
    with CommandSource(WorkloadSpec(("echo", "requests=1"), metrics)) as command:
        result = command.run(nothing)

    assert (result.validity, "joules is 0" in result.reason) == (Validity.CANDIDATE_FAILED, True)


def test_work_per_joule_of_a_service(counter: Path) -> None:
    rises = (
        f"python3 -c \"n = int(open('{counter}').read()); "
        f"open('{counter}', 'w').write(str(n + 1000000)); print('n=' + str(n // 10000))\""
    ).replace("python3", sys.executable)
    metrics = (
        LiveMetric("work", PrintedNumber(("sh", "-c", rises), False, "n", 5.0), Reduction.RATE),
        LiveMetric("watts", Energy(), Reduction.RATE),
        LiveMetric("joules", Energy(), Reduction.TOTAL),
        LiveMetric("per_joule", Ratio("work", "watts"), None),
    )
    target = TargetSpec(TargetKind.PID, "1")
    with AttachSource(spec(target, *metrics, user="root")) as service:
        result = service.run(nothing)

    assert result.validity is Validity.VALID, result.reason
    assert result.metrics["joules"] >= 1
    assert result.metrics["per_joule"] == pytest.approx(100, rel=0.5)


def test_a_plan_names_the_metric_that_this_host_can_not_measure() -> None:
    try:
        energy.counters()
    except energy.NoEnergy as reason:
        with pytest.raises(PlanRefusedError) as caught:
            resolve(load_profile(PROFILE), load_catalog(), host_facts())
        assert "joules needs an energy counter, which this host does not have" in str(caught.value)
        assert str(reason) in str(caught.value)
    else:
        resolve(load_profile(PROFILE), load_catalog(), host_facts())

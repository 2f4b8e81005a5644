"""Sensors as people meet them: planned, refused, tuned with."""

from __future__ import annotations

import os
import shutil

import pytest

from ktune.kernel.bpf.library import BpfError
from ktune.kernel.bpf.sensors import SensorName, open_sensor

from .support import Cli

PROFILE = """
ktune: 1
kind: profile
name: waits
scope: host
workload:
  command: [sh, -c, "for i in 1 2 3 4 5 6 7 8; do true | true; done; echo x=1"]
  renews: [new_process]
  usual_time: 0.1s
  metrics:
    x: {from: key_value, plausible: [0.1, 10]}
    wait:
      {from: sensor, sensor: runqueue_latency, as: mean, of: workload, unit: us,
       plausible: [0.001, 1e7]}
knobs: {sysctl: {vm.swappiness: {range: [10, 90]}}}
objectives: [{metric: x, direction: maximize}]
constraints: [{metric: wait, at_most: 5e6}]
search: {trials: 3, stop_after: 3, baseline_every: 3}
promotion: {mei: 5%, pairs: {min: 6, max: 6}, finalists: 1}
"""

FAULTS = """
ktune: 1
kind: profile
name: fewer-page-faults
summary: Fewer page faults of a program that fills much memory
scope: host
workload:
  command: [perl, -e, 'my $text = "ktune " x 4000000; print "bytes=", length $text, "\\n"']
  renews: [new_process]
  usual_time: 0.3s
  metrics:
    bytes: {from: key_value, unit: B, plausible: [23999999, 24000001]}
    faults: {from: sensor, sensor: page_faults, as: count, of: workload, plausible: [10, 1e8]}
    reclaim:
      {from: sensor, sensor: direct_reclaim_latency, as: total, of: workload, unit: ms,
       plausible: [0, 1e6]}
knobs:
  sysfs:
    /sys/kernel/mm/transparent_hugepage/enabled: {choices: [always, madvise, never]}
objectives: [{metric: faults, direction: minimize}]
constraints: [{metric: reclaim, at_most: 1000}]
search: {trials: 4, stop_after: 4, baseline_every: 2, simplify: false}
promotion: {mei: 5%, pairs: {min: 6, max: 10}, finalists: 1}
"""


@pytest.fixture
def profile(tmp_path):
    file = tmp_path / "waits.yaml"
    file.write_text(PROFILE)
    return file


@pytest.fixture
def sensed(root) -> None:
    try:
        open_sensor(SensorName.RUNQUEUE_LATENCY, of_workload=True).close()
    except BpfError as error:
        pytest.skip(error.why)


def test_a_plan_says_that_sensors_need_root_and_only_read(cli, profile, sensed):
    ran = cli("plan", profile)
    assert ran.code == 0
    assert "wait: by BPF programs in the kernel" in ran.out
    assert "they need root and read" in ran.out


@pytest.mark.parametrize("command", ["plan", "tune"])
def test_a_profile_whose_sensor_can_not_be_had_is_refused(cli, profile, root, command):
    if shutil.which("setpriv") is None:
        pytest.skip("needs setpriv (util-linux)")
    powerless = Cli(cli.state, prefix=("setpriv", "--bounding-set=-all", "--inh-caps=-all"))
    ran = powerless(command, profile)
    assert ran.code == 4
    assert "wait needs the sensor runqueue_latency, which this host does not have" in ran.err
    assert "waits.yaml:13:" in ran.err


@pytest.mark.full
def test_a_run_constrained_by_a_sensor_ends_and_restores(cli, profile, sensed, host_knobs):
    ran = cli("tune", profile, env={"PATH": os.environ["PATH"]})
    assert ran.code == 3, ran.err  # swappiness does nothing to it
    (study,) = cli("studies", "list", "--json").json
    windows = cli("studies", "show", study["id"], "--json").json
    assert "wait" in str(windows)
    assert host_knobs.changed == {}


@pytest.mark.full
@pytest.mark.timeout(450)
def test_what_a_sensor_counts_is_improved_and_proven(cli, tmp_path, sensed, host_knobs):
    """Huge pages save a program that fills its memory nearly all of its page faults."""
    if shutil.which("perl") is None:
        pytest.skip("needs perl")
    host_knobs.write("/sys/kernel/mm/transparent_hugepage/enabled", "never")
    before = host_knobs.changed
    file = tmp_path / "faults.yaml"
    file.write_text(FAULTS)
    ran = cli("tune", file, timeout_s=400)
    assert ran.code == 0, ran.err
    (study,) = cli("studies", "list", "--json").json
    shown = cli("studies", "show", study["id"]).out
    assert "Improved: faults -" in shown
    assert "transparent_hugepage/enabled  never -> always" in shown
    assert host_knobs.changed == before

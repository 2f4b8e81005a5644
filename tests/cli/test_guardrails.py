"""`plan` says which guardrails can't be watched here; `tune` refuses them; `doctor` lists all."""

from __future__ import annotations

import os

import pytest

from ktune.cli.plan import guardrail_line
from ktune.measure.guardrails.from_profile import guardrails_of
from ktune.profile.goals import Safety

PROFILE = """\
ktune: 1
kind: profile
name: guarded
scope: ephemeral
workload:
  command: ["true"]
  renews: [new_socket, new_process]
  metrics: {time: {from: duration, unit: s, plausible: [0.0001, 60]}}
knobs: {sysctl: {net.ipv4.tcp_fin_timeout: {range: [10, 110]}}}
objectives: [{metric: time, direction: minimize}]
safety:
  psi: [{resource: io, line: some, stalled: 900ms, within: 2s, optional: true}]
  disk_health: {devices: no-such-disk}
"""


def test_plan_names_what_can_not_be_watched_and_tune_refuses_it(cli, tmp_path):
    path = tmp_path / "guarded.yaml"
    path.write_text(PROFILE)

    by_name = {item["name"]: item for item in cli("plan", "--json", path).json["guardrails"]}
    assert by_name["disk_health"]["reason"] and not by_name["disk_health"]["optional"]
    assert by_name["kernel_warnings taint"] == {
        "name": "kernel_warnings taint",
        "optional": True,
        "reason": "",
        "note": by_name["kernel_warnings taint"]["note"],
    }

    tune = cli("tune", "--coexist", path)
    assert tune.code == 4
    assert "guardrails that can't be watched here: disk_health: " in tune.err
    assert cli("studies", "list", "--json").json == []


@pytest.mark.parametrize(
    ("optional", "end"), [(False, "; tune refuses (exit 4)"), (True, "; goes on without it")]
)
def test_plan_says_what_follows(optional, end):
    safety = Safety.model_validate(
        {"disk_health": {"devices": "no-such-disk", "optional": optional}}
    )
    found = guardrails_of(safety).survey()[-1]
    assert guardrail_line(found).startswith("disk_health: can't be watched here: ")
    assert guardrail_line(found).endswith(end)


def test_doctor_lists_every_guardrail(cli):
    found = {
        item["name"].removeprefix("guardrail: "): item
        for item in cli("doctor", "--json").json
        if item["name"].startswith("guardrail: ")
    }
    assert set(found) == {
        "pressure",
        "pressure trigger",
        "pressure trigger under 2 s",
        "OOM kills",
        "OOM kills of a cgroup",
        "kernel log",
        "kernel taint",
        "device errors",
        "network errors",
        "disk health",
    }
    assert (found["pressure"]["answer"] == "works") == os.path.exists("/proc/pressure/memory")
    assert found["kernel taint"]["answer"] in ("works", "partly")

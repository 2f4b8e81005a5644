"""`ktune doctor` tries, and leaves nothing behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ktune.kernel.bpf.library import BpfError
from ktune.kernel.bpf.sensors import SensorName, open_sensor
from ktune.policy.probes import Answer


def test_every_finding_says_what_it_is_used_for(cli):
    found = cli("doctor", "--json").json
    assert {item["answer"] for item in found} <= {answer.value for answer in Answer}
    assert all(item["detail"] and item["used_for"] for item in found)
    by_name = {item["name"]: item for item in found}
    assert by_name["python"]["answer"] == "works"
    assert by_name["optuna"]["answer"] == "works"
    assert int(by_name["catalog"]["detail"].split()[0]) >= 150


def test_it_agrees_with_what_can_be_seen_from_outside(cli, root):
    by_name = {item["name"]: item for item in cli("doctor", "--json").json}
    assert (by_name["PSI"]["answer"] == "works") == os.path.exists("/proc/pressure/memory")
    assert by_name["root"]["answer"] == "works"
    rapl = os.path.exists("/sys/class/powercap/intel-rapl:0/energy_uj")
    assert rapl <= (by_name["energy counters"]["answer"] == "works")
    assert rapl or by_name["energy counters"]["detail"]


def test_each_sensor_is_tried(cli, root):
    by_name = {item["name"]: item for item in cli("doctor", "--json").json}
    for name in SensorName:
        found = by_name[f"sensor: {name}"]
        assert found["answer"] == "missing" or "tp_btf" in found["detail"]
        try:
            open_sensor(name).close()
        except BpfError as error:
            assert found["answer"] == "missing"
            assert found["detail"] == error.why
        else:
            assert found["answer"] != "missing"


def test_it_changes_nothing(cli):
    before = _traces()
    assert cli("doctor").code == 0
    assert _traces() == before


def test_a_state_folder_that_can_not_be_written_is_missing_not_fatal(cli):
    by_name = {
        item["name"]: item for item in cli("doctor", "--json", "--state-dir", "/proc/nowhere").json
    }
    assert by_name["state folder"]["answer"] == "missing"


def _traces() -> list[str]:
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    groups = [
        str(path)
        for mount in mounts
        if "cgroup" in mount
        for path in Path(mount).glob("ktune-doctor-*")
    ]
    return [*groups, *sorted(os.listdir("/sys/class/net"))]


@pytest.mark.full
def test_it_looks_at_the_local_configuration(cli, tmp_path):
    file = tmp_path / "config.yaml"
    name = f"configuration {file}"

    def found(text):
        file.write_text(text)
        file.chmod(0o600)
        done = cli("doctor", "--json", env={"KTUNE_CONFIG": str(file)})
        assert done.code == 0
        (item,) = [item for item in done.json if item["name"] == name]
        return item["answer"], item["detail"]

    hooks = "hooks:\n  applied: [[/bin/true, seen]]\nhook_timeout: 3s\n"
    assert found("{}") == ("works", "valid; asks for nothing")
    assert found(f"approval: required\nmetric_hosts: [10.1.2.3]\n{hooks}") == (
        "works",
        "every policy needs an approval; on applied runs /bin/true seen; "
        "hooks are killed after 3s; metric pages of 10.1.2.3 allowed",
    )
    answer, detail = found("hooks: {emergency: [[/nowhere/page]], applied: [[/etc/passwd]]}\n")
    assert answer == "partly"
    assert "hook of emergency: there is no program /nowhere/page" in detail
    answer, detail = found("approval: maybe\nhook_timeout: never\n")
    assert answer == "broken"
    assert f"{file}:1:11: " in detail and f"{file}:2:15: " in detail
    answer, detail = found("approval: [\n")
    assert answer == "broken" and f"{file}:" in detail
    file.chmod(0o666)
    shown = cli("doctor", env={"KTUNE_CONFIG": str(file)})
    assert shown.code == 0
    assert "others may write" in shown.out and "chmod go-w" in shown.out


def test_without_a_configuration_the_defaults_hold(cli, tmp_path):
    """Of root /etc/ktune alone counts, of others their own too."""
    done = cli("doctor", "--json", env={"KTUNE_CONFIG": "", "XDG_CONFIG_HOME": str(tmp_path)})
    found = {i["name"]: i for i in done.json if i["name"].startswith("configuration ")}
    assert "configuration /etc/ktune/config.yaml" in found
    own = found.get(f"configuration {tmp_path}/ktune/config.yaml")
    assert (own is None) == (os.geteuid() == 0)
    assert own is None or own["detail"] == "not there: nothing beyond the defaults"

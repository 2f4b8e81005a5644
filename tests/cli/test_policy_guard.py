"""The guard of a policy in force: it stays when every process has ended, tells who else wrote,
refuses only where the policy says so, and goes with the policy. Refusing happens in a group of the
test's own, which the commands take for the root of cgroup2."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ktune.kernel.bpf.bpffs import mounted_bpffs
from ktune.kernel.bpf.library import BpfError, library
from ktune.proxy.guard import pinned
from ktune.proxy.guard.rules import watched_rule
from ktune.records.paths import StatePaths
from tests.policy import support
from tests.proxy.guarded import Group, new_group, why_no_guard, write_as

from .support import Cli, Namespace, sysctl

RMEM = "net.ipv4.tcp_rmem"
IDLE = "net.ipv4.tcp_slow_start_after_idle"


@pytest.fixture(autouse=True)
def guard_works(root: None) -> None:
    """And bpffs is mounted where every command of this run sees it."""
    why = why_no_guard()
    if why is not None:
        pytest.skip(f"the BPF guard does not load here: {why}")
    try:
        mounted_bpffs()
    except BpfError as error:
        pytest.skip(error.why)


@pytest.fixture
def group() -> Iterator[Group]:
    with new_group("policy") as made:
        yield made


@pytest.fixture
def enclosed(cli: Cli, group: Group) -> Cli:
    """The command line inside the group."""
    return Cli(cli.state, prefix=group.enclosure)


def frozen(cli: Cli, folder: Path, guard: str = "audit") -> Path:
    study = support.study(StatePaths.resolve(cli.state), promotion={"guard": guard})
    file = folder / "policy.yaml"
    done = cli("freeze", study.id, "-o", file, "--valid-days", 36500)
    assert done.code == 0, done.err
    return file


def state_of(cli: Cli) -> dict[str, object]:
    [entry] = cli("status", "--json").json["policies"]
    return entry["guard_state"]


def test_a_policys_guard_tells_who_else_wrote_and_refuses_nobody(
    cli: Cli, netns: Namespace, tmp_path: Path
) -> None:
    applied = cli("apply", frozen(cli, tmp_path), "--netns", netns.path, "--yes")
    assert applied.code == 0, applied.err
    assert "guard:  audit: others' writes are recorded" in applied.out
    assert state_of(cli)["lines"] == []
    pid, said = write_as("", sysctl(IDLE), "1", netns=netns.path)
    assert said == ["ok"]
    [line] = state_of(cli)["lines"]
    assert line.startswith(f"{IDLE}: written 1 time by others; last 0 -> 1 (seen) by python")
    assert f"(pid {pid}, uid 0, network namespace " in line
    assert line in cli("status").out


def test_a_rollback_takes_the_guard_away(cli: Cli, netns: Namespace, tmp_path: Path) -> None:
    cli("apply", frozen(cli, tmp_path), "--netns", netns.path, "--yes")
    folder = Path(str(state_of(cli)["folder"]))
    assert folder.is_dir()
    assert cli("rollback").code == 0
    assert not folder.exists()


def test_an_enforced_policy_refuses_others_but_never_the_way_back(
    cli: Cli, enclosed: Cli, group: Group, netns: Namespace, tmp_path: Path
) -> None:
    original = netns.read(RMEM)
    policy = frozen(cli, tmp_path, "enforce")
    applied = enclosed("apply", policy, "--netns", netns.path, "--yes")
    assert applied.code == 0, applied.err
    applied_value = netns.read(RMEM)
    path = sysctl(RMEM)
    assert group.write(
        path, "4096 131072 1000000", applied_value, original, "x", netns=netns.path
    ) == ["EPERM", "ok", "ok", "EPERM"]
    assert write_as("", path, applied_value, netns=netns.path)[1] == ["ok"]
    state = state_of(cli)
    assert state["enforcing"] is True
    assert state["unlock"] == f"rm -r {state['folder']}"
    assert f"unlock: {state['unlock']}" in applied.out
    assert f"unlock: {state['unlock']}" in cli("status").out
    assert any("2 refused" in line for line in state["lines"])
    assert enclosed("rollback").code == 0
    assert netns.read(RMEM) == original
    assert group.write(path, "4096 131072 1000000", netns=netns.path) == ["ok"]


def test_the_unlock_command_works_without_ktune(
    cli: Cli, enclosed: Cli, group: Group, netns: Namespace, tmp_path: Path
) -> None:
    enclosed("apply", frozen(cli, tmp_path, "enforce"), "--netns", netns.path, "--yes")
    assert group.write(sysctl(IDLE), "7", netns=netns.path) == ["EPERM"]
    subprocess.run(str(state_of(cli)["unlock"]), shell=True, check=True)
    assert group.write(sysctl(IDLE), "1", netns=netns.path) == ["ok"]
    assert "not at work (the policy says enforce): it was removed" in cli("status").out
    assert cli("rollback").code == 0


def test_another_policy_on_an_enforced_knob_is_refused_with_the_unlock_command(
    cli: Cli, enclosed: Cli, netns: Namespace, tmp_path: Path
) -> None:
    enclosed("apply", frozen(cli, tmp_path, "enforce"), "--netns", netns.path, "--yes")
    other = tmp_path / "other"
    other.mkdir()
    second = frozen(cli, other)
    done = cli("apply", second, "--netns", netns.path, "--yes")
    assert done.code == 4
    assert "with guard: enforce" in done.err
    assert "or unlock: rm -r " in done.err
    assert cli("rollback").code == 0


@pytest.mark.full
def test_an_enforced_policy_is_refused_where_the_guard_can_not_be_had(
    cli: Cli, netns: Namespace, tmp_path: Path
) -> None:
    policy = frozen(cli, tmp_path, "enforce")
    before = netns.read(RMEM)
    library()
    maps = Path("/proc/self/maps").read_text().splitlines()
    file = next(line.split()[-1] for line in maps if "libbpf.so" in line)
    hide = f'mount --bind /dev/null {file}; exec "$@"'
    blind = Cli(cli.state, prefix=("unshare", "--mount", "sh", "-ec", hide, "sh"))
    done = blind("apply", policy, "--netns", netns.path, "--yes")
    assert done.code == 4
    assert "guard: enforce can't be had here: libbpf.so.1" in done.err
    assert netns.read(RMEM) == before
    assert cli("status", "--json").json["policies"] == []
    done = blind("apply", policy, "--netns", netns.path, "--yes", "--proxy", "file")
    assert done.code == 0, done.err
    assert "guard:  not at work (the policy says enforce): no guard: --proxy file" in done.out
    assert cli("rollback").code == 0


def test_recover_removes_the_guard_of_a_policy_whose_namespace_has_ended(
    cli: Cli, netns: Namespace, tmp_path: Path
) -> None:
    cli("apply", frozen(cli, tmp_path), "--netns", netns.path, "--yes")
    folder = Path(str(state_of(cli)["folder"]))
    assert folder.is_dir()
    netns.end()
    assert cli("recover").code == 0
    assert not folder.exists()


def test_recover_removes_guards_without_a_policy_and_leaves_those_of_others(
    cli: Cli, paths
) -> None:
    mark = hashlib.sha256(str(paths.state.resolve()).encode()).hexdigest()[:8]
    rule = watched_rule(sysctl(IDLE), netns=1)
    assert rule is not None
    left, foreign = f"{mark}-policy-009-left", "00000000-policy-001-foreign"
    for name in (left, foreign):
        pinned.pin_guard(name, [rule], enforce=False)
    try:
        assert cli("recover").code == 0
        assert left not in pinned.names()
        assert foreign in pinned.names()
    finally:
        pinned.remove(foreign)

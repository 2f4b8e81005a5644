"""Policies that survive reboots, through the command line, on a knob of the host."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from ktune.modes.events import WatchPhase
from ktune.modes.machine import Mode
from ktune.policy.load import load_policy
from ktune.policy.persisted import read_boot
from ktune.policy.units import APPLY_UNIT, WATCH_UNIT
from ktune.records.lockouts import end_emergency, keep, made
from tests.conftest import RUNTIME, HostKnobs
from tests.policy.support import edited, policy_text

from .rebooting import KNOB, Host
from .support import Namespace, Ran

VALUES = {"scope": "host", "assignment": {KNOB: 7}, "baseline": {KNOB: 1}}


@pytest.fixture
def host(tmp_path: Path, host_knobs: HostKnobs) -> Iterator[Host]:
    yield Host(tmp_path, host_knobs)
    for link in (RUNTIME / "journals").glob("*"):
        link.unlink()


@pytest.fixture
def policy(host: Host) -> Path:
    """A policy for the host that no watch has seen."""
    file = host.folder / "policy.yaml"
    file.write_text(policy_text(host.paths, **VALUES))
    return file


@pytest.fixture
def settled(host: Host, policy: Path) -> Path:
    """One that has passed its probation."""
    host.watched(load_policy(str(policy)).document)
    return policy


def test_without_probation_nothing_is_persisted_or_applied(host: Host, policy: Path) -> None:
    done = host.persist(policy)
    assert (done.code, host.live) == (4, "1")
    assert "has not been on probation" in done.err
    assert "ktune" in done.err and "watch" in done.err


@pytest.mark.full
@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"phase": WatchPhase.PROBATION.value}, "has not passed its probation: probation"),
        ({"phase": WatchPhase.ALERT_ONLY.value}, "no pairs can be measured"),
        ({"mode": Mode.IDLE.value, "phase": ""}, "has not passed its probation: idle"),
        ({"kernel": "5.10.0-old"}, "passed its probation on kernel 5.10.0-old"),
    ],
)
def test_only_a_probation_that_was_passed_on_this_kernel_counts(
    host: Host, policy: Path, record: dict[str, str], said: str
) -> None:
    host.watched(load_policy(str(policy)).document, **record)
    done = host.persist(policy)
    assert (done.code, host.live) == (4, "1")
    assert said in done.err
    assert not host.units.exists()


@pytest.mark.parametrize(
    ("watch", "needed"),
    [({"probation_pairs": 3}, 10), ({"probation_pairs": 9}, 10), ({"alpha": 1e-12}, 47)],
)
def test_a_probation_that_could_find_nothing_proves_nothing(
    host: Host, policy: Path, watch: dict[str, object], needed: int
) -> None:
    policy.write_text(edited(policy.read_text(), watch=watch))
    host.watched(load_policy(str(policy)).document)
    done = host.persist(policy)
    assert (done.code, host.live) == (4, "1")
    assert re.search(rf"policy.yaml:\d+:\d+: .* at least {needed} are needed", done.err), done.err
    policy.write_text(edited(policy.read_text(), watch={"probation_pairs": 10}))
    host.watched(load_policy(str(policy)).document)
    assert host.persist(policy).code == 0


def test_a_persisted_policy_comes_back_and_goes_back_to_what_the_boot_had_set(
    host: Host, settled: Path
) -> None:
    done = host.persist(settled, "--healthy-after", "5m")
    assert done.code == 0, done.err
    assert host.live == "7"
    for name in (APPLY_UNIT, WATCH_UNIT):
        link = host.units / "multi-user.target.wants" / name
        assert link.resolve() == host.units / name
    (listed,) = host.status["persisted"]
    assert (listed["blocked"], listed["healthy_after_s"]) == ("", 300)

    host.reboot(setting="2")
    assert host.status["policies"][0]["standing"] == "ended by the reboot"
    done = host("apply", "--boot")
    assert (done.code, host.live) == (0, "7"), done.err
    assert "applied: " in done.out
    assert host("verify").code == 0
    assert host("apply", "--boot").out.startswith("in force: ")

    done = host("rollback")
    assert (done.code, host.live) == (0, "2"), done.err
    assert not list(host.units.rglob("ktune-*"))
    assert host.status["persisted"] == []
    host.reboot(setting="1")
    assert host("apply", "--boot").out == "no policy is persisted\n"
    assert host.live == "1"


@pytest.mark.full
def test_a_boot_that_did_not_stay_healthy_blocks_until_a_person_persists_again(
    host: Host, settled: Path
) -> None:
    host.persist(settled)
    host.reboot(setting="1")
    assert host("apply", "--boot").code == 0
    host.reboot(setting="1")  # nobody has marked the last one
    done = host("apply", "--boot")
    assert (done.code, host.live) == (4, "1")
    assert "did not stay healthy" in done.out
    assert "BLOCKED" in host("status").out
    host.reboot(setting="1")
    assert (host("apply", "--boot").code, host.live) == (4, "1")
    # the watch of the boot that was cut short had begun a probation
    host.watched(load_policy(str(settled)).document, phase=WatchPhase.PROBATION.value)
    assert host.persist(settled).code == 0
    host.reboot(setting="1")
    assert (host("apply", "--boot").code, host.live) == (0, "7")


@pytest.mark.full
def test_a_healthy_boot_is_followed_by_the_next(host: Host, settled: Path) -> None:
    host.persist(settled)
    for _ in range(2):
        host.reboot(setting="1")
        assert (host("apply", "--boot").code, host.live) == (0, "7")
        host.healthy()
    assert len(host.status["policies"]) == 1


@pytest.mark.full
def test_a_blocked_policy_is_taken_away_by_rollback(host: Host, settled: Path) -> None:
    host.persist(settled)
    host.reboot(setting="1")
    host("apply", "--boot")
    host.reboot(setting="1")
    assert host("apply", "--boot").code == 4
    host("rollback", "--all")
    assert host.status["persisted"] == []


def test_a_policy_that_was_taken_back_is_on_probation_again(host: Host, settled: Path) -> None:
    assert host.persist(settled).code == 0
    assert host("rollback").code == 0
    done = host.persist(settled)
    assert (done.code, host.live) == (4, "1")
    assert "has not passed its probation: idle" in done.err


def test_what_is_in_force_counts_although_its_history_could_not_be_written(
    host: Host, settled: Path
) -> None:
    """The boot under it may still turn out unhealthy."""
    host.persist(settled)
    host.reboot(setting="1")
    for entry in host.paths.policies.iterdir():  # nothing to clear up first
        entry.unlink()
    history = host.paths.history
    history.rename(history.with_name("elsewhere"))
    history.symlink_to("elsewhere")  # is not followed
    done = host("apply", "--boot")
    assert (done.code, host.live) == (1, "7"), done.out
    boot = read_boot(host.paths)
    assert boot is not None and boot.digests == (load_policy(str(settled)).document.digest,)


@pytest.mark.parametrize(
    ("parameters", "code", "value"),
    [
        ("ktune=off", 4, "1"),
        pytest.param("ktune=offside", 0, "7", marks=pytest.mark.full),
        pytest.param("-- ktune=off", 0, "7", marks=pytest.mark.full),
    ],
)
def test_the_kernel_command_line_can_say_no(
    host: Host, settled: Path, parameters: str, code: int, value: str
) -> None:
    host.persist(settled)
    host.reboot(setting="1", parameters=parameters)
    assert (host("apply", "--boot").code, host.live) == (code, value)


@pytest.mark.full
def test_a_copy_that_was_changed_is_not_trusted(host: Host, settled: Path) -> None:
    host.persist(settled)
    (copy,) = host.paths.persisted.glob("*.yaml")
    text = copy.read_text()
    host.reboot(setting="1")
    for forged in (text.replace(f"{KNOB}: 7", f"{KNOB}: 9"), edited(text, assignment={KNOB: 9})):
        copy.write_text(forged)
        assert (host("apply", "--boot").code, host.live) == (7, "1")
    copy.write_text("not: [a policy")
    assert (host("apply", "--boot").code, host.live) == (2, "1")


@pytest.mark.full
def test_a_boot_record_that_cant_be_read_applies_nothing(host: Host, settled: Path) -> None:
    host.persist(settled)
    host.reboot(setting="1")
    (host.paths.persisted / "boot.json").write_text("{}")
    done = host("apply", "--boot")
    assert (done.code, host.live) == (1, "1")
    assert "boot.json" in done.err


@pytest.mark.full
def test_without_systemd_it_says_what_init_must_run(host: Host, settled: Path) -> None:
    if Path("/run/systemd/system").is_dir():
        pytest.skip("systemd runs here")
    done = host("apply", settled, "--persist", "--yes")
    assert done.code == 0
    assert "apply --boot" in done.out
    assert "watch --persisted" in done.out


@pytest.mark.full
def test_a_policy_whose_study_is_elsewhere_could_not_be_watched(host: Host, settled: Path) -> None:
    shutil.rmtree(host.paths.studies)
    done = host.persist(settled)
    assert (done.code, host.live) == (4, "1")
    assert "nothing could watch it" in done.err


PROFILE = f"""
ktune: 1
kind: profile
name: speed
scope: host
workload:
  command: [sh, -c, 'v=$(cat /proc/sys/vm/stat_interval); echo "speed=$((1000 SIGN v * 20)).$$"']
  user: root
  renews: [new_process]
  metrics: {{speed: {{from: key_value, unit: 1/s, plausible: [1, 1000000]}}}}
knobs: {{sysctl: {{{KNOB}: {{range: [1, 10]}}}}}}
objectives: [{{metric: speed, direction: maximize}}]
"""
QUICK = ("--probation-every", "0s", "--holdback-every", "0s", "--interval", "100ms", "--quiet")


def watch(host: Host, sign: str, *words: str) -> Ran:
    """A real watch with a workload that the knob makes faster (+) or slower (-)."""
    profile = host.folder / "speed.yaml"
    profile.write_text(PROFILE.replace("SIGN", sign))
    return host("watch", *words, "--yes", "--profile", profile, *QUICK)


@pytest.mark.full
def test_from_the_probation_to_a_boot_that_the_watch_calls_healthy(host: Host) -> None:
    file = host.folder / "policy.yaml"
    text = policy_text(host.paths, **VALUES)
    file.write_text(edited(text, watch={"probation_pairs": 10}))
    assert host.persist(file).code == 4
    done = watch(host, "+", str(file), "--until-settled")
    assert (done.code, host.live) == (0, "7"), done.err
    assert host.persist(file).code == 0
    for _ in range(2):
        host.reboot(setting="1")
        assert host("apply", "--boot").code == 0
        done = watch(host, "+", "--persisted", "--until-settled")
        assert done.code == 0, done.err
        assert "this boot counts as healthy: probation passed" in done.err


@pytest.mark.full
def test_what_the_watch_rolls_back_does_not_return_with_the_next_boot(host: Host) -> None:
    file = host.folder / "policy.yaml"
    file.write_text(policy_text(host.paths, **VALUES))
    host.watched(load_policy(str(file)).document)
    host.persist(file)
    host.reboot(setting="1")
    host("apply", "--boot")
    done = watch(host, "-", "--persisted")
    assert (done.code, host.live) == (8, "1"), done.err
    assert host.status["persisted"] == []
    host.reboot(setting="1")
    assert (host("apply", "--boot").code, host.live) == (0, "1")


@pytest.mark.full
def test_a_namespace_has_no_boot(host: Host) -> None:
    file = host.folder / "net.yaml"
    file.write_text(policy_text(host.paths))
    namespace = Namespace.make()
    try:
        done = host("apply", file, "--persist", "--yes", "--netns", namespace.path)
    finally:
        namespace.end()
    assert done.code == 4
    assert "for the host" in done.err


@pytest.mark.full
def test_boot_takes_no_policy_and_apply_needs_one(host: Host, policy: Path) -> None:
    assert host("apply", "--boot", policy).code == 2
    assert host("apply").code == 2
    assert host("watch", "--persisted").code == 4
    assert host.persist(policy, "--healthy-after", "soon").code == 2


@pytest.mark.full
def test_a_locked_out_policy_waits_for_a_boot_after_its_time(host: Host, settled: Path) -> None:
    """The boot in which it was refused is not held against it."""
    host.persist(settled)
    host.reboot(setting="1")
    keep(
        host.paths,
        made(scope="host", boot_id="", digest="", subject="x", why="oom kills", for_s=3600),
    )
    done = host("apply", "--boot")
    assert (done.code, host.live) == (4, "1")
    assert "emergency in host" in done.out
    assert end_emergency(host.paths)
    host.reboot(setting="1")
    assert (host("apply", "--boot").code, host.live) == (0, "7")


@pytest.mark.full
def test_two_policies_are_applied_in_their_order_and_taken_back_in_the_other(
    host: Host, settled: Path
) -> None:
    other = host.folder / "other.yaml"
    other.write_text(edited(settled.read_text(), name="other@here", assignment={KNOB: 9}))
    host.watched(load_policy(str(other)).document)
    assert host.persist(settled).code == 0
    assert host.persist(other).code == 0
    host.reboot(setting="2")
    done = host("apply", "--boot")
    assert (done.code, host.live) == (0, "9"), done.out
    assert host("rollback").code == 0
    assert host.live == "7"
    assert list(host.units.rglob("ktune-*.service")), "one policy is left"
    assert host("rollback").code == 0
    assert host.live == "2"
    assert not list(host.units.rglob("ktune-*.service"))

"""The step between proof and apply, and programs that are told of events, as people use them."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path

import pytest

from ktune.profile.yaml12 import load_yaml
from ktune.records.paths import StatePaths
from tests.policy import support

from .support import Cli, Namespace

APPROVAL = json.dumps({"promotion": {"approval": "required"}})


class ConfiguredCli(Cli):
    """`ktune` on a machine with a configuration of its own."""

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        config = self.state.parent / "config.yaml"
        return super().environment(more) | {"KTUNE_CONFIG": str(config)}


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return ConfiguredCli(tmp_path / "state")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The local configuration, empty; hooks append what they are told to `told`."""
    path = tmp_path / "config.yaml"
    path.write_text("{}")
    path.chmod(0o600)
    return path


def frozen(cli: Cli, study: str, tmp_path: Path, name: str = "policy.yaml", *more: object) -> Path:
    file = tmp_path / name
    done = cli("freeze", study, "-o", file, "--valid-days", 36500, *more)
    assert done.code == 0, done.err
    return file


def told(tmp_path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (tmp_path / "told").read_text().splitlines()]


def hooks(config: Path, tmp_path: Path, *events: str) -> None:
    script = f"cat >> {shlex.quote(str(tmp_path / 'told'))}"
    lines = [f"  {event}: [[/bin/sh, -c, {json.dumps(script)}]]" for event in events]
    config.write_text("\n".join(["hooks:", *lines]))


def test_a_policy_waits_for_its_approval_where_the_configuration_wants_it(
    cli: Cli, paths: StatePaths, netns: Namespace, config: Path, tmp_path: Path
) -> None:
    config.write_text("approval: required")
    file = frozen(cli, support.study(paths).id, tmp_path)
    before = netns.read("net.ipv4.tcp_notsent_lowat")

    refused = cli("apply", file, "--netns", netns.path, "--yes")
    assert refused.code == 7
    assert "is not approved, and this machine's configuration requires it" in refused.err
    assert netns.read("net.ipv4.tcp_notsent_lowat") == before
    shown = cli("apply", file, "--netns", netns.path, "--dry-run")
    assert shown.code == 0
    assert "would be refused: " in shown.out and "is not approved" in shown.out

    assert cli("approve", file, "--yes", "--why", "looked at it").code == 0
    done = cli("apply", file, "--netns", netns.path, "--yes")
    assert done.code == 0, done.err
    assert netns.read("net.ipv4.tcp_notsent_lowat") == "131072"
    (entry,) = [item for item in cli("history", "--json").json if item["what"] == "approve"]
    assert entry["why"] == "looked at it"
    assert entry["notes"]["digest"].startswith("sha256:")
    assert entry["who"]["user"]
    cli("rollback")


def test_the_approval_of_a_study_covers_just_what_was_proven(
    cli: Cli, paths: StatePaths, netns: Namespace, config: Path, tmp_path: Path
) -> None:
    config.write_text("approval: required")
    study = support.study(paths).id
    assert cli("approve", study, "--yes").code == 0
    good = frozen(cli, study, tmp_path)
    other = support.study(
        paths, assignment={**support.NET_ASSIGNMENT, "net.ipv4.tcp_notsent_lowat": 262144}
    ).id
    forged = frozen(cli, other, tmp_path, "forged.yaml")
    origin = load_yaml(good.read_bytes(), file="good").plain()["from"]  # type: ignore[index,call-overload]
    forged.write_text(support.edited(forged.read_text(), **{"from": origin}))

    elsewhere = tmp_path / "elsewhere.yaml"
    elsewhere.write_text(support.edited(good.read_text(), scope={"netns": netns.path}))

    assert cli("apply", good, "--netns", netns.path, "--yes").code == 0
    cli("rollback")
    assert cli("apply", forged, "--netns", netns.path, "--yes").code == 7
    assert cli("apply", elsewhere, "--yes").code == 7


DIFFERENCES: list[tuple[str, object, str]] = [
    ("watch", {"margin": "20%"}, "watch.margin: approved 0.02, here 0.2"),
]
SELDOM: list[tuple[str, object, str]] = [
    ("baseline", {"net.ipv4.tcp_notsent_lowat": 1}, "baseline.net.ipv4.tcp_notsent_lowat"),
    ("guard", "enforce", "guard: approved audit, here enforce"),
    ("watch", {"probation_pairs": 3}, "watch.probation_pairs: approved 30, here 3"),
    ("watch", {"on_missing": "rollback"}, "watch.on_missing: approved alert, here rollback"),
]


@pytest.mark.usefixtures("config")
@pytest.mark.parametrize(
    "difference",
    [*DIFFERENCES, *(pytest.param(item, marks=pytest.mark.full) for item in SELDOM)],
    ids=lambda item: item[2].partition(":")[0],
)
def test_the_approval_of_a_study_covers_how_its_policy_is_watched(
    cli: Cli,
    paths: StatePaths,
    netns: Namespace,
    tmp_path: Path,
    difference: tuple[str, object, str],
) -> None:
    part, change, said = difference
    (tmp_path / "config.yaml").write_text("approval: required")
    study = support.study(paths).id
    assert cli("approve", study, "--yes").code == 0
    good = frozen(cli, study, tmp_path)
    tree = load_yaml(good.read_bytes(), file="good").plain()
    assert isinstance(tree, dict)
    value = {**tree[part], **change} if isinstance(change, dict) else change
    other = tmp_path / "other.yaml"
    other.write_text(support.edited(good.read_text(), **{part: value}))

    refused = cli("apply", other, "--netns", netns.path, "--yes")
    assert refused.code == 7
    assert "is not approved" in refused.err and said in refused.err
    assert "watch.alpha" not in refused.err
    assert cli("approve", other, "--yes").code == 0
    assert (
        cli("apply", other, "--netns", netns.path, "--dry-run").out.count("would be refused") == 0
    )


@pytest.mark.full
def test_an_approval_covers_the_guardrails_that_the_study_had_then(
    cli: Cli, paths: StatePaths, netns: Namespace, config: Path, tmp_path: Path
) -> None:
    config.write_text("approval: required")
    made = support.study(paths)
    manifest = made.folder / "study.json"
    document = json.loads(manifest.read_text())

    def with_safety(safety: object) -> None:
        document["profile_text"] = json.dumps({"safety": safety})
        manifest.write_text(json.dumps(document))

    with_safety({"max_trips": 3, "psi": [{"resource": "memory", "avg10_above": "20%"}]})
    file = frozen(cli, made.id, tmp_path)
    shown = cli("approve", file, "--dry-run").out
    assert "avg10_above" in shown and "margin 0.02" in shown
    assert cli("approve", made.id, "--yes").code == 0
    with_safety({"max_trips": 3, "psi": []})

    refused = cli("apply", file, "--netns", netns.path, "--yes")
    assert refused.code == 7
    assert "safety.psi: approved" in refused.err and "safety.max_trips" not in refused.err
    assert cli("approve", file, "--yes").code == 0
    with_safety(None)
    assert "safety: approved" in cli("apply", file, "--netns", netns.path, "--yes").err


def test_an_approval_that_names_no_terms_covers_nothing(
    cli: Cli, paths: StatePaths, netns: Namespace, config: Path, tmp_path: Path
) -> None:
    config.write_text("approval: required")
    study = support.study(paths).id
    assert cli("approve", study, "--yes").code == 0
    file = paths.state / "approvals.json"
    (record,) = json.loads(file.read_text())
    del record["terms"]
    file.write_text(json.dumps([record]))
    policy = frozen(cli, study, tmp_path)
    refused = cli("apply", policy, "--netns", netns.path, "--yes")
    assert refused.code == 7 and "before approvals named" in refused.err


@pytest.mark.full
def test_a_changed_policy_is_not_the_approved_one_and_an_approval_can_be_taken_back(
    cli: Cli, paths: StatePaths, netns: Namespace, config: Path, tmp_path: Path
) -> None:
    config.write_text("approval: required")
    study = support.study(paths).id
    file = frozen(cli, study, tmp_path)
    other = frozen(cli, study, tmp_path, "other.yaml", "--serial", 9)
    assert cli("approve", file, "--yes").code == 0

    assert cli("apply", other, "--netns", netns.path, "--yes").code == 7
    assert cli("approve", file, "--revoke").out.strip().endswith("approval taken back")
    assert cli("apply", file, "--netns", netns.path, "--yes").code == 7
    assert "revoke" in cli("history").out


@pytest.mark.full
def test_a_profile_may_require_it_itself(
    cli: Cli, paths: StatePaths, netns: Namespace, config: Path, tmp_path: Path
) -> None:
    study = support.study(paths)
    manifest = json.loads((study.folder / "study.json").read_text())
    manifest["profile_text"] = APPROVAL
    (study.folder / "study.json").write_text(json.dumps(manifest))
    file = frozen(cli, study.id, tmp_path)

    assert "approval: required" in file.read_text()
    refused = cli("apply", file, "--netns", netns.path, "--yes")
    assert (refused.code, "its profile requires it" in refused.err) == (7, True)
    assert cli("approve", study.id, "--yes").code == 0
    assert cli("apply", file, "--netns", netns.path, "--yes").code == 0
    cli("rollback")


def test_a_study_without_proof_can_not_be_approved(
    cli: Cli, paths: StatePaths, config: Path
) -> None:
    done = cli("approve", support.study(paths, outcome=None).id, "--yes")

    assert (done.code, "no proof of an improvement" in done.err) == (3, True)


@pytest.mark.full
def test_a_dry_run_and_a_no_approve_nothing(cli: Cli, paths: StatePaths, config: Path) -> None:
    study = support.study(paths).id

    assert "nothing was recorded" in cli("approve", study, "--dry-run").out
    assert cli("approve", study).code == 2, "no terminal to ask on"
    assert not (paths.state / "approvals.json").exists()


def test_hooks_are_told_of_events_as_json(
    cli: Cli, paths: StatePaths, netns: Namespace, config: Path, tmp_path: Path
) -> None:
    hooks(config, tmp_path, "approved", "applied", "rolled_back")
    file = frozen(cli, support.study(paths).id, tmp_path)
    cli("approve", file, "--yes")
    assert cli("apply", file, "--netns", netns.path, "--yes").code == 0
    assert cli("rollback", "--why", "test").code == 0

    events = told(tmp_path)
    assert [item["event"] for item in events] == ["approved", "applied", "rolled_back"]
    assert len({item["digest"] for item in events}) == 1
    assert events[2]["why"] == "test"


@pytest.mark.full
def test_a_hook_that_fails_or_hangs_is_a_warning(
    cli: Cli, paths: StatePaths, netns: Namespace, config: Path, tmp_path: Path
) -> None:
    config.write_text(
        "hook_timeout: 300ms\n"
        "hooks:\n  applied: [[/bin/sh, -c, 'echo broken >&2; exit 3'], [/bin/sleep, '60'], "
        "[/no/such/program]]\n"
    )
    file = frozen(cli, support.study(paths).id, tmp_path)

    done = cli("apply", file, "--netns", netns.path, "--yes")

    assert done.code == 0
    for said in ("exit code 3; it said: broken", "no end within 0.3 s", "can't be run"):
        assert said in done.err
    cli("rollback")


def test_an_unsafe_configuration_refuses_to_apply_and_runs_no_hook(
    cli: Cli, paths: StatePaths, netns: Namespace, config: Path, tmp_path: Path
) -> None:
    hooks(config, tmp_path, "applied", "rolled_back")
    file = frozen(cli, support.study(paths).id, tmp_path)
    config.chmod(0o666)

    done = cli("apply", file, "--netns", netns.path, "--yes")

    assert (done.code, "others may write" in done.err) == (7, True)
    assert not (tmp_path / "told").exists()


def test_what_is_neither_a_study_nor_a_file_is_called_so(cli: Cli) -> None:
    done = cli("approve", "nosuch")
    assert done.code == 2
    assert "'nosuch' is neither a study nor the file of a policy" in done.err

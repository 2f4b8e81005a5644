"""The local configuration: trusted, so only where nobody else could have written it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ktune.catalog.catalog import load_catalog
from ktune.errors import ExitCode, UsageError
from ktune.profile.configuration import HookEvent, UnsafeConfigurationError, configuration, load
from ktune.profile.errors import PlanRefusedError, ProfileError
from ktune.profile.host import HostFacts
from ktune.profile.load import load_profile
from ktune.profile.resolve import resolve
from tests.profile.examples import HERE

TEXT = """
approval: required
hooks:
  rolled_back: [[/bin/true, a, "b c"], [/bin/false]]
hook_timeout: 3s
metric_hosts: [10.1.2.3]
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(TEXT)
    path.chmod(0o644)
    monkeypatch.setenv("KTUNE_CONFIG", str(path))
    return path


def test_it_says_what_the_administrator_wants(file: Path) -> None:
    found = configuration()

    assert found.approval == "required"
    assert found.hooks == {HookEvent.ROLLED_BACK: (("/bin/true", "a", "b c"), ("/bin/false",))}
    assert (found.hook_timeout, found.metric_hosts) == (3.0, ("10.1.2.3",))


def test_without_a_file_nothing_is_required_and_nothing_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("KTUNE_CONFIG", raising=False)
    monkeypatch.setattr("ktune.profile.configuration.ROOT_FILE", tmp_path / "config.yaml")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))

    assert (configuration().approval, configuration().hooks) == ("none", {})


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_a_file_that_others_may_write_is_refused(file: Path, mode: int) -> None:
    file.chmod(mode)

    with pytest.raises(UnsafeConfigurationError, match="others may write") as caught:
        configuration()
    assert caught.value.exit_code is ExitCode.UNTRUSTED


def test_a_folder_that_others_may_write_is_refused(file: Path) -> None:
    file.parent.chmod(0o777)

    with pytest.raises(UnsafeConfigurationError, match="others may write"):
        configuration()


def test_a_file_of_somebody_else_a_link_and_a_pipe_are_refused(file: Path, root: None) -> None:
    os.chown(file, 12345, 12345)
    with pytest.raises(UnsafeConfigurationError, match="belongs to another user"):
        configuration()
    link, pipe = file.with_name("link"), file.with_name("pipe")
    link.symlink_to("/etc/passwd")
    os.mkfifo(pipe)
    for path in (link, pipe):
        with pytest.raises(UnsafeConfigurationError):
            load(path)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("hooks: {exploded: [[/bin/true]]}", ":1:9:"),
        ("hooks: {applied: [[true]]}", "expected text"),
        ("hooks: {applied: [['true']]}", "is an absolute path"),
        ("hooks: {applied: ['/bin/true']}", "expected a list"),
        ("approve: required", "did you mean 'approval'"),
    ],
)
def test_a_mistake_has_a_position(file: Path, text: str, why: str) -> None:
    file.write_text(text)

    with pytest.raises(ProfileError) as caught:
        configuration()
    assert f"{file}:1:" in caught.value.message
    assert why in caught.value.message


def test_the_administrator_may_allow_pages_of_other_hosts(facts: HostFacts) -> None:
    profile = load_profile(HERE / "refused" / "page-of-another-host.yaml", facts=facts)

    with pytest.raises(PlanRefusedError, match="metric_hosts"):
        resolve(profile, load_catalog(), facts)
    plan = resolve(profile, load_catalog(), facts, metric_hosts=["169.254.169.254"])
    assert "fetches http://169.254.169.254/latest/meta-data" in plan.notes


def test_a_slip_in_the_name_of_the_file_lifts_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KTUNE_CONFIG", str(tmp_path / "confg.yaml"))
    with pytest.raises(UsageError, match=r"KTUNE_CONFIG names, does not exist"):
        configuration()
